//! What needs a person, as `top` shows it: each with what to do, and in few rows rather than not at all.

use std::time::SystemTime;

use spillway_proto::v1;
use spillway_words::counted;

use super::Model;
use crate::attention::{self, Finding, Level};
use crate::layout::{INDENT, indented, label};
use crate::style::{Line, Style};

/// Rows of a sentence.
const MOST: usize = 2;

/// The findings of one pool and of the installation, and which other pools have some.
#[derive(Debug)]
pub(super) struct Findings {
    /// How many there are.
    title: String,
    /// The sentences of each.
    items: Vec<Vec<Line>>,
}

impl Findings {
    pub(super) fn of(model: &Model, pool: &v1::Pool, now: SystemTime) -> Self {
        let mut all = attention::attention(pool, now);
        all.extend(model.fleet.iter().flat_map(|fleet| attention::of_installation(fleet, now)));
        let elsewhere = model.fleet.iter().flat_map(|fleet| &fleet.pools).filter(|other| other.name != pool.name);
        let elsewhere =
            elsewhere.filter(|other| attention::attention(other, now).iter().any(|it| it.level == Level::Problem));
        let elsewhere = elsewhere
            .map(|other| vec![indented(Line::new(Style::Red, format!("pool {} needs attention too", other.name)))]);
        let items: Vec<Vec<Line>> = all.iter().map(sentences).chain(elsewhere).collect();
        let title =
            if items.is_empty() { "nothing needs a person".to_owned() } else { counted(all.len() as u64, "finding") };
        Self { title, items }
    }

    /// Rows that all of it takes.
    pub(super) fn need(&self, width: usize) -> usize {
        1 + self.items.iter().map(|item| rows(item, width, MOST).len()).sum::<usize>()
    }

    /// In so many rows. A finding gives up its particulars before another, or what to do, is left out; how many are
    /// left out is said.
    pub(super) fn lines(&self, width: usize, most: usize) -> Vec<Line> {
        let mut spare = most.saturating_sub(1);
        let mut shown = 0;
        for item in &self.items {
            match spare.checked_sub(item.len()) {
                Some(left) => (spare, shown) = (left, shown + 1),
                None => break,
            }
        }
        let mut lines = vec![self.title(self.items.len() - shown)];
        for item in &self.items[..shown] {
            let whole = rows(item, width, MOST);
            let more = whole.len() - item.len();
            if more <= spare {
                spare -= more;
                lines.extend(whole);
            } else {
                lines.extend(rows(item, width, 1));
            }
        }
        if let Some(item) = self.items.get(shown).filter(|_| shown == 0) {
            lines.extend(rows(item, width, 1));
        }
        lines.truncate(most);
        lines
    }

    fn title(&self, left_out: usize) -> Line {
        let title = label("ATTENTION").with(Style::Dim, self.title.clone());
        if left_out == 0 { title } else { title.with(Style::Plain, format!(" (… {left_out} more: spillway status)")) }
    }
}

fn sentences(finding: &Finding) -> Vec<Line> {
    let style = if finding.level == Level::Problem { Style::Red } else { Style::Yellow };
    let what = indented(Line::new(style, finding.sentence()));
    let todo = Line::new(Style::Dim, "  to do   ").with(Style::Plain, &finding.todo);
    std::iter::once(what).chain(Some(todo).filter(|_| !finding.todo.is_empty())).collect()
}

/// Each sentence in so many rows.
fn rows(item: &[Line], width: usize, most: usize) -> Vec<Line> {
    item.iter().flat_map(|line| line.clone().wrap_in(width, INDENT, most)).collect()
}
