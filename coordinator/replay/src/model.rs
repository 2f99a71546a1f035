//! What a replay takes for given: the machines, as far as policies differ in them.

/// The workers, and what instances are like. Spans are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Jobs that the primary runs at a time.
    pub primary_slots: u32,
    /// Jobs that an instance runs at a time.
    pub slots: u32,
    /// The cap of every policy.
    pub max_instances: u32,
    /// The shortest boot.
    pub boot: u64,
    /// The longest one; each span in between is as likely.
    pub boot_max: u64,
    /// What boots and interruptions are drawn from.
    pub seed: u64,
    /// How long EC2 lets an instance live on average, where it takes any.
    pub interrupted_every: Option<u64>,
    /// The wait that jobs are counted against.
    pub target: u64,
}

/// EC2 bills a minute at least.
pub(crate) const LEAST_BILLED: u64 = 60_000;
/// From an interruption notice to the end.
pub(crate) const NOTICE: u64 = 120_000;
/// What runs is handed back so long before that end.
pub(crate) const HANDED_BACK_BEFORE: u64 = 5_000;
/// BullMQ puts a job whose worker was killed back to wait after its lock (30 s) and the stall check (each 30 s).
pub(crate) const STALLED_AFTER: u64 = 60_000;
