//! Performs a pool's effects, and feeds the outcomes of concurrent calls back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use opentelemetry::context::FutureExt as _;
use spillway_brain::{InstanceId, LaunchAnswer, LaunchToken, PhaseKind, Plan, RefusalClass};
use spillway_pool::{Attempt, Command, Effect, Happening, Input, Observation, Refused, Rehearsal, Save, Saved};
use spillway_proto::v1::session_response::Command as WireCommand;
use spillway_proto::{times, v1};
use spillway_record::Interval;
use tokio::time::Instant;

use super::{Reconciler, primary};
use crate::agents::NotConnected;
use crate::beside::Beside;
use crate::cloud::{self, Interruption, Known, ListedInstance, Listing};
use crate::ledger::{LedgerProblem, Recorded};
use crate::queue::{Counts, JobsObserver, ObservationProblem, QueueObserver};
use crate::registration::Expected;
use crate::{clock, telemetry, wire_time};

/// Recorded plans that `explain` still shows after a restart.
const PLANS_RESTORED: usize = 100;

/// The outcome of a call that ran concurrently with the loop.
#[derive(Debug)]
pub(super) enum Outcome {
    Observed {
        observer: Box<QueueObserver>,
        took: Duration,
        answer: Result<(Observation, Counts), ObservationProblem>,
    },
    /// What happened to jobs, for record and metrics.
    JobsSeen {
        jobs: Box<JobsObserver>,
        intervals: Vec<Interval>,
    },
    Listed {
        asked_at: Duration,
        answer: Result<Listing, cloud::Refused>,
    },
    /// None: it was not time to ask.
    LaunchImage(Option<Option<String>>),
    /// The commit of the primary's application, or why it cannot be read.
    PrimaryCommit(Result<String, String>),
    Interruptions(Result<Vec<Interruption>, cloud::Refused>),
    Launched {
        token: LaunchToken,
        answer: Result<InstanceId, cloud::Refused>,
    },
    Terminated {
        id: InstanceId,
        answer: Result<(), cloud::Refused>,
    },
    HandedBack(Attempt),
}

impl Reconciler {
    pub(super) async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Observe { with_jobs } => self.observe(with_jobs),
            Effect::List => self.list(),
            Effect::ListInterruptions => {
                let (cloud, config) = (self.cloud.clone(), self.config.clone());
                self.calls.spawn(async move { Outcome::Interruptions(cloud.interruptions(&config).await) });
            }
            Effect::Load { epoch } => self.load(epoch).await,
            Effect::Save(save) => self.save(save).await,
            Effect::Decided(planned) => {
                telemetry::decided(&self.config.name, &planned);
                self.ticks.decided(&planned);
                self.log_decision(&planned);
            }
            Effect::Launch { token } => {
                let (cloud, config) = (self.cloud.clone(), self.config.clone());
                let installation = self.installation.clone();
                let call = async move {
                    let answer = match installation {
                        Some(installation) => cloud.launch(&config, &installation, &token).await,
                        None => Err(not_identified()),
                    };
                    Outcome::Launched { token, answer }
                };
                self.calls.spawn(call.with_context(self.ticks.context(&self.config.name)));
            }
            Effect::Terminate { id } => {
                let cloud = self.cloud.clone();
                let call = async move {
                    let answer = cloud.terminate(&id).await;
                    Outcome::Terminated { id, answer }
                };
                self.calls.spawn(call.with_context(self.ticks.context(&self.config.name)));
            }
            Effect::Command { id, epoch, command } => {
                if let Err(problem) = self.send(&id, epoch, wire(command)) {
                    tracing::warn!(pool = self.config.name, %problem, "cannot deliver a command to the agent");
                }
            }
            Effect::HandBack(attempt) => {
                let hand_backs = self.hand_backs.clone();
                self.calls.spawn(async move { Outcome::HandedBack(hand_backs.perform(attempt).await) });
            }
            Effect::Rehearse { epoch, rehearsal } => self.rehearse(epoch, rehearsal),
            Effect::Reply { asker, answer } => {
                if let Some((request, reply)) = self.askers.remove(&asker) {
                    self.log_operator(&request, &answer);
                    // The operator may have disconnected.
                    let _ = reply.send(answer);
                }
            }
            Effect::Happened(happening) => {
                if let Happening::PhaseChanged { id, phase: PhaseKind::Gone, .. } = &happening {
                    self.revoke(InstanceId(id.clone()));
                }
                self.log(happening);
            }
        }
    }

    /// The session token of an instance that is gone.
    fn revoke(&self, id: InstanceId) {
        let (sessions, pool) = (self.sessions.clone(), self.config.name.clone());
        tokio::spawn(async move { sessions.forget(&pool, &id).await });
    }

    fn observe(&mut self, with_jobs: bool) {
        // The pool requests one observation at a time.
        let Some(mut observer) = self.observer.take() else { return };
        self.schedule();
        let known: BTreeSet<InstanceId> =
            self.pool.state().instances().filter_map(|instance| instance.id.clone()).collect();
        let predicts = self.config.brain.wait.is_some() && self.pool.is_leader();
        self.calls.spawn(async move {
            let started = Instant::now();
            let answer = async {
                let (backlog, counts) = observer.observe().await?;
                let work = if predicts { observer.work(&counts, &known).await? } else { None };
                let asked_at = clock::up();
                let jobs = if with_jobs { observer.jobs_by_instance(&known).await? } else { None };
                Ok((Observation { backlog, jobs: jobs.map(|seen| (asked_at, seen)), work }, counts))
            }
            .await;
            Outcome::Observed { observer: Box::new(observer), took: started.elapsed(), answer }
        });
    }

    /// What the calendar says of now and of the day to come.
    fn schedule(&mut self) {
        let now = self.pool.time(self.now());
        let Ok(from) = i64::try_from(now.0).map_err(drop).and_then(|ms| Timestamp::from_millisecond(ms).map_err(drop))
        else {
            return;
        };
        let until = from.checked_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
        let floors = self.config.floors.iter().flat_map(|floor| floor.between(from, until)).collect();
        self.tell(Input::Floors(floors));
    }

    /// Beside the decisions. While a look is under way no other begins: the next one tells of both times.
    fn see_jobs(&mut self, counts: Counts) {
        let leads = self.pool.is_leader();
        if let Some(jobs) = self.jobs.as_mut().filter(|_| !leads) {
            jobs.leave_to_others(&counts);
        } else if let Some(mut jobs) = self.jobs.take() {
            self.calls.spawn(async move {
                let intervals = jobs.look(counts).await;
                Outcome::JobsSeen { jobs: Box::new(jobs), intervals }
            });
        }
    }

    async fn load(&mut self, epoch: u64) {
        let input = match self.ledger.load(|| self.pool.time(clock::both())).await {
            Ok(saved) => {
                // Without them `explain` starts with an empty history.
                let recorded = self.ledger.recent(PLANS_RESTORED).await.unwrap_or_default();
                let plans = recorded.into_iter().map(|entry| entry.plan).collect();
                Input::Loaded { epoch, saved, plans }
            }
            Err(problem) => Input::NotLoaded { epoch, problem: problem.to_string() },
        };
        self.tell(input);
    }

    async fn save(&mut self, Save { epoch, plan, is_recorded }: Save) {
        let (state, now) = (self.pool.state(), self.pool.time(self.now()));
        let recorded = plan.as_ref().filter(|_| is_recorded).map(|plan| Recorded {
            plan: Plan::clone(plan),
            backlog: state.backlog().map(|(backlog, _)| backlog.clone()),
        });
        let saved = self.ledger.save(&self.holder, epoch, (now, state), recorded.as_ref()).await;
        // One whose lease ran out meanwhile is undone.
        if let (Ok(until), Some(plan)) = (&saved, &plan)
            && clock::up() < *until
        {
            self.recording.decided(plan, self.pool.state().backlog().map(|(backlog, _)| backlog));
        }
        if let (Err(problem), None) = (&saved, &plan) {
            tracing::warn!(pool = self.config.name, %problem, "cannot save the ledger while stopping: it keeps what was saved before");
        }
        self.tell(Input::Saved(match saved {
            Ok(until) => Saved::Until(until),
            Err(problem @ LedgerProblem::NotLeader) => Saved::NotLeader { problem: problem.to_string() },
            Err(problem) => Saved::Failed { problem: problem.to_string() },
        }));
    }

    fn rehearse(&mut self, epoch: u64, rehearsal: Rehearsal) {
        let (deadline, left) =
            (Some(wire_time::timestamp(rehearsal.deadline)), Some(times::duration(rehearsal.notice)));
        let command = WireCommand::Rehearse(v1::Rehearse { deadline, left });
        let is_delivered = self.send(&rehearsal.id, epoch, command).is_ok();
        self.tell(Input::Rehearsed { rehearsal, is_delivered });
    }

    fn send(&self, id: &InstanceId, epoch: u64, command: WireCommand) -> Result<(), NotConnected> {
        let command_id = uuid::Uuid::new_v4().to_string();
        self.agents.send(id, v1::SessionResponse { epoch, command_id, command: Some(command) })
    }

    pub(super) fn finish_call(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // The process may be inconsistent: systemd starts a new one, which continues from the ledger.
                tracing::error!(problem = %error, "a call panicked: the coordinator aborts, and systemd restarts it");
                std::process::abort();
            }
        };
        match outcome {
            Outcome::Observed { observer, took, answer } => {
                self.observer = Some(*observer);
                telemetry::observed(&self.config.name, took);
                let demand = answer.as_ref().ok().map(|(observation, _)| observation.backlog.demand());
                self.ticks.observed(&self.config.queues, took, demand);
                let answer = answer.map(|(observation, counts)| {
                    self.see_jobs(counts);
                    observation
                });
                self.tell(Input::Observed(answer.map_err(|problem| problem.to_string())));
            }
            Outcome::JobsSeen { jobs, intervals } => {
                self.jobs = Some(*jobs);
                // What was seen while the lease was lost is another's to tell.
                if self.pool.is_leader() {
                    telemetry::ran(&self.config.name, self.config.target, &intervals);
                    self.recording.ran(intervals);
                }
            }
            Outcome::Listed { asked_at, answer } => self.listed(asked_at, answer),
            Outcome::LaunchImage(Some(image)) => self.tell(Input::LaunchImage(image)),
            Outcome::LaunchImage(None) => {}
            Outcome::PrimaryCommit(answer) => self.primary.read(&self.config.name, answer),
            Outcome::Interruptions(Ok(found)) => {
                self.tell(Input::Interruptions(found.into_iter().map(|interruption| interruption.id).collect()));
            }
            Outcome::Interruptions(Err(refused)) => {
                tracing::debug!(pool = self.config.name, %refused, "cannot list EC2's spot requests");
            }
            Outcome::Launched { token, answer } => self.launched(token, answer),
            Outcome::Terminated { id, answer } => {
                if let Err(cloud::Refused { code, message, .. }) = &answer {
                    tracing::warn!(pool = self.config.name, instance = %id, code, detail = message, "EC2 refused TerminateInstances");
                }
                self.tell(Input::TerminateAnswered { id, answer: answer.map_err(refused) });
            }
            Outcome::HandedBack(attempt) => {
                let Attempt { id, handed_back, left, problem, .. } = &attempt;
                if let Some(problem) = problem {
                    tracing::warn!(pool = self.config.name, instance = %id, problem, "cannot hand back an instance's jobs");
                }
                if *handed_back > 0 {
                    tracing::info!(pool = self.config.name, instance = %id, handed_back, left, "jobs handed back");
                }
                self.tell(Input::HandedBack(attempt));
            }
        }
    }

    fn list(&mut self) {
        if self.pool.is_leader() && !self.config.brain.retired {
            let (cloud, config) = (self.cloud.clone(), self.config.clone());
            self.calls.spawn(async move { Outcome::LaunchImage(cloud.look_for_launch_image(&config).await) });
        }
        if let Some(application) = self.config.application.clone()
            && self.primary.is_due(Instant::now())
        {
            self.calls.spawn(async move { Outcome::PrimaryCommit(primary::look(application).await) });
        }
        let (cloud, config, installation) = (self.cloud.clone(), self.config.clone(), self.installation.clone());
        let mut known = Known::default();
        for instance in self.pool.state().instances().filter(|instance| !instance.is_gone()) {
            match instance.id.clone() {
                Some(id) => drop(known.ids.insert(id)),
                None => drop(known.unanswered.insert(instance.token.clone())),
            }
        }
        self.calls.spawn(async move {
            let asked_at = clock::up();
            let answer = match installation {
                Some(installation) => {
                    let answer = cloud.list(&config, &installation, &known).await;
                    tokio::spawn(async move { cloud.look_for_left_volumes(&installation).await });
                    answer
                }
                None => Err(not_identified()),
            };
            Outcome::Listed { asked_at, answer }
        });
    }

    fn listed(&mut self, asked_at: Duration, answer: Result<Listing, cloud::Refused>) {
        let answer = answer.map_err(refused).map(|Listing { instances: found, other_pools, account }| {
            let beside = Beside { other_pools, account };
            self.beside.send_if_modified(|before| {
                // An account without instances tells nothing.
                let beside = Beside { account: beside.account.or_else(|| before.account.clone()), ..beside };
                let is_new = *before != beside;
                *before = beside;
                is_new
            });
            let instances = found.iter().map(|it| it.listed.clone()).collect();
            self.listed.extend(found.into_iter().map(|it| (it.listed.id.clone(), it)));
            instances
        });
        self.tell(Input::Listed { asked_at, answer });
        let state = self.pool.state();
        self.listed.retain(|id, _| state.instance(id).is_some());
        self.placed = Arc::new(self.listed.iter().filter_map(|(id, it)| Some((id.clone(), expected(it)?))).collect());
    }

    fn launched(&mut self, token: LaunchToken, answer: Result<InstanceId, cloud::Refused>) {
        match &answer {
            Ok(id) => tracing::info!(pool = self.config.name, %token, instance = %id, "EC2 accepted a launch"),
            Err(refused) => {
                tracing::warn!(pool = self.config.name, %token, %refused, "EC2 refused or did not answer a launch")
            }
        }
        let answer = match answer {
            Ok(id) => LaunchAnswer::Accepted { id },
            Err(cloud::Refused { class, code, message }) => LaunchAnswer::Refused { class, code, message },
        };
        self.tell(Input::LaunchAnswered { token, answer });
    }
}

/// The ledger has not told yet which installation this is: whose instances EC2 lists is unknown.
fn not_identified() -> cloud::Refused {
    let message = "the ledger does not answer, and only it tells which installation this is".to_owned();
    cloud::Refused { class: RefusalClass::Retry, code: "InstallationUnknown".to_owned(), message }
}

/// None while EC2 has not given it an address, or does not say whose it is.
fn expected(listed: &ListedInstance) -> Option<Expected> {
    let ListedInstance { account, profile, private_ip, .. } = listed;
    let address = private_ip.parse().ok().filter(|_| !account.is_empty())?;
    Some(Expected { account: account.clone(), profile: profile.clone(), address })
}

fn refused(refused: cloud::Refused) -> Refused {
    Refused { detail: refused.to_string(), class: refused.class, code: refused.code }
}

fn wire(command: Command) -> WireCommand {
    match command {
        Command::Drain { deadline, left, reason } => {
            let (deadline, left) = (Some(wire_time::timestamp(deadline)), Some(times::duration(left)));
            WireCommand::Drain(v1::Drain { deadline, reason, left })
        }
        Command::CancelDrain => WireCommand::CancelDrain(v1::CancelDrain {}),
        Command::PowerOff { reason } => WireCommand::PowerOff(v1::PowerOff { reason }),
    }
}
