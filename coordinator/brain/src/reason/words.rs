//! The sentences that say why a decision was taken.

use std::fmt;
use std::time::Duration;

use super::Reason;
use crate::early_ends::EARLY;
use crate::hand_back::Suspect;
use crate::id::InstanceId;
use crate::refusal::remedy;
use crate::words::{counted, in_words};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Launches.
            Reason::BelowDesired { demand, desired, ready, on_the_way } => write!(
                f,
                "{} ready to run; {} desired, {ready} ready, {on_the_way} starting",
                counted(*demand, "job"),
                counted(*desired, "instance"),
            ),
            Reason::StartsLate { late, ready, on_the_way } => {
                write!(f, "{late} ({ready} ready, {on_the_way} starting)")
            }
            Reason::Floor { instances, ready, on_the_way } => {
                write!(f, "{} scheduled, {ready} ready, {on_the_way} starting", counted(*instances, "instance"))
            }
            Reason::LaunchUnanswered { attempt } => {
                write!(f, "EC2 has not answered this launch: retried with the same token (attempt {attempt})")
            }
            Reason::Refused { class, code, message, retried_in } => {
                write!(f, "EC2 refused the launch ({}: {code}: {message})", class.in_words())?;
                if let Some(wait) = retried_in {
                    write!(f, ": launching is stopped, and tried again in {}", in_words(*wait))?;
                }
                write!(f, ". {}; `spillway resume` tries at once", remedy(*class, code))
            }
            Reason::TakenBack { id, class, code, message, retried_in } => write!(
                f,
                "EC2 accepted the launch of {id}, and ended it before anything ran there ({}: {}): launching is stopped, and \
                 tried again in {}. {}; `spillway resume` tries at once",
                class.in_words(),
                said(code, message),
                in_words(*retried_in),
                remedy(*class, code)
            ),
            Reason::BreakerOpened { failures, wait, never_ran, .. } => {
                write!(
                    f,
                    "{} failed in a row: no launch for the next {}, then one instance is tried. `spillway status --all` says \
                     why each failed",
                    counted(*failures, "boot"),
                    in_words(*wait)
                )?;
                never_ran.as_ref().map_or(Ok(()), |it| write!(f, ". {it}"))
            }
            Reason::NothingTaken { id, demand, span } => write!(
                f,
                "{} ready to run and {id} is ready, but no job has been taken for {}: does its worker work this pool's \
                 queues, under the same prefix and in the same Redis? Read `pm2 logs` there",
                counted(*demand, "job"),
                in_words(*span)
            ),
            Reason::TwoAgents { id } => write!(
                f,
                "a second agent proved to be {id} while the first one's session lives: one of the two is not its agent, so it is \
                 drained and replaced. Find what else there reads the instance metadata, before it is gone"
            ),
            Reason::EarlyEnds { ends, wait } => write!(
                f,
                "{} in a row ended without notice or took no job within {} of becoming ready: no launch for {}, then one is \
                 tried. Look at the jobs that they ran, and at their memory and disk; `spillway resume` lifts it at once",
                counted(*ends, "instance"),
                in_words(EARLY),
                in_words(*wait)
            ),
            Reason::Replaces { id } => {
                write!(f, "EC2 recommends a rebalance of {id}: its replacement is launched first, then it is drained")
            }
            Reason::ReplacesImage { id, image } => {
                write!(f, "launches take {image}, and {id} is of another image: its replacement is launched first")
            }
            Reason::Drill { instances, asked } => {
                write!(f, "a drill of {}, requested by an operator: {asked}", counted(*instances, "instance"))
            }
            Reason::ReplacesScheduled { id, code, left } => write!(
                f,
                "EC2 has scheduled {code} of {id}{}: its replacement is launched first, then it is drained",
                when(*left)
            ),

            // What EC2 and Redis list.
            Reason::NotOurs { id } => write!(
                f,
                "{id} has the pool's tag but no launch token: it counts toward max_instances and is never touched. If it \
                 is not wanted, terminate it by hand"
            ),
            Reason::Strangers { ids, installation: Some(theirs), ours } => write!(
                f,
                "another installation, {theirs} by the tag spillway:installation (ours is {ours}), uses this pool's name: {}. \
                 They are neither counted nor touched. Give the pool of one of the two another pool.name; if both are the \
                 same installation, set `installation` to one value on both",
                listed(ids)
            ),
            Reason::Strangers { ids, installation: None, ours } => write!(
                f,
                "nobody can tell whose these are: {}. They have this pool's name and a launch token that this ledger does \
                 not know, but no tag spillway:installation. They count toward max_instances and are never touched. If \
                 they are this installation's, tag them spillway:installation={ours}; if not, upgrade the coordinator \
                 that launched them, or terminate them by hand",
                listed(ids)
            ),
            Reason::TagsChanged { id, tags } => write!(
                f,
                "somebody changed the tags of {id}: {tags}. It is ours by the ledger and still counts; put the tags back, \
                 or a coordinator that loses its ledger does not find it again"
            ),
            Reason::Unlisted { id } => write!(
                f,
                "EC2 lists {id} neither by its tags nor by its id, but its agent reports: it counts as running. If it was \
                 terminated, find what reports in its name, and run `spillway drain {id}`"
            ),
            Reason::QueuesUnknown { span, detail } => write!(
                f,
                "the queues have been unknown for {}: {detail}. Nothing is launched, and instances are billed on meanwhile; those \
                 whose agents say that they hold no job are drained next. `spillway queues` shows whether they can be read again",
                in_words(*span)
            ),
            Reason::InstancesUnknown { span, detail } => write!(
                f,
                "EC2's list of instances has been unknown for {}: {detail}. Nothing is launched, drained or terminated until \
                 EC2 answers; instances are billed on",
                in_words(*span)
            ),
            Reason::QueueGone { queue } => write!(
                f,
                "queue \"{queue}\" was there and has no key in Redis any more, so it counts as empty. Was it obliterated, or Redis \
                 flushed or restored without it? If not, the coordinator reads another Redis than the workers do"
            ),

            // Drains.
            Reason::ScaleIn { desired, idle: true } => {
                write!(f, "idle: no jobs ready to run for long enough; {} desired", counted(*desired, "instance"))
            }
            Reason::NotNeeded { waiting: 0, span, desired, .. } => write!(
                f,
                "no jobs ready to run, and not needed for {}; {} desired",
                in_words(*span),
                counted(*desired, "instance")
            ),
            Reason::NotNeeded { waiting, target, span, desired } => write!(
                f,
                "not needed for {}: with {} each of {} starts within its target ({})",
                in_words(*span),
                counted(*desired, "instance"),
                counted(*waiting, "job"),
                in_words(*target)
            ),
            Reason::FloorEnded { desired } => {
                write!(f, "the schedule that asked for it has ended; {} desired", counted(*desired, "instance"))
            }
            Reason::PoolRetired => {
                f.write_str("this pool is in no settings any more: its instances finish their jobs and are terminated")
            }
            Reason::ScaleIn { desired, idle: false } => write!(f, "more instances than desired ({desired})"),
            Reason::Interrupted { left, .. } => {
                write!(f, "interruption notice: EC2 reclaims the instance in {}", in_words(*left))
            }
            Reason::BootFailed { detail: Some(detail) } => write!(f, "boot failed: {detail}"),
            Reason::BootFailed { detail: None } => f.write_str("boot failed"),
            Reason::BootDeadline { after, detail } => {
                let why = detail.as_deref().unwrap_or("its agent never registered");
                write!(f, "boot timed out: not ready {} after its launch: {why}", in_words(*after))
            }
            Reason::AgentLost { silent } => {
                write!(f, "agent lost: no heartbeat for {}, and Redis shows no job on the instance", in_words(*silent))
            }
            Reason::TakesNoJob { id, demand, span } => write!(
                f,
                "{id} has taken no job for {}, with {} ready to run and others running: does its worker work this pool's \
                 queues, under the same prefix and in the same Redis?",
                in_words(*span),
                counted(*demand, "job"),
            ),
            Reason::AgentDrains { detail: Some(detail) } => write!(f, "its agent began to drain by itself: {detail}"),
            Reason::AgentDrains { detail: None } => f.write_str("its agent began to drain by itself"),
            Reason::OperatorAsked { reason: Some(reason) } => write!(f, "requested by an operator: {reason}"),
            Reason::OperatorAsked { reason: None } => f.write_str("requested by an operator"),
            Reason::DemandReturned { demand, desired } => write!(
                f,
                "{} ready to run again, {} desired: the drain is cancelled instead of booting a new instance",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),
            Reason::ToldAgain { cause } => {
                write!(f, "{}: the agent has not started to drain, so the command is sent again", cause.in_words())
            }
            Reason::RebalanceRecommended => f.write_str("EC2 recommends a rebalance: it may reclaim the instance soon"),
            Reason::NoJobByItsAgent { span, jobless } => write!(
                f,
                "the queues have been unknown for {}, and its agent has reported no job for {}",
                in_words(*span),
                in_words(*jobless)
            ),
            Reason::Replaced { by } => write!(f, "EC2 recommends a rebalance, and the replacement {by} is ready"),
            Reason::ReplacedImage { image, by: Some(by) } => {
                write!(f, "launches take {image}, another image than its own, and the replacement {by} is ready")
            }
            Reason::ReplacedImage { image, by: None } => {
                write!(f, "launches take {image}, another image than its own, and no job is ready to run")
            }
            Reason::EventScheduled { code, left } => write!(f, "EC2 has scheduled {code}{}", when(*left)),
            Reason::ReplacedScheduled { code, left, by } => {
                write!(f, "EC2 has scheduled {code}{}, and the replacement {by} is ready", when(*left))
            }

            Reason::DrillOver { problem: Some(problem), .. } => {
                write!(f, "the drill is over, and this instance did not become ready: {problem}")
            }
            Reason::DrillOver { after: Some(after), .. } => {
                write!(f, "the drill is over: its worker was ready {} after its launch", in_words(*after))
            }
            Reason::DrillOver { .. } => f.write_str("the drill is over"),

            // Terminations.
            Reason::Drained { cause } => {
                write!(f, "drained ({}): agent and Redis both show no job left", cause.in_words())
            }
            Reason::NoAgentNoJob { cause } => {
                write!(f, "{}: the agent does not answer, and Redis shows no job on the instance", cause.in_words())
            }
            Reason::DrainOverdue { by } => {
                let by = in_words(*by);
                write!(f, "drain {by} past its deadline: its jobs are handed back once EC2 shows it terminated")
            }
            Reason::TerminateAgain { attempt } => {
                write!(f, "EC2 does not show it shutting down yet: terminate is retried (attempt {attempt})")
            }
            Reason::NotTerminated { id, detail } => write!(
                f,
                "EC2 refuses to terminate {id} ({detail}): it is billed on, and counts toward max_instances. Its agent, if it \
                 answers, is told to power it off. Allow ec2:TerminateInstances, or terminate it by hand"
            ),
            Reason::StoppedUnseen { cause } => write!(
                f,
                "{}: its agent says that its worker is stopped and held no job; Redis cannot be asked",
                cause.in_words()
            ),
            Reason::Stopped { state } => write!(f, "EC2 shows it {state}: it cannot process jobs"),
            Reason::HandedBack { cause, jobs } => write!(
                f,
                "drained ({}): its worker is stopped, and its remaining jobs are handed back ({})",
                cause.in_words(),
                counted(*jobs, "job")
            ),

            // Hand-backs.
            Reason::LeftByDrain { jobs } => {
                write!(
                    f,
                    "its agent reported the worker stopped, and Redis still shows {}",
                    counted(*jobs, "active job")
                )
            }
            Reason::Terminated => f.write_str("EC2 shows it terminated: its active jobs are handed back"),
            Reason::ShutsDown => {
                f.write_str("EC2 is shutting it down: jobs whose locks are no longer renewed are handed back")
            }
            Reason::Vanished => {
                f.write_str("EC2 no longer lists it: jobs whose locks are no longer renewed are handed back")
            }
            Reason::HandBackAgain { problem: Some(problem), .. } => {
                write!(f, "retried: the last attempt failed: {problem}")
            }
            Reason::HandBackAgain { left: Some(left), .. } => {
                write!(f, "retried: the last attempt left {}", counted(*left, "job"))
            }
            Reason::HandBackAgain { .. } => f.write_str("retried: the last attempt was not answered"),
            Reason::HandBackFails { id, detail } => write!(
                f,
                "cannot hand back the jobs of {id}: {detail}. BullMQ's stall check requeues them unless this is fixed first"
            ),
            Reason::JobsLeft { id, left, span } => write!(
                f,
                "{} of {id} still active {} after it ended: something renews their locks. No more attempts; look for a \
                 worker that still runs under that name",
                counted(*left, "job"),
                in_words(*span)
            ),
            Reason::SuspectJob { id, suspect: Suspect { queue, job, ends, is_left } } => {
                write!(
                    f,
                    "job {job} of queue {queue} was running on {ends} instances that ended without notice, the last of \
                     them {id}: it may be what ends them. "
                )?;
                f.write_str(if *is_left {
                    "It has stalled before, so it is left to BullMQ's stall check, which fails it after maxStalledCount \
                     stalls"
                } else {
                    "It counts as stalled, and goes behind the other jobs. Look at what it does to its machine, or remove it"
                })
            }
        }
    }
}

/// EC2's code, and its message where there is one.
pub(crate) fn said(code: &str, message: &str) -> String {
    if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") }
}

/// When an event begins that EC2 has scheduled.
pub(crate) fn when(left: Duration) -> String {
    if left.is_zero() { ", which may begin at any moment".to_owned() } else { format!(" in {}", in_words(left)) }
}

/// The first few ids, and how many more there are.
fn listed(ids: &[InstanceId]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<&str> = ids.iter().take(SHOWN).map(|id| id.0.as_str()).collect();
    let more = ids.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
