//! Every kind of finding: its name in metrics and messages, how severe it is, what to do, and its row of the runbook.

/// What a person is needed for. A pool has at most one finding of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    NoLeader,
    Standby,
    QueuesUnknown,
    InstancesUnknown,
    LaunchesStopped,
    BreakerOpen,
    TerminationRefused,
    DrainOverdue,
    HandBackFails,
    QueueGone,
    NothingTaken,
    SuspectJob,
    TwoAgents,
    CapReached,
    Held,
    Unprotected,
    AgentSilent,
    Strangers,
    TagsChanged,
    Unlisted,
    ImageStale,
    LeftVolumes,
    OtherImage,
    SlowBoot,
}

/// How soon a person is needed. The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work until it is fixed.
    Stop,
    /// It works, and something is wrong.
    Warn,
    /// Nothing is wrong, and something could be better: shown, and no message of its own.
    Hint,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Stop => "stop",
            Severity::Warn => "warn",
            Severity::Hint => "hint",
        }
    }
}

impl Kind {
    pub const ALL: [Kind; 24] = [
        Kind::NoLeader,
        Kind::Standby,
        Kind::QueuesUnknown,
        Kind::InstancesUnknown,
        Kind::LaunchesStopped,
        Kind::BreakerOpen,
        Kind::TerminationRefused,
        Kind::DrainOverdue,
        Kind::HandBackFails,
        Kind::QueueGone,
        Kind::NothingTaken,
        Kind::SuspectJob,
        Kind::TwoAgents,
        Kind::CapReached,
        Kind::Held,
        Kind::Unprotected,
        Kind::AgentSilent,
        Kind::Strangers,
        Kind::TagsChanged,
        Kind::Unlisted,
        Kind::ImageStale,
        Kind::LeftVolumes,
        Kind::OtherImage,
        Kind::SlowBoot,
    ];

    /// As metrics, JSON and the ledger write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NoLeader => "no_leader",
            Kind::Standby => "standby",
            Kind::QueuesUnknown => "queues_unknown",
            Kind::InstancesUnknown => "instances_unknown",
            Kind::LaunchesStopped => "launches_stopped",
            Kind::BreakerOpen => "breaker_open",
            Kind::TerminationRefused => "termination_refused",
            Kind::DrainOverdue => "drain_overdue",
            Kind::HandBackFails => "hand_back_fails",
            Kind::QueueGone => "queue_gone",
            Kind::NothingTaken => "nothing_taken",
            Kind::SuspectJob => "suspect_job",
            Kind::TwoAgents => "two_agents",
            Kind::CapReached => "cap_reached",
            Kind::Held => "held",
            Kind::Unprotected => "unprotected",
            Kind::AgentSilent => "agent_silent",
            Kind::Strangers => "strangers",
            Kind::TagsChanged => "tags_changed",
            Kind::Unlisted => "unlisted",
            Kind::ImageStale => "image_stale",
            Kind::LeftVolumes => "left_volumes",
            Kind::OtherImage => "other_image",
            Kind::SlowBoot => "slow_boot",
        }
    }

    pub fn severity(self) -> Severity {
        match self {
            Kind::NoLeader
            | Kind::QueuesUnknown
            | Kind::InstancesUnknown
            | Kind::LaunchesStopped
            | Kind::BreakerOpen
            | Kind::TerminationRefused
            | Kind::HandBackFails
            | Kind::NothingTaken => Severity::Stop,
            Kind::Standby | Kind::OtherImage | Kind::SlowBoot => Severity::Hint,
            _ => Severity::Warn,
        }
    }

    /// It is of the installation, and of no pool.
    pub fn is_of_installation(self) -> bool {
        matches!(self, Kind::NoLeader | Kind::Standby | Kind::LeftVolumes)
    }

    /// A coordinator that does not lead would find it too; of every other kind it knows nothing.
    pub fn is_seen_by_standby(self) -> bool {
        matches!(self, Kind::QueuesUnknown | Kind::InstancesUnknown) || self.is_of_installation()
    }

    /// As [`Kind::as_str`] writes it.
    pub fn named(name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Where nothing more is known of it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::NoLeader => "No coordinator leads",
            Kind::Standby => "This coordinator is not the leader",
            Kind::QueuesUnknown => "Cannot read the queues",
            Kind::InstancesUnknown => "Cannot list EC2's instances",
            Kind::LaunchesStopped => "Launching is stopped",
            Kind::BreakerOpen => "The breaker is open",
            Kind::TerminationRefused => "EC2 refuses to terminate an instance, and it is billed on",
            Kind::DrainOverdue => "A drain did not end in time",
            Kind::HandBackFails => "Jobs of an instance that ended could not be handed back",
            Kind::QueueGone => "A queue is gone from Redis",
            Kind::NothingTaken => "No job is taken although instances are ready",
            Kind::SuspectJob => "A job was running on instance after instance that ended without notice",
            Kind::TwoAgents => "Two agents prove to be one instance",
            Kind::CapReached => "At the cap while the backlog grows",
            Kind::Held => "Held while jobs wait",
            Kind::Unprotected => "Unprotected workers",
            Kind::AgentSilent => "An agent is silent",
            Kind::Strangers => "Instances that are not this installation's carry this pool's name",
            Kind::TagsChanged => "The tags of an instance were changed",
            Kind::Unlisted => "EC2 does not list an instance whose agent reports",
            Kind::ImageStale => "The image is old",
            Kind::LeftVolumes => "Volumes left behind",
            Kind::OtherImage => "Instances of another image or commit",
            Kind::SlowBoot => "Boots spend long installing",
        }
    }

    /// What to do.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Kind::NoLeader => {
                "Is the ledger's Redis up, and does a coordinator reach it? The one that leads has the health service \
                 `spillway.leader` SERVING; where none is, start one."
            }
            Kind::Standby => {
                "Look at the leader's dashboard on its host. Its health service `spillway.leader` is SERVING; where none \
                 is, start one."
            }
            Kind::QueuesUnknown => "Is Redis up, and are password and permissions right? `spillway doctor` tries them.",
            Kind::InstancesUnknown => {
                "Are the coordinator's credentials, IAM policy and clock right? `spillway doctor` asks EC2."
            }
            Kind::LaunchesStopped => "EC2's message says what to fix; then `spillway resume`, which tries at once.",
            Kind::BreakerOpen => {
                "Fix the image or the application, then `spillway resume`. `spillway status --all` says why each boot failed, \
                 with the end of the worker's log where its agent told it."
            }
            Kind::TerminationRefused => {
                "Allow ec2:TerminateInstances (its condition on ManagedBy too), lift termination protection, or terminate \
                 it by hand."
            }
            Kind::DrainOverdue => {
                "Nothing, if it ends soon: it is terminated two minutes after its deadline. Otherwise look at the instance."
            }
            Kind::HandBackFails => {
                "BullMQ's stall check requeues them. Look at the Redis user's permissions; a job whose lock is still \
                 renewed runs somewhere."
            }
            Kind::QueueGone => {
                "Nothing, where somebody obliterated it. Otherwise: was Redis flushed, or restored without it?"
            }
            Kind::NothingTaken => {
                "The worker works another queue, prefix or Redis, or the application has paused it. `pm2 logs` on the \
                 instance tells more."
            }
            Kind::SuspectJob => "Look at that job: memory, disk, what it does to its machine.",
            Kind::TwoAgents => {
                "The instance is drained and replaced by itself. Find out which second process there has its credentials."
            }
            Kind::CapReached => "Raise max_instances, or find out why jobs arrive faster than they finish.",
            Kind::Held => "`spillway resume`, unless somebody is still looking.",
            Kind::Unprotected => {
                "A drain or an interruption may kill its jobs. Fix the worker's settings as it says, then `spillway bake`."
            }
            Kind::AgentSilent => {
                "It counts as running. Its jobs are safe: they go back once their locks are seen not to be renewed. Look \
                 at the instance, or drain it."
            }
            Kind::Strangers => {
                "If they are this installation's, tag them spillway:installation with its name. If not, terminate them, or \
                 give the pool of one of the two installations another pool.name."
            }
            Kind::TagsChanged => "Put the tags back.",
            Kind::Unlisted => "Is it in the EC2 console? If not, something reports in its name: find it, and drain it.",
            Kind::ImageStale => "`spillway bake` makes a new one.",
            Kind::LeftVolumes => "Delete what nobody needs.",
            Kind::OtherImage => "Nothing, or drain each: the policy ends them in time.",
            Kind::SlowBoot => "`spillway bake`: on a new image the packages are there.",
        }
    }

    /// The section of the runbook that has its row.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Kind::Unprotected => "what-needs-a-person",
            _ => "when-it-does-not-scale",
        }
    }

    /// The text of its row in the runbook's table.
    pub(crate) fn row(self) -> &'static str {
        match self {
            Kind::NoLeader | Kind::Standby => "STANDBY: this coordinator is not the leader",
            Kind::QueuesUnknown => "cannot read the queues (",
            Kind::InstancesUnknown => "cannot list EC2's instances (",
            Kind::LaunchesStopped => "EC2 refused a launch (unknown error",
            Kind::BreakerOpen => "boots failed in a row: no launch for",
            Kind::TerminationRefused => "EC2 refuses to terminate",
            Kind::DrainOverdue | Kind::AgentSilent => "is draining, but its agent does not answer",
            Kind::HandBackFails => "cannot hand back the jobs of",
            Kind::QueueGone => "was there and has no key in Redis any more",
            Kind::NothingTaken => "but no job has been taken for 5 min",
            Kind::SuspectJob => "instances that ended without notice",
            Kind::TwoAgents => "a second agent proved to be",
            Kind::CapReached => "at the cap: 2 of max_instances 2",
            Kind::Held => "an operator holds the pool",
            Kind::Unprotected => "unprotected",
            Kind::Strangers => "uses this pool",
            Kind::TagsChanged => "somebody changed the tags of",
            Kind::Unlisted => "neither by its tags nor by its id, but its agent reports",
            Kind::ImageStale => "launches take",
            Kind::LeftVolumes => "left behind by instances that are gone, and billed on",
            Kind::OtherImage => "older image",
            Kind::SlowBoot => "of each boot: spillway bake",
        }
    }
}
