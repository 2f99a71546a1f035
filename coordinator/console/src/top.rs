//! `spillway top`: the fleet live. Owns what it remembers of what it was told, and the frame, a pure function of that,
//! the terminal's size and the time. The connection, the keys and the terminal are the command line's.
//!
//! - `past`: one pool's backlog and decisions, from the record and since
//! - `frame`: the screen; `backlog`: the chart there; `lanes`: the instances, one a line;
//!   `findings`: what needs a person

mod backlog;
mod findings;
mod frame;
mod lanes;
mod past;

use std::collections::BTreeMap;
use std::time::SystemTime;

use spillway_proto::v1;

use crate::layout::Size;
use past::Past;

pub use frame::frame;
pub use past::WINDOW;

/// What a key does; none changes the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    NextPool,
    Up,
    Down,
    PageUp,
    PageDown,
    Help,
}

/// All that the screen shows, as data.
#[derive(Clone, Debug)]
pub struct Model {
    /// The coordinator's address.
    server: String,
    /// Keys are read; otherwise only signals end it.
    has_keys: bool,
    fleet: Option<v1::GetFleetResponse>,
    answered_at: Option<SystemTime>,
    /// Why there is no connection.
    problem: Option<String>,
    pasts: BTreeMap<String, Past>,
    /// The name of the pool that is shown.
    pool: String,
    /// Instances above the first that is shown.
    scroll: usize,
    shows_help: bool,
}

impl Model {
    pub fn new(server: impl Into<String>, has_keys: bool) -> Self {
        Self {
            server: server.into(),
            has_keys,
            fleet: None,
            answered_at: None,
            problem: None,
            pasts: BTreeMap::new(),
            pool: String::new(),
            scroll: 0,
            shows_help: false,
        }
    }

    /// The fleet as it is now.
    pub fn answered(&mut self, fleet: v1::GetFleetResponse, now: SystemTime) {
        // A pool that is in no settings any more is forgotten with its past.
        self.pasts.retain(|name, _| fleet.pools.iter().any(|pool| pool.name == *name));
        for pool in &fleet.pools {
            self.pasts.entry(pool.name.clone()).or_default().take(pool);
        }
        if !fleet.pools.iter().any(|pool| pool.name == self.pool) {
            self.pool = fleet.pools.first().map(|pool| pool.name.clone()).unwrap_or_default();
            self.scroll = 0;
        }
        self.fleet = Some(fleet);
        self.answered_at = Some(now);
        self.problem = None;
    }

    /// What the record has of the time before: plans since then, newest first.
    pub fn remember(&mut self, plans: &[v1::PlanRecord], since: SystemTime) {
        for plan in plans.iter().rev() {
            self.pasts.entry(plan.pool.clone()).or_default().remember(plan, since);
        }
    }

    /// The connection is lost, or there is none yet.
    pub fn cut_off(&mut self, problem: impl Into<String>) {
        self.problem = Some(problem.into());
    }

    pub fn press(&mut self, key: Key, size: Size, now: SystemTime) {
        let page = frame::lanes_shown(self, size, now).max(1);
        let most = self.shown().map_or(0, |pool| lanes::of(pool, now).len()).saturating_sub(page);
        let scroll = self.scroll.min(most);
        self.scroll = match key {
            Key::Up => scroll.saturating_sub(1),
            Key::Down => (scroll + 1).min(most),
            Key::PageUp => scroll.saturating_sub(page),
            Key::PageDown => (scroll + page).min(most),
            Key::Help => {
                self.shows_help = !self.shows_help;
                scroll
            }
            Key::NextPool => {
                let names: Vec<&String> = self.fleet.iter().flat_map(|fleet| &fleet.pools).map(|it| &it.name).collect();
                let at = names.iter().position(|name| **name == self.pool).map_or(0, |at| at + 1);
                self.pool = names.get(at).or(names.first()).map(|name| (*name).clone()).unwrap_or_default();
                0
            }
        };
    }

    /// The pool that is shown.
    fn shown(&self) -> Option<&v1::Pool> {
        self.fleet.iter().flat_map(|fleet| &fleet.pools).find(|pool| pool.name == self.pool)
    }
}

#[cfg(test)]
mod tests;
