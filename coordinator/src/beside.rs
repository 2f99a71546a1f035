//! What EC2's lists show of the account beside a pool's own instances: the loop of a pool finds it, and others wait for
//! it.

use std::collections::BTreeSet;

/// What the listings show of the account beside a pool's own instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Pools whose tag other instances of this installation carry.
    pub other_pools: BTreeSet<String>,
    pub account: Option<String>,
}
