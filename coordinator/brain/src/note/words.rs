//! The sentences that say why nothing more is done.

use std::fmt;
use std::time::Duration;

use super::{Note, WorksOn};
use crate::early_ends::EARLY;
use crate::reason::{said, when};
use crate::refusal::remedy;
use crate::refusal_class::RefusalClass;
use crate::words::{counted, in_words};

impl fmt::Display for WorksOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorksOn::NotWanted => f.write_str("no replacement is needed now"),
            WorksOn::OneAtATime => f.write_str("another instance is being replaced"),
            WorksOn::AtCap { max_instances } => {
                write!(f, "at the cap: max_instances {max_instances} leaves no room for a replacement")
            }
            WorksOn::Limit { limit } => {
                write!(f, "the limit of {limit} rebalances an hour is reached (rebalance_limit)")
            }
            WorksOn::Replacement => {
                f.write_str("it is a recent replacement itself, and another would be no better off")
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Nothing is scaled.
            Note::NotLeader => f.write_str("standby: another coordinator is the leader and decides"),
            Note::NotObservedYet => f.write_str("the queues have not been read yet: no scaling until they are"),
            Note::ObservationFailed { detail } => {
                write!(f, "cannot read the queues ({detail}): no scaling until this works again")
            }
            Note::ObservationStale { age } => {
                write!(f, "the queues were last read {} ago: no scaling until they are read again", in_words(*age))
            }
            Note::NotListedYet => f.write_str("EC2's instances have not been listed yet: no scaling until they are"),
            Note::ListingFailed { detail } => {
                write!(f, "cannot list EC2's instances ({detail}): no scaling until this works again")
            }
            Note::ListingStale { age } => {
                write!(
                    f,
                    "EC2's instances were last listed {} ago: no scaling until they are listed again",
                    in_words(*age)
                )
            }
            Note::Held { reason: Some(reason) } => {
                write!(f, "an operator holds the pool ({reason}): no scaling until `spillway resume`")
            }
            Note::Held { reason: None } => {
                f.write_str("an operator holds the pool: no scaling until `spillway resume`")
            }
            Note::Resumed { by: Some(by) } => write!(f, "an operator resumed the pool ({by})"),
            Note::Resumed { by: None } => f.write_str("an operator resumed the pool"),

            Note::Drill { instances, asked, ready, failed } => {
                write!(f, "a drill of {} is under way ({asked}): {ready} ready", counted(*instances, "instance"))?;
                if *failed > 0 { write!(f, ", {failed} failed") } else { Ok(()) }
            }
            Note::DrillStays { name, why } => {
                write!(f, "the drill is over, and {name} stays as an ordinary instance: {why}")
            }

            // The policy.
            Note::PoolRetired => f.write_str(
                "this pool is in no settings any more: 0 desired, and its instances are drained. To keep it, put its \
                 [[pool]] back",
            ),
            Note::NothingWaits => f.write_str("no jobs ready to run"),
            Note::Idle { over } => write!(f, "idle: no jobs ready to run for {}", in_words(*over)),
            Note::IdleCounting { since, of } => {
                write!(f, "no jobs ready to run: idle for {} of {}", in_words(*since), in_words(*of))
            }
            Note::Sustaining { demand, jobs, instances, since, of } => write!(
                f,
                "{} ready to run, {jobs} or more for {}: {} desired in {} if so many still are",
                counted(*demand, "job"),
                in_words(*since),
                counted(*instances, "instance"),
                in_words(of.saturating_sub(*since))
            ),
            Note::StepReached { demand, jobs, over, instances } => write!(
                f,
                "{} ready to run: {jobs} or more for {}, so {} desired",
                counted(*demand, "job"),
                in_words(*over),
                counted(*instances, "instance")
            ),
            Note::NothingMeasured => {
                f.write_str("which jobs wait, or how long jobs take, is not known: until it is, the steps decide")
            }
            Note::Floor { instances, begins_in: Duration::ZERO, left } => {
                write!(f, "{} scheduled for {} more", counted(*instances, "instance"), in_words(*left))
            }
            Note::Floor { instances, begins_in, .. } => {
                write!(f, "{} scheduled in {}", counted(*instances, "instance"), in_words(*begins_in))
            }
            Note::PromiseKept { waiting, instances, target } => write!(
                f,
                "{} ready to run: with {} each starts within its target ({})",
                counted(*waiting, "job"),
                counted(*instances, "instance"),
                in_words(*target)
            ),
            Note::SpareCounting { spare, since, of, waiting: 0, .. } => write!(
                f,
                "no jobs ready to run: {} not needed for {} of {}",
                counted(*spare, "instance"),
                in_words(*since),
                in_words(*of)
            ),
            Note::SpareCounting { spare, since, of, waiting, target } => write!(
                f,
                "{} ready to run: each starts within its target ({}) also without {}, for {} of {}",
                counted(*waiting, "job"),
                in_words(*target),
                counted(*spare, "instance"),
                in_words(*since),
                in_words(*of)
            ),
            Note::StartsLate { late } => write!(f, "{late}"),
            Note::LaunchCanWait { late, boot } => {
                write!(f, "{late}. Instances take {} to boot: a launch is not due yet", in_words(*boot))
            }
            Note::CannotKeep { late, most_at_once: Some(most), .. } => write!(
                f,
                "{late}. No launch makes it sooner: the queue's global concurrency lets {} run at once",
                counted(*most, "job")
            ),
            Note::CannotKeep { late, max_instances, most_at_once: None } => {
                write!(f, "{late}. No launch makes it sooner: the cap is {}", counted(*max_instances, "instance"))
            }
            Note::BelowStep { demand, jobs, desired } => write!(
                f,
                "{} ready to run: below the next step ({jobs}), so {} desired as before",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),
            Note::KeptByLittle { desired, jobs, span, idle } => write!(
                f,
                "fewer than {jobs} jobs ready to run for {}, but never none for {}: {} kept by the idle rule, about {} of \
                 instance time. A shorter policy.idle, or `spillway drain`, ends that",
                in_words(*span),
                in_words(*idle),
                counted(*desired, "instance"),
                in_words(*span * *desired)
            ),
            Note::HighestStep { demand, desired } => write!(
                f,
                "{} ready to run: the highest step is reached, {} desired",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),

            // Launches.
            Note::Paused { waiting } => {
                write!(f, "the queue is paused with {} waiting: more instances cannot help", counted(*waiting, "job"))
            }
            Note::RateLimited { queue, left, waiting } => write!(
                f,
                "queue {queue} is rate limited for {} with {} waiting: more instances cannot help",
                in_words(*left),
                counted(*waiting, "job")
            ),
            Note::ConcurrencyReached { queue, limit } => {
                write!(f, "queue {queue} is at its global concurrency ({limit}): more instances cannot help")
            }
            Note::NoDemandNoReplacement { desired } => {
                write!(f, "{} desired, but no jobs ready to run: no launch for now", counted(*desired, "instance"))
            }
            Note::OnTheWay { count, next_deadline } => {
                write!(f, "{} starting, at most {} left", counted(*count, "instance"), in_words(*next_deadline))
            }
            Note::AtCap { max_instances, billing, not_ours } => {
                match billing < max_instances {
                    // There is room for some of those that are wanted, and they are launched.
                    true => {
                        write!(f, "near the cap: {billing} of max_instances {max_instances} are running or starting")?
                    }
                    false => {
                        write!(f, "at the cap: {billing} of max_instances {max_instances} are running or starting")?
                    }
                }
                match not_ours {
                    0 => Ok(()),
                    _ => write!(f, ", {not_ours} of them not launched by this installation"),
                }
            }
            Note::BreakerOpen { failures, left, never_ran } => {
                write!(
                    f,
                    "{} failed in a row: no launch for the next {}, then one instance is tried. `spillway status --all` says why each \
                     failed",
                    counted(*failures, "boot"),
                    in_words(*left)
                )?;
                never_ran.as_ref().map_or(Ok(()), |it| write!(f, ". {it}"))
            }
            Note::EarlyEnds { ends, left: Some(left) } => write!(
                f,
                "{} in a row ended without notice or took no job soon after becoming ready: no launch for {}",
                counted(*ends, "instance"),
                in_words(*left)
            ),
            Note::EarlyEnds { ends, left: None } => write!(
                f,
                "{} in a row ended without notice or took no job soon after becoming ready: one is tried, and must be ready for {} before \
                 others follow",
                counted(*ends, "instance"),
                in_words(EARLY)
            ),
            Note::BreakerTries => f.write_str("boots failed before: one instance is tried first"),
            Note::NewImage { image } => write!(
                f,
                "image {image} has not run here yet: one instance tries it first; the rest follow once it is ready"
            ),
            Note::BackOff { class, code, message, left, after_accept: true } => {
                let (what, said, left) = (class.in_words(), said(code, message), in_words(*left));
                write!(
                    f,
                    "EC2 accepted a launch, and ended its instance before anything ran there ({what}: {said}): "
                )?;
                match class.needs_a_person() {
                    false => write!(f, "no launch for {left}"),
                    true => write!(
                        f,
                        "launching is stopped, and tried again in {left}. {}; `spillway resume` tries at once",
                        remedy(*class, code)
                    ),
                }
            }
            Note::BackOff { class: RefusalClass::Retry, code, left, .. } => {
                write!(f, "EC2 answered {code}: the launch is retried in {}", in_words(*left))
            }
            Note::BackOff { class, code, message, left, .. } if class.needs_a_person() => write!(
                f,
                "EC2 refused a launch ({}: {code}: {message}): launching is stopped, and tried again in {}. {}; \
                 `spillway resume` tries at once",
                class.in_words(),
                in_words(*left),
                remedy(*class, code)
            ),
            Note::BackOff { class, code, message, left, .. } => {
                let (what, left) = (class.in_words(), in_words(*left));
                write!(f, "EC2 refused a launch ({what}: {code}: {message}): no launch for {left}")
            }
            Note::FatalRefusal { code, message } => write!(
                f,
                "EC2 refused a launch ({code}: {message}): launching is stopped. Fix it, then run `spillway resume`"
            ),
            Note::TokenUsed { token } => write!(
                f,
                "EC2 knows launch {token} already, with other settings: it counts toward max_instances until EC2's list \
                 shows its instance, or that there is none"
            ),
            Note::LaunchUnseen { token } => write!(
                f,
                "launch {token} was never answered: it counts toward max_instances until EC2's list shows that it does not \
                 exist"
            ),

            // Instances.
            Note::WaitsForDrain { name, silent: true, .. } => {
                write!(f, "{name} is draining, but its agent does not answer")
            }
            Note::WaitsForDrain { name, jobs: Some(jobs), .. } => {
                write!(f, "{name} is draining: {} left", counted(*jobs, "job"))
            }
            Note::WaitsForDrain { name, jobs: None, .. } => write!(f, "{name} is draining"),
            Note::Kept { id, left } => write!(
                f,
                "{id} failed to boot and is kept for a person for {} (pool.keep_failed_boots); it counts toward \
                 max_instances. `spillway drain {id}` ends it now",
                in_words(*left)
            ),
            Note::LeftToEc2 { id, left } => write!(
                f,
                "{id} is left to EC2, which reclaims it in its first hour and does not bill it then; if EC2 has not within {}, it is \
                 terminated",
                in_words(*left)
            ),
            Note::SourcesDisagree { id, redis } => write!(
                f,
                "the agent of {id} reports it drained, but Redis shows {}: they are handed back before it is terminated",
                counted(*redis, "active job")
            ),
            Note::RedisViewMissing { id } => {
                write!(f, "the agent of {id} reports it drained; Redis has not confirmed it yet")
            }
            Note::AgentSilent { id, silent } => {
                write!(f, "no heartbeat from the agent of {id} for {}", in_words(*silent))
            }
            Note::NotOurs { id } => write!(
                f,
                "{id} has the pool's tag but no launch token: it counts toward max_instances and is never touched"
            ),
            Note::NotTerminated { id, detail, left } => {
                let left = in_words(*left);
                write!(
                    f,
                    "EC2 refuses to terminate {id} ({detail}): it is billed on, and terminate is retried in {left}"
                )
            }
            Note::Stranger { id, installation: Some(theirs), ours } => write!(
                f,
                "{id} has this pool's name, but is another installation's (spillway:installation={theirs}, ours is \
                 {ours}): it is neither counted nor touched"
            ),
            Note::Stranger { id, installation: None, .. } => write!(
                f,
                "{id} has this pool's name and an unknown launch token, but no spillway:installation tag: it counts \
                 toward max_instances and is never touched"
            ),
            Note::TagsChanged { id, tags } => {
                write!(f, "somebody changed the tags of {id} ({tags}): it is ours by the ledger and still counts")
            }
            Note::Unlisted { id } => {
                write!(f, "EC2 does not list {id}, but its agent reports: it counts as running")
            }
            Note::HandsBack { id, problem: Some(problem), .. } => {
                write!(f, "the jobs of {id} are not handed back yet, and this is retried: {problem}")
            }
            Note::HandsBack { id, left: Some(left), certain: false, .. } => write!(
                f,
                "{} of {id} left: handed back once their locks are seen not to be renewed",
                counted(*left, "job")
            ),
            Note::HandsBack { id, left: Some(left), .. } => {
                write!(f, "{} of {id} left to hand back", counted(*left, "job"))
            }
            Note::HandsBack { id, .. } => write!(f, "the jobs of {id} are being handed back"),
            Note::RebalanceWaits { id, replacement } => {
                write!(
                    f,
                    "EC2 recommends a rebalance of {id}: it keeps working until its replacement {replacement} is ready"
                )
            }
            Note::RebalanceHeld { id, why } => write!(f, "EC2 recommends a rebalance of {id}; it keeps working: {why}"),
            Note::DriftWaits { id, image, replacement } => write!(
                f,
                "launches take {image}, and {id} is of another image: it keeps working until its replacement {replacement} is ready"
            ),
            Note::DriftHeld { id, image, why } => {
                write!(f, "launches take {image}, and {id} is of another image; it keeps working: {why}")
            }
            Note::EventScheduled { id, code, left, acts_in } => write!(
                f,
                "EC2 has scheduled {code} of {id}{}: it is replaced, then drained, in {}",
                when(*left),
                in_words(*acts_in)
            ),
            Note::EventWaits { id, code, left, replacement } => write!(
                f,
                "EC2 has scheduled {code} of {id}{}: it keeps working until its replacement {replacement} is ready",
                when(*left)
            ),
            Note::EventHeld { id, code, left, drained_in, why } => write!(
                f,
                "EC2 has scheduled {code} of {id}{}; it keeps working, and is drained in {}: {why}",
                when(*left),
                in_words(*drained_in)
            ),
        }
    }
}
