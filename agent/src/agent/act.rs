//! Performs the machine's actions. Owns the tasks behind each action; their ends come back as inputs.

use spillway_machine::{Action, Event, LastReason, Report};
use spillway_proto::v1::session_request::Message;
use tokio::sync::{mpsc, watch};

use super::checker::Schedule;
use super::{Agent, Input, Open, Running};
use crate::boot;
use crate::clock;
use crate::identity::Origin;
use crate::identity::proof::{self, ProofError};
use crate::secret::Secret;
use crate::session::messages::{command_result, drained, farewell, phase, register, rehearsed, step_running};
use crate::session::{self, MESSAGES_WAITING, SessionError};
use crate::worker::hand_back::Returned;
use crate::worker::{Baseline, stop};

impl Agent {
    pub(super) fn perform_actions(&mut self) {
        let before = phase(self.machine.phase());
        let actions = self.machine.poll(self.clock.now());
        self.phase_may_have_changed(before);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Register => self.register(),
            Action::Connect => self.connect(),
            Action::RunStep { index, attempt } => self.run_step(index, attempt),
            Action::AbortStep => {
                if let Some(step) = &self.step {
                    step.abort.send_replace(true);
                }
            }
            Action::Fence => self.shims.fence(true),
            Action::Unfence => self.shims.fence(false),
            Action::HandBack { pid } => {
                tracing::info!(pid, "telling a worker process to hand its jobs back");
                self.shims.hand_back(pid);
            }
            Action::HandBackOutside => self.hand_back_outside(),
            Action::StopWorker => self.stop_worker(),
            Action::KillWorker => {
                tracing::warn!("killing the remaining worker processes");
                self.kill.send_replace(true);
                stop::freeze(&self.pm2, &self.document.instance_id);
                // Frozen processes run no job: no need to wait for PM2.
                self.hand_back_outside();
            }
            Action::StartWorker => self.start_worker(),
            Action::PowerOff(reason) => self.power_off(reason),
            Action::Report(Report::Beat) => self.beat(),
            Action::Report(Report::CommandResult { id, refused }) => {
                self.send(Message::CommandResult(command_result(&id, refused.as_deref())));
            }
            Action::Report(Report::Rehearsed { at }) => {
                tracing::info!("rehearsing an interruption, as commanded by the coordinator");
                let left = at.since(self.clock.now());
                self.send(Message::Notice(rehearsed(self.clock.wall(at), clock::wall_now(), left)));
            }
            Action::Report(Report::Drained(outcome)) => {
                tracing::info!(?outcome, "drained");
                self.send(Message::Drained(drained(&outcome)));
            }
        }
    }

    fn register(&mut self) {
        let join_token = self.config.join_token.as_ref().map(Secret::expose);
        let can_prove = matches!(self.origin, Origin::Imds(_));
        let request = register(&self.document, &self.here.boot_id, join_token, can_prove);
        let (coordinator, inputs) = (self.coordinator(), self.inputs.clone());
        let (origin, here, region) = (self.origin.clone(), self.here.clone(), self.document.region.clone());
        tokio::spawn(async move {
            let prove = async |challenge| match origin.imds()? {
                Some(mut imds) => proof::prove(&mut imds, &region, &challenge).await,
                None => Err(ProofError::NoMetadata),
            };
            let input = match session::register(&coordinator, &here, request, prove).await {
                Ok(registered) => Input::Registered(registered),
                Err(error) => Input::NotRegistered(error),
            };
            let _ = inputs.send(input).await;
        });
    }

    fn connect(&mut self) {
        self.sessions += 1;
        let number = self.sessions;
        let (coordinator, inputs) = (self.coordinator(), self.inputs.clone());
        let (outbound, messages) = mpsc::channel(MESSAGES_WAITING);
        let token = self.registration.as_ref().map(|registration| registration.token.clone());
        let here = self.here.clone();
        let task = tokio::spawn(async move {
            let on_inbound = |inbound| {
                let inputs = inputs.clone();
                async move { drop(inputs.send(Input::Inbound(number, inbound)).await) }
            };
            let error = match token {
                Some(token) => session::hold(&coordinator, &here, &token, messages, on_inbound).await,
                None => SessionError::Refused(tonic::Status::unauthenticated("no session token")),
            };
            let _ = inputs.send(Input::SessionEnded(number, error)).await;
        });
        self.session = Some(Open { number, outbound, task, welcomed: false });
    }

    fn run_step(&mut self, index: usize, attempt: u32) {
        let steps = &self.config.boot.steps;
        let step = steps[index].clone();
        tracing::info!(step = step.name, attempt, "boot step started");
        self.record(step_running(index, self.config.boot.steps.len(), &step, attempt, clock::wall_now()));
        let (abort, aborted) = watch::channel(false);
        let (launcher, inputs) = (self.launcher.clone(), self.inputs.clone());
        let before = self.step.take();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // An aborted step may take a moment to end.
                let _ = before.task.await;
            }
            let ended = boot::attempt(&launcher, &step, aborted).await;
            let _ = inputs.send(Input::StepEnded(index, attempt, ended)).await;
        });
        self.step = Some(Running { abort, task });
    }

    fn stop_worker(&mut self) {
        tracing::info!("stopping the worker");
        self.kill.send_replace(false);
        let (step, start) = (self.step.take(), self.start.take());
        let (pm2, kill, inputs) = (self.pm2.clone(), self.kill.subscribe(), self.inputs.clone());
        let instance_id = self.document.instance_id.clone();
        tokio::spawn(async move {
            if let Some(step) = step {
                // It may be starting the worker this moment.
                let _ = step.task.await;
            }
            if let Some(start) = start {
                // A start that PM2 has accepted would take effect after the stop.
                let _ = start.await;
            }
            let stopped = stop::stop(&pm2, &instance_id, kill).await;
            tracing::info!(killed = stopped.killed, "the worker has stopped");
            let _ = inputs.send(Input::Machine(Event::WorkerStopped { killed: stopped.killed })).await;
        });
    }

    fn hand_back_outside(&self) {
        let (mut redis, reported, inputs) = (self.redis.clone(), self.shims.jobs(), self.inputs.clone());
        tokio::spawn(async move {
            let returned = redis.hand_back(&reported).await;
            if let Some(problem) = &returned.problem {
                tracing::warn!(problem, again = returned.again, "cannot hand back all jobs of the stopped worker");
            }
            if returned.jobs > 0 {
                tracing::info!(jobs = returned.jobs, "handed back the jobs of the stopped worker");
            }
            let Returned { jobs, left, again, .. } = returned;
            let _ = inputs.send(Input::Machine(Event::HandedBackOutside { jobs, left, again })).await;
        });
    }

    /// Ends the instance: EC2 terminates one that powers itself off, as it was launched to.
    fn power_off(&mut self, reason: LastReason) {
        let words = match reason {
            LastReason::Orphaned => "powering off: no coordinator for orphan_after and no active job",
            LastReason::TooOld => "powering off: older than max_life",
            LastReason::Told => {
                "powering off: the coordinator asks for it, since EC2 refuses to terminate the instance"
            }
        };
        tracing::error!(words, "powering off");
        self.send(Message::Farewell(farewell(words)));
        tokio::spawn(async move {
            for line in [&["poweroff"][..], &["shutdown", "-h", "now"]] {
                let mut command = tokio::process::Command::new(line[0]);
                match command.args(&line[1..]).output().await {
                    Ok(out) if out.status.success() => return,
                    Ok(out) => {
                        let stderr = String::from_utf8_lossy(&out.stderr);
                        tracing::error!(program = line[0], stderr = stderr.trim(), "cannot power off; will retry");
                    }
                    Err(error) => tracing::error!(program = line[0], problem = %error, "cannot power off; will retry"),
                }
            }
        });
    }

    fn start_worker(&mut self) {
        tracing::info!("restarting the worker after a cancelled drain");
        let (pm2, inputs) = (self.pm2.clone(), self.inputs.clone());
        let schedule = self.schedule.clone();
        let next_generation = |schedule: &mut Schedule, is_starting: bool| {
            schedule.generation += 1;
            schedule.baseline = Baseline::Now;
            schedule.is_starting = is_starting;
        };
        schedule.send_modify(|schedule| next_generation(schedule, true));
        self.start = Some(tokio::spawn(async move {
            match pm2.list().await {
                Ok(processes) => {
                    for process in processes.iter().filter(|process| !process.is_online()) {
                        if let Err(error) = pm2.start(process.id).await {
                            tracing::warn!(process = process.id, problem = %error, "pm2 did not start a process: see `pm2 logs`");
                        }
                    }
                }
                Err(error) => tracing::warn!(problem = %error, "cannot ask pm2 to start the worker"),
            }
            schedule.send_modify(|schedule| next_generation(schedule, false));
            let _ = inputs.send(Input::Machine(Event::WorkerStarted)).await;
        }));
    }
}
