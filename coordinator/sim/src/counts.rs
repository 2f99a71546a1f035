//! What really happened, counted: a fault that never occurred was not tested.

/// Defines what is counted, each with its words.
macro_rules! met {
    ($($name:ident $words:literal),+ $(,)?) => {
        /// Something that happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Met { $($name),+ }

        impl Met {
            pub const ALL: &[Met] = &[$(Met::$name),+];

            pub fn words(self) -> &'static str {
                match self { $(Met::$name => $words),+ }
            }
        }
    };
}

met! {
    // What the coordinators did.
    Tick "ticks",
    Launch "launches of new tokens",
    LaunchAgain "launches asked again",
    Drain "drains",
    CancelDrain "drains taken back",
    Terminate "terminations",
    TerminateOverdue "terminations of overdue drains",
    HandBackAsked "hand-backs asked for",
    Alert "alerts",
    Failover "failovers",
    Adopted "instances adopted by their token",
    Replaced "replacements on a recommendation",
    // What the instances did.
    Instance "instances launched",
    Ready "instances ready",
    BootFailed "boots given up",
    Drained "agents drained",
    PowerOff "dead-man's switches",
    CancelObeyed "agents back at work",
    // Jobs.
    Arrived "jobs arrived",
    Completed "jobs completed",
    RanOnInstance "jobs begun on instances",
    Retried "jobs retried",
    FailedByItself "jobs failed by themselves",
    HandedBackInside "jobs handed back in process",
    HandedBackAgent "jobs handed back by agents",
    HandedBackCertain "jobs handed back by coordinators",
    HandedBackUncertain "jobs handed back while uncertain",
    CutOff "jobs cut off",
    Stalled "jobs stalled",
    FailedByStalls "jobs failed by stalls",
    LostLock "jobs whose worker lost its lock",
    RanTwice "jobs run again beside a cut-off worker",
    Delayed "jobs delayed",
    Prioritized "jobs prioritized",
    // EC2's faults.
    LostRequest "requests lost",
    LostAnswer "answers lost after the effect",
    LateEffect "requests that took effect late",
    DuplicateCall "requests delivered twice",
    SameToken "launches that met their token again",
    Throttled "calls throttled",
    NoCapacity "launches without capacity",
    Quota "launches over the quota",
    Fatal "launches refused for good",
    StaleList "stale lists",
    Hidden "instances hidden from lists",
    Notice "interruptions with notice",
    NoNotice "interruptions without notice",
    Rebalance "rebalance recommendations",
    Vanished "instances that vanished",
    EndedBehind "instances ended behind our back",
    StoppedBehind "instances stopped behind our back",
    Foreign "foreign instances",
    Stranger "agents of strangers turned away",
    NeverBoots "instances that never boot",
    SlowBoot "instances that boot slowly",
    StepFailed "boot steps failed",
    HostHung "instances that hung",
    Rebooted "instances rebooted",
    // The programs' faults.
    CrashBeforeSave "crashes before a save",
    CrashAfterSave "crashes between save and execution",
    CrashInside "crashes within an execution",
    CrashAnytime "crashes at any time",
    Stalls "coordinators that stood still",
    StallBeforeExecution "stood still between save and execution",
    ExecutionForgone "plans not executed, the lease was over",
    LoadFailed "ledgers that could not be read",
    SaveFailed "saves that failed",
    SaveAnswerLost "saves whose answer was lost",
    AgentCrash "agent crashes",
    AgentDied "agents that never came back",
    WorkerCrash "worker crashes",
    WorkerHung "workers that hung",
    ImdsLate "notices seen late",
    // The network's.
    CutEc2 "partitions coordinator-EC2",
    CutLedger "partitions coordinator-Redis",
    CutSession "partitions agent-coordinator",
    CutWorker "partitions agent-Redis",
    RedisDown "Redis unreachable for all",
    Wiped "ledgers wiped",
    Slow "slow networks",
    SessionLost "sessions lost",
    MessageLost "messages lost",
    MessageLate "messages late",
    OldSession "messages of an old session",
    // People's.
    Hold "holds",
    OperatorDrain "drains by an operator",
    OperatorCancel "drains taken back by an operator",
    Rehearsal "rehearsals",
    Denied "wishes denied",
    Paused "queues paused",
    Limited "queues with a concurrency limit",
    Flood "floods",
    Burst "bursts",
}

/// How often each of them happened.
#[derive(Clone, Debug)]
pub struct Counts([u64; Met::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; Met::ALL.len()])
    }
}

impl Counts {
    pub fn add(&mut self, met: Met) {
        self.0[met as usize] += 1;
    }

    pub fn of(&self, met: Met) -> u64 {
        self.0[met as usize]
    }

    pub fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub fn never(&self) -> Vec<&'static str> {
        Met::ALL.iter().filter(|met| self.of(**met) == 0).map(|met| met.words()).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Met::ALL.iter().map(|met| (met.words(), self.of(*met)))
    }
}
