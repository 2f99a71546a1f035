//! How often each thing happened in a run: a fault that never happened was not tested.

/// Defines what is counted, each with its name in the summary.
macro_rules! occurrences {
    ($($name:ident $words:literal),+ $(,)?) => {
        /// Something that happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Occurrence { $($name),+ }

        impl Occurrence {
            pub const ALL: &[Occurrence] = &[$(Occurrence::$name),+];

            pub fn words(self) -> &'static str {
                match self { $(Occurrence::$name => $words),+ }
            }
        }
    };
}

occurrences! {
    // What the coordinators did.
    Tick "ticks",
    Launch "launches of new tokens",
    LaunchAgain "launches retried",
    Drain "drains",
    CancelDrain "drains cancelled",
    Terminate "terminations",
    TerminateOverdue "terminations of overdue drains",
    HandBackAsked "hand-backs started",
    PowerOffAsked "agents told to power off",
    JoblessEnded "instances without a job drained while the queues were unknown",
    EndedUnseen "instances terminated by their agents' word while the queues were unknown",
    Alert "alerts",
    Failover "failovers",
    Adopted "instances adopted by their token",
    Replaced "replacements after a rebalance recommendation",
    ReplacedScheduled "replacements before a scheduled event",
    // What the instances did.
    Instance "instances launched",
    Ready "instances ready",
    BootFailed "boots failed",
    Drained "agents drained",
    PowerOff "instances powered off by the dead-man's switch",
    PoweredOffAsTold "instances powered off because EC2 refuses to terminate them",
    CancelObeyed "agents unfenced after a cancelled drain",
    // Jobs.
    Arrived "jobs arrived",
    Completed "jobs completed",
    RanOnInstance "jobs started on instances",
    Retried "jobs retried",
    FailedByItself "jobs failed by the application",
    HandedBackInside "jobs handed back by the worker's process",
    HandedBackAgent "jobs handed back by agents",
    HandedBackCertain "jobs handed back by coordinators, certain",
    HandedBackCautious "jobs handed back by coordinators, cautious",
    PutBehind "jobs put behind the others: their instances end without notice",
    LeftToStallCheck "jobs left to the stall check: their instances end without notice",
    CutOff "jobs cut off",
    Stalled "jobs stalled",
    FailedByStalls "jobs failed by a second stall",
    LostLock "jobs whose worker lost its lock",
    RanTwice "jobs run twice beside a worker that was cut off",
    Delayed "jobs delayed",
    Prioritized "jobs prioritized",
    // EC2's faults.
    LostRequest "requests lost",
    LostAnswer "answers lost after the effect",
    LateEffect "requests that took effect late",
    DuplicateCall "requests delivered twice",
    SameToken "launches answered with the instance of their token",
    Throttled "calls throttled",
    NoCapacity "launches refused: insufficient capacity",
    Quota "launches refused: quota",
    Permission "launches refused: permission",
    Configuration "launches refused: configuration",
    UnknownRefusal "launches refused: unknown error",
    TakenBack "launches accepted and taken back",
    TokenUsed "launches refused: token used with other parameters",
    TokenEnded "launches refused: instance of the token terminated",
    NotTerminated "terminations refused",
    NotFound "terminations of instances that EC2 does not know",
    Protected "instances protected against termination",
    Deployed "deploys that change the launch's parameters",
    OutOfDateListing "listings out of date",
    SlowListing "listings answered late",
    Hidden "instances hidden from listings",
    Notice "interruptions with notice",
    NoNotice "interruptions without notice",
    Rebalance "rebalance recommendations",
    EventScheduled "events scheduled",
    EventCancelled "events cancelled",
    EventBegan "scheduled events that cut no job off",
    EventCutOff "scheduled events that cut jobs off: told too late, or to an agent that could not drain",
    Vanished "instances that vanished",
    EndedByJob "instances that a job took down",
    TerminatedByOther "instances terminated by another client",
    StoppedByOther "instances stopped by another client",
    Unmanaged "unmanaged instances",
    Neighbor "instances of another installation",
    OldVersion "instances of a version without the installation's tag",
    Retagged "instances whose tags were changed",
    Unlisted "instances that no listing shows for long",
    EmptyLists "lists that show no instance for long",
    GivenUp "unlisted instances given up once their agents were silent",
    UnknownAgent "unknown agents rejected",
    NewImage "new images",
    NewBadImage "new images on which no boot succeeds",
    RolledBack "images rolled back",
    ImageTried "launches from an image that had not run",
    NeverBoots "instances that never boot",
    SlowBoot "instances that boot slowly",
    StepFailed "boot steps failed",
    HostHung "instances that hung",
    Rebooted "instances rebooted",
    // The programs' faults.
    CrashBeforeSave "crashes before a save",
    CrashAfterSave "crashes between save and execution",
    CrashInside "crashes while a plan is carried out",
    CrashAnytime "crashes at any time",
    Frozen "coordinators frozen",
    FrozenBeforeExecution "coordinators frozen between save and execution",
    PlanDropped "plans dropped because the lease had expired",
    LoadFailed "ledgers that could not be read",
    SaveFailed "saves that failed",
    SaveAnswerLost "saves whose answer was lost",
    AgentCrash "agent crashes",
    AgentDied "agents that never came back",
    Lies "agents that begin to lie",
    FalselyReady "workers that take no job while their agents say ready",
    OldWord "dead workers whose agents repeat what was true before",
    OtherQueue "workers of another queue",
    TookNoJob "instances drained because they took no job",
    LiedDrained "drains that an agent wrongly called over",
    WorkerCrash "worker crashes",
    WorkerHung "workers that hung",
    ImdsLate "notices seen late",
    ClockStep "clocks of coordinators set",
    HostClockStep "clocks of instances set",
    AnothersClock "ledgers loaded that were saved by another clock",
    // The network's.
    CutEc2 "partitions coordinator-EC2",
    CutLedger "partitions coordinator-Redis",
    CutSession "partitions agent-coordinator",
    CutWorker "partitions agent-Redis",
    RedisDown "Redis unreachable for all",
    LedgerDeleted "ledgers deleted",
    LedgerForged "ledgers forged",
    LedgerRestored "ledgers restored from a copy",
    Reconfigured "restarts with other settings",
    Slow "slow networks",
    SessionLost "sessions lost",
    MessageLost "messages lost",
    MessageLate "messages late",
    OldSession "messages of an old session",
    // Operators' and users'.
    Hold "holds",
    Resumed "resumes",
    OperatorDrain "drains by an operator",
    OperatorCancel "drains cancelled by an operator",
    Rehearsal "rehearsals",
    Drill "drills",
    Rejected "operators' commands rejected",
    Paused "queues paused",
    Limited "queues with a concurrency limit",
    RateLimited "queues with a rate limit",
    HeldBack "jobs held back by a rate limit",
    Obliterated "queues obliterated",
    Unreadable "queues that could not be read for long",
    Flood "floods",
    Burst "bursts",
}

/// How often each of them happened.
#[derive(Clone, Debug)]
pub struct Counts([u64; Occurrence::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; Occurrence::ALL.len()])
    }
}

impl Counts {
    pub fn add(&mut self, occurrence: Occurrence) {
        self.0[occurrence as usize] += 1;
    }

    pub fn of(&self, occurrence: Occurrence) -> u64 {
        self.0[occurrence as usize]
    }

    pub fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub fn never(&self) -> Vec<&'static str> {
        Occurrence::ALL
            .iter()
            .filter(|occurrence| self.of(**occurrence) == 0)
            .map(|occurrence| occurrence.words())
            .collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Occurrence::ALL.iter().map(|occurrence| (occurrence.words(), self.of(*occurrence)))
    }
}
