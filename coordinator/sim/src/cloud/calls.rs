//! Calls to EC2: what each does when it arrives, and what becomes of its answer, which may be lost after the effect.

use spillway_brain::{Decision, Ec2State, LaunchAnswer, LaunchToken, RefusalClass};
use spillway_pool::{Input, Refused as NotDone};

use super::BY_A_CALL;
use crate::agenda::{C, CloudEv, CoordinatorEv, Ev, N};
use crate::clock::{NEVER, SECOND};
use crate::counts::Occurrence;
use crate::invariants::Invariant;
use crate::net::Cut;
use crate::say;
use crate::world::World;

/// As the coordinator's: a call that takes longer is unanswered.
const CALL_TIMEOUT: u64 = 30 * SECOND;
/// The latest that a request arrives: less than the time in which listings show its effect.
const LATE_MOST: u64 = 40 * SECOND;

/// The class, and EC2's code.
type Refused = (RefusalClass, &'static str);

impl World {
    /// Sends a launch or a termination whose intent was saved at `saved_at`.
    pub fn ec2_call(&mut self, c: C, decision: &Decision, saved_at: u64) {
        let generation = self.coordinators[c].generation;
        let cut = self.net.ec2[c].is_down(self.now);
        let (calls, parameters) = (self.setup.calls, self.coordinators[c].parameters);
        let mut arrives_after = self.net.latency(self.now, &mut self.rng) + self.rng.between(50, 1500);
        let lost = cut || (!self.is_calm && self.rng.per_mille(calls.lost_request));
        if !lost && !self.is_calm && self.rng.per_mille(calls.late) {
            arrives_after = self.rng.between(SECOND, LATE_MOST);
        }
        let mut answer_after = arrives_after + self.rng.between(20, 1500);
        if !self.is_calm && self.rng.per_mille(calls.lost_answer) {
            answer_after = NEVER;
            self.count(Occurrence::LostAnswer);
        }
        if answer_after >= CALL_TIMEOUT || lost {
            let at = self.now + if cut { self.rng.between(100, 5000) } else { CALL_TIMEOUT };
            let code = if cut { "Unreachable" } else { "NoAnswer" };
            self.answer(c, generation, at, refused_input(decision, (RefusalClass::Retry, code)));
            answer_after = NEVER;
        }
        if lost {
            return self.count(Occurrence::LostRequest);
        }
        if arrives_after >= CALL_TIMEOUT {
            self.count(Occurrence::LateEffect);
        }
        let answer_at = self.now.saturating_add(answer_after);
        let mut put = |at: u64, answer_at: u64| {
            let ev = match decision {
                Decision::Launch { token } => {
                    CloudEv::Launch { c, generation, token: token.clone(), parameters, answer_at, saved_at }
                }
                Decision::Terminate { id } => {
                    CloudEv::Terminate { c, generation, n: crate::coordinator::number(id), answer_at }
                }
                _ => return,
            };
            self.agenda.put(at, Ev::Cloud(ev));
        };
        put(self.now + arrives_after, answer_at);
        if !self.is_calm && self.rng.per_mille(calls.twice) {
            let again_after = self.rng.between(1, LATE_MOST);
            put(self.now + again_after, NEVER);
            self.count(Occurrence::DuplicateCall);
        }
    }

    fn answer(&mut self, c: C, generation: u32, at: u64, answer: Input) {
        if at < NEVER {
            self.agenda.put(at, Ev::Coordinator { c, generation, ev: CoordinatorEv::Answer(Box::new(answer)) });
        }
    }

    pub(super) fn ec2_launch(
        &mut self,
        to: (C, u32),
        (token, parameters): (LaunchToken, u32),
        answer_at: u64,
        saved_at: u64,
    ) {
        self.trace.mix_text(&token.0);
        if let Some((n, first)) = self.cloud.by_token.get(&token).copied() {
            if let Some(refused) = self.used_token(n, first == parameters) {
                say!(self, "ec2 refuses {token}: {}", refused.1);
                let decision = Decision::Launch { token };
                return self.answer(to.0, to.1, answer_at, refused_input(&decision, refused));
            }
            // The same token gives the same instance.
            self.count(Occurrence::SameToken);
            say!(self, "ec2 answers {token} with the instance it has: i-{n}");
            let id = self.cloud.machines[n].id.clone();
            return self.answer(
                to.0,
                to.1,
                answer_at,
                Input::LaunchAnswered { token, answer: LaunchAnswer::Accepted { id } },
            );
        }
        // EC2 does not carry out later what it refused: a duplicate of that request has no effect.
        if self.cloud.refused.contains(&(token.clone(), saved_at)) {
            return;
        }
        if let Some(refused) = self.refusal(true) {
            say!(self, "ec2 refuses {token}: {}", refused.1);
            self.cloud.refused.insert((token.clone(), saved_at));
            let decision = Decision::Launch { token };
            return self.answer(to.0, to.1, answer_at, refused_input(&decision, refused));
        }
        let n = self.ec2_create(Some(token.clone()), parameters);
        say!(
            self,
            "ec2 launches i-{n} for {token}{}",
            if answer_at == NEVER { ", but its answer is lost" } else { "" }
        );
        if self.cloud.forgotten.contains(&token) || saved_at <= self.ledger_deleted_at {
            self.cloud.machines[n].forgotten = true;
        }
        self.check_cap();
        if answer_at == NEVER && !self.is_calm {
            self.happens_unseen(n);
        }
        let id = self.cloud.machines[n].id.clone();
        self.answer(to.0, to.1, answer_at, Input::LaunchAnswered { token, answer: LaunchAnswer::Accepted { id } });
    }

    /// Why EC2 does not answer with the instance that it has for a token.
    fn used_token(&mut self, n: N, is_same: bool) -> Option<Refused> {
        if !is_same {
            self.count(Occurrence::TokenUsed);
            return Some((RefusalClass::TokenUsed, "IdempotentParameterMismatch"));
        }
        if self.cloud.machines[n].state_at(self.now) == Some(Ec2State::Terminated) {
            self.count(Occurrence::TokenEnded);
            return Some((RefusalClass::TokenEnded, "IdempotentInstanceTerminated"));
        }
        None
    }

    /// Nobody knows yet that the instance was launched, no listing shows it for a while, and then it ends, or a deploy
    /// changes what its token is asked for with.
    fn happens_unseen(&mut self, n: N) {
        let calls = self.setup.calls;
        if self.rng.per_mille(calls.ends_unseen) {
            self.cloud.machines[n].hidden = Cut { from: self.now, until: self.now + 60 * SECOND };
            self.ec2_shuts_down(n, "Server.SpotInstanceTermination");
        } else if self.rng.per_mille(calls.deploy) {
            self.cloud.machines[n].hidden = Cut { from: self.now, until: self.now + 60 * SECOND };
            say!(self, "a deploy changes the parameters of launches");
            self.cloud.parameters += 1;
            for c in 0..self.coordinators.len() {
                self.coordinator_crashes(c, Occurrence::Deployed);
            }
        }
    }

    pub(super) fn ec2_terminate(&mut self, to: (C, u32), n: N, answer_at: u64) {
        let id = self.cloud.machines[n].id.clone();
        if self.cloud.machines[n].token.is_none() {
            return self.violate(Invariant::OnlyOurs, format!("i-{n} is unmanaged, but terminated"));
        }
        if let Some(refused) = self.refusal(false).or_else(|| self.termination_refusal(n)) {
            say!(self, "ec2 refuses to terminate i-{n}: {}", refused.1);
            // Somebody looks at what will not go away.
            if !self.is_calm && self.cloud.machines[n].state() == Ec2State::Running && self.rng.one_in(8) {
                self.ec2_reboots(n);
            }
            return self.answer(to.0, to.1, answer_at, refused_input(&Decision::Terminate { id }, refused));
        }
        if self.cloud.machines[n].state() == Ec2State::Stopped {
            self.ec2_enter(n, Ec2State::ShuttingDown, Some(BY_A_CALL));
            self.agenda.put(self.now + SECOND, Ev::Cloud(CloudEv::Off(n)));
        } else {
            self.ec2_shuts_down(n, BY_A_CALL);
        }
        self.answer(to.0, to.1, answer_at, Input::TerminateAnswered { id, answer: Ok(()) });
    }

    /// Why EC2 would refuse a call now.
    fn refusal(&mut self, is_launch: bool) -> Option<Refused> {
        let (now, calls) = (self.now, self.setup.calls);
        let by_chance = |world: &mut World, per_mille| !world.is_calm && world.rng.per_mille(per_mille);
        if self.cloud.throttles.is_down(now) || by_chance(self, calls.throttled) {
            self.count(Occurrence::Throttled);
            return Some((RefusalClass::Retry, "RequestLimitExceeded"));
        }
        if !is_launch {
            return None;
        }
        if self.cloud.unauthorized.is_down(now) {
            self.count(Occurrence::Permission);
            return Some((RefusalClass::Permission, "UnauthorizedOperation"));
        }
        if self.cloud.misconfigured.is_down(now) {
            self.count(Occurrence::Configuration);
            return Some((RefusalClass::Configuration, "InvalidSubnetID.NotFound"));
        }
        if self.cloud.strange.is_down(now) {
            self.count(Occurrence::UnknownRefusal);
            return Some((RefusalClass::Unknown, "SomethingNew"));
        }
        if self.cloud.over_quota.is_down(now) {
            self.count(Occurrence::Quota);
            return Some((RefusalClass::Quota, "MaxSpotInstanceCountExceeded"));
        }
        if self.cloud.without_capacity.is_down(now) || by_chance(self, calls.no_capacity) {
            self.count(Occurrence::NoCapacity);
            return Some((RefusalClass::Capacity, "InsufficientInstanceCapacity"));
        }
        None
    }
}

impl World {
    /// Why EC2 would refuse to terminate the instance now.
    fn termination_refusal(&mut self, n: N) -> Option<Refused> {
        if self.cloud.machines[n].is_protected || self.cloud.no_termination.is_down(self.now) {
            self.count(Occurrence::NotTerminated);
            return Some((RefusalClass::Permission, "OperationNotPermitted"));
        }
        if !self.is_calm && self.rng.per_mille(self.setup.calls.not_found) {
            self.count(Occurrence::NotFound);
            return Some((RefusalClass::Retry, "InvalidInstanceID.NotFound"));
        }
        None
    }
}

fn refused_input(decision: &Decision, (class, code): Refused) -> Input {
    let code = code.to_owned();
    match decision {
        Decision::Terminate { id } => {
            let refused = NotDone { class, detail: code.clone(), code };
            Input::TerminateAnswered { id: id.clone(), answer: Err(refused) }
        }
        Decision::Launch { token } => Input::LaunchAnswered {
            token: token.clone(),
            answer: LaunchAnswer::Refused { class, code, message: String::new() },
        },
        _ => unreachable!("no other decision calls EC2"),
    }
}
