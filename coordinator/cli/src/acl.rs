//! `spillway acl`: Redis' users.

use std::path::Path;

use spillway_coordinator::acl::{self, NoSelectors, Users};
use spillway_coordinator::config::{self, Needs};
use spillway_output::{errln, outln};

/// The commands go to standard output, for `redis-cli`; what to do with them to standard error.
pub(super) async fn acl(file: Option<&Path>) -> anyhow::Result<()> {
    let settings = config::load(file, &config::process_environment(), Needs::Queues)?;
    let version = acl::redis_version(&settings).await;
    let users = acl::users(&settings, version.as_deref())?;
    for command in &users.commands {
        outln!("{command}");
    }
    if version.is_none() {
        errln!(
            "Redis did not tell its version: these are for Redis 7 or newer, and 6.2 refuses spillway and spillway-agent."
        );
    }
    errln!(
        "Run these as Redis' administrator: `spillway acl | redis-cli`, then ACL SAVE or CONFIG REWRITE. The passwords are new each \
         time, and shown only here. Then set"
    );
    say_urls(&users);
    errln!(
        "Where the application keeps other keys in this Redis, add their patterns to the user bullmq: ACL SETUSER bullmq ~PATTERN. \
         Once everything has its user: ACL SETUSER default off"
    );
    Ok(())
}

fn say_urls(users: &Users) {
    let Users { bullmq_url, look, ledger_url, .. } = users;
    match look {
        Ok(urls) => errln!(
            "  REDIS_URL, of the application and its workers, to\n    {bullmq_url}\n  REDIS_URL (redis.url), of the coordinator, to\n    \
             {}\n  SPILLWAY_LEDGER_URL (ledger.url), of the coordinator, to\n    {ledger_url}\nand write into the image's \
             /etc/spillway/redis-url (redis_url_file of agent.toml)\n    {}\n\
             The users spillway and spillway-agent can look at the queues and hand jobs back, no more. Whoever is root on an \
             instance can still read the application's REDIS_URL, and do all that it may do.",
            urls.coordinator,
            urls.agent
        ),
        Err(why) => errln!(
            "  REDIS_URL, of the application, its workers and the coordinator, to\n    {bullmq_url}\n  \
             SPILLWAY_LEDGER_URL (ledger.url), of the coordinator, to\n    {ledger_url}\n\
             There are no users of their own for the coordinator and the agents: {why}. {}",
            what_remains(why)
        ),
    }
}

/// What is still open without users of their own.
fn what_remains(why: &NoSelectors) -> &'static str {
    match why {
        NoSelectors::OldRedis(_) => {
            "They use the application's user, which may add, change and delete any job: whoever takes over an agent or the \
             coordinator can do that too, and nothing to the ledger by this user. It ends with Redis 7: then run this again."
        }
        NoSelectors::Prefix => {
            "They use the application's user, which may add, change and delete any job: whoever takes over an agent or the \
             coordinator can do that too, and nothing to the ledger by this user."
        }
    }
}
