//! `spillway acl`: Redis' users.

use std::path::Path;

use spillway_coordinator::acl;
use spillway_coordinator::config::{self, Needs};
use spillway_output::{errln, outln};

/// The commands go to standard output, for `redis-cli`; what to do with them to standard error.
pub(super) fn acl(file: Option<&Path>) -> anyhow::Result<()> {
    let settings = config::load(file, &config::process_environment(), Needs::Queues)?;
    let users = acl::users(&settings)?;
    for command in &users.commands {
        outln!("{command}");
    }
    errln!(
        "Run these as Redis' administrator: `spillway acl | redis-cli`, then ACL SAVE or CONFIG REWRITE. The passwords are new each \
         time, and shown only here. Then set\n  REDIS_URL, of the application, its workers and the coordinator, to\n    {}\n  \
         SPILLWAY_LEDGER_URL (ledger.url), of the coordinator, to\n    {}\nWhere the application keeps other keys in this Redis, \
         add their patterns to the user bullmq: ACL SETUSER bullmq ~PATTERN. Once everything has its user: ACL SETUSER default off",
        users.redis_url,
        users.ledger_url
    );
    Ok(())
}
