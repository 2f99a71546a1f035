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
    match users.agent_url {
        Some(url) => errln!(
            "The agents' user can look at the queues and hand jobs back, no more. Redis 7 or newer: 6.2 refuses it, and agents use \
             the application's user there. Write into the image's /etc/spillway/redis-url (redis_url_file of agent.toml)\n    {url}\n\
             Whoever is root on an instance can still read the application's REDIS_URL, and do all that it may do"
        ),
        None => errln!(
            "There is no user for the agents: a queue prefix has a blank, a quote or a character of a pattern, which Redis' \
             selectors cannot say. Agents use the application's user"
        ),
    }
    Ok(())
}
