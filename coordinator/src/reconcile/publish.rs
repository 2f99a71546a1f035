//! Publishes a pool's status, for operators and for the gRPC and HTTP services.

use std::collections::BTreeSet;
use std::sync::Arc;

use spillway_attention::Seen;
use spillway_brain::{AlertKind, Note, Phase, RefusalClass, State, Timestamp};
use spillway_pool::Entry;
use spillway_proto::v1;

use super::{Launches, PoolStatus, Reconciler};
use crate::telemetry::{self, Lives};
use crate::{view, wire_time};

impl Reconciler {
    pub(super) fn publish(&mut self) {
        let (pool, name, now) = (&self.pool, &self.config.name, self.now());
        // A standby's last plan is one of when it led.
        let plan = pool.history().last().filter(|_| pool.is_leader()).map(|entry| record(name, entry));
        let mut view = view::pool(name, pool.controller(), &self.agents, &self.listed, pool.time(now), plan);
        view::images::add(&mut view, self.cloud.launch_image(&self.config).filter(|_| pool.is_leader()));
        view::images::add_primary(&mut view, self.primary.commit.as_deref().filter(|_| pool.is_leader()));
        if let (Some(problem), None) = (pool.ledger_problem(), pool.state().observation_problem()) {
            view.observation_problem = format!("ledger: {problem}");
        }
        let leads = pool.is_leader();
        let alerts: BTreeSet<AlertKind> = pool.state().alerts().filter(|_| leads).collect();
        let said = alerts.iter().map(|alert| (*alert, pool.state().alert_reason(*alert).unwrap_or_default())).collect();
        let notes: &[Note] = pool.history().last().filter(|_| leads).map_or(&[], |entry| &entry.plan.notes);
        let held_since = pool.state().held_since();
        let seen = Seen { pool: &view, notes, alerts: &said, held_since, leads, target: self.config.target };
        let findings = self.attention.look(&seen, pool.time(now));
        view.attention = findings.iter().map(|finding| finding.published(name)).collect();
        if pool.is_leader() && pool.ticked_at().is_some() {
            self.recording.saw(&view, pool.epoch(), pool.time(now).0);
            telemetry::lived(&mut self.lives, name, pool.state(), &view);
        } else {
            // The next leadership begins with the instances of the ledger, whose lives others have told.
            self.lives = Lives::default();
            self.recording.stands_by();
        }
        self.status.send_replace(PoolStatus {
            view,
            admission: pool.admission(),
            ready: pool.state().instances().filter(|instance| matches!(instance.phase, Phase::Ready)).count(),
            queue_serving: pool.knows_queues(now),
            cloud_serving: pool.knows_instances(now),
            launches: launches(pool.state(), pool.time(now)),
            terminations_serving: !pool.is_leader() || pool.state().not_terminated().next().is_none(),
            leading: pool.is_leader(),
            epoch: pool.epoch(),
            ticked_at: pool.ticked_at(),
            alive_at: Some(now.up),
            queues: pool.state().backlog().map(|(backlog, _)| backlog.queues.clone()).unwrap_or_default(),
            target: self.config.target,
            is_breaker_open: pool.is_leader() && is_breaker_open(pool.state()),
            alerts,
            left_volumes: self.cloud.left_volumes(),
            placed: Arc::clone(&self.placed),
        });
    }

    /// Newest first.
    pub(super) fn newest_plans(&self, limit: usize) -> Vec<v1::PlanRecord> {
        self.pool.history().newest(limit).map(|entry| record(&self.config.name, entry)).collect()
    }
}

/// An entry of the history as `explain` shows it.
fn record(pool: &str, entry: &Entry) -> v1::PlanRecord {
    let newest = view::plan(pool, &entry.plan);
    v1::PlanRecord { at: Some(wire_time::timestamp(entry.since)), times: entry.times, ..newest }
}

/// By boots that fail, or by instances that end early.
fn is_breaker_open(state: &State) -> bool {
    state.breaker().open_until.is_some() || state.early_ends().open_until().is_some()
}

/// A standby launches nothing: it has no word on this.
fn launches(state: &State, now: Timestamp) -> Launches {
    let is_leader = state.is_leader();
    let refused: Vec<RefusalClass> =
        state.refusals().filter(|refusal| is_leader && refusal.blocks(now)).map(|refusal| refusal.class).collect();
    let is_broken = is_leader && state.breaker().open_until.is_some();
    let mut blocked: Vec<(&str, bool)> = Vec::new();
    let mut outcomes = vec![("accepted", state.launch_outcomes("accepted"))];
    for class in RefusalClass::ALL {
        match blocked.iter_mut().find(|(name, _)| *name == class.as_str()) {
            Some((_, is_blocked)) => *is_blocked |= refused.contains(&class),
            None => {
                blocked.push((class.as_str(), refused.contains(&class)));
                let both = [class.outcome(), class.taken_back()];
                outcomes.extend(both.map(|outcome| (outcome, state.launch_outcomes(outcome))));
            }
        }
    }
    blocked.push(("breaker", is_broken));
    Launches { serving: !is_broken && !refused.iter().any(|class| class.needs_a_person()), outcomes, blocked }
}
