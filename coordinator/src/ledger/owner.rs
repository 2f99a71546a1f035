//! Whose a pool's ledger is: the installation, the account and region, and the queues that it was made for. Read and
//! claimed before anything is led; a ledger that was made for something else is refused, since its instances work for
//! somebody else.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Script, pipe};
use serde::{Deserialize, Serialize};

use super::LedgerProblem;
use crate::redis_client::Redis;

/// Adds a name to a list of lines, unless it is there.
const LIST_POOL: &str = r"
    local names = redis.call('GET', KEYS[1]) or ''
    if not string.find('\n' .. names .. '\n', '\n' .. ARGV[1] .. '\n', 1, true) then
      redis.call('SET', KEYS[1], names == '' and ARGV[1] or names .. '\n' .. ARGV[1])
    end";

/// What a pool's ledger was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Owner {
    pub installation: String,
    /// EC2's account, once an answer of EC2's has told it.
    pub account: Option<String>,
    pub region: Option<String>,
    /// BullMQ's Redis, host and port.
    pub redis: String,
    /// BullMQ's key prefix.
    pub prefix: String,
    pub queues: Vec<String>,
    /// Which coordinator ran the pool last: [`crate::installation::home`].
    pub home: String,
}

impl Owner {
    fn full_names(&self) -> BTreeSet<String> {
        self.queues.iter().map(|queue| format!("{}:{queue}", self.prefix)).collect()
    }

    fn shares_a_queue_with(&self, other: &Owner) -> Option<String> {
        let theirs = other.full_names();
        self.full_names().into_iter().find(|queue| theirs.contains(queue))
    }
}

/// Why a pool is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    /// Only while another holds a lease: that may be one of a process that has just ended.
    pub while_led: bool,
}

/// One pool as the ledger has it.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    pub owner: Option<Owner>,
    /// Who leads it now.
    pub led_by: Option<String>,
    /// It once launched an instance.
    pub has_launched: bool,
}

/// All pools of a ledger, and the installation that it was made by.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    pub installation: Option<String>,
    pub pools: BTreeMap<String, Claimed>,
}

/// The part of a saved state that matters here.
#[derive(Deserialize)]
struct Saved {
    state: Launched,
}

#[derive(Deserialize)]
struct Launched {
    launched_total: u64,
}

impl Owners {
    /// Reads the pools that the ledger names, and `also`.
    pub async fn read(redis: &mut Redis, prefix: &str, also: &[String]) -> Result<Self, LedgerProblem> {
        let mut pipeline = pipe();
        pipeline.cmd("GET").arg(format!("{prefix}installation")).cmd("GET").arg(format!("{prefix}pools"));
        let (installation, names): (Option<String>, Option<String>) = redis.query(&pipeline).await?;
        let names = names.unwrap_or_default();
        let names: BTreeSet<String> =
            names.lines().filter(|name| !name.is_empty()).map(str::to_owned).chain(also.iter().cloned()).collect();
        let mut pipeline = pipe();
        for name in &names {
            for part in ["owner", "leader", "state"] {
                pipeline.cmd("GET").arg(format!("{prefix}pool:{name}:{part}"));
            }
        }
        let values: Vec<Option<String>> = redis.query(&pipeline).await?;
        let mut pools = BTreeMap::new();
        for (name, values) in names.into_iter().zip(values.chunks(3)) {
            let key = format!("{prefix}pool:{name}:owner");
            let parse = |text: &String| {
                serde_json::from_str(text).map_err(|source| LedgerProblem::Unreadable { key: key.clone(), source })
            };
            let owner = values[0].as_ref().map(parse).transpose()?;
            let saved = values[2].as_ref().and_then(|text| serde_json::from_str::<Saved>(text).ok());
            let has_launched = saved.is_some_and(|saved| saved.state.launched_total > 0);
            pools.insert(name, Claimed { owner, led_by: values[1].clone(), has_launched });
        }
        Ok(Owners { installation, pools })
    }

    /// The installation by the ledger's word: what its pools were made by, or else what the ledger says for all of
    /// them.
    pub fn says(&self, names: &[String]) -> Option<String> {
        let of_pools = names.iter().filter_map(|name| self.pools.get(name)?.owner.as_ref());
        of_pools.map(|owner| owner.installation.clone()).next().or_else(|| self.installation.clone())
    }

    /// Why a pool of this name and owner must not be run on this ledger.
    pub fn refusal(&self, name: &str, ours: &Owner) -> Option<Refusal> {
        let always = |why| Some(Refusal { why, while_led: false });
        let claimed = self.pools.get(name).cloned().unwrap_or_default();
        if let Some(owner) = &claimed.owner {
            let another = "Give this pool another pool.name, or this installation a ledger of its own (ledger.prefix)";
            if owner.installation != ours.installation {
                return always(format!(
                    "the ledger of pool \"{name}\" belongs to installation {}, and this one is {}. {another}",
                    owner.installation, ours.installation
                ));
            }
            for (what, theirs, ours) in
                [("account", &owner.account, &ours.account), ("region", &owner.region, &ours.region)]
            {
                if let (Some(theirs), Some(ours)) = (theirs, ours)
                    && theirs != ours
                    && claimed.has_launched
                {
                    return always(format!(
                        "the ledger of pool \"{name}\" has instances of {what} {theirs}, and this coordinator works in \
                         {what} {ours}. {another}"
                    ));
                }
            }
            let is_in_use = claimed.led_by.is_some() || claimed.has_launched;
            if is_in_use && owner.shares_a_queue_with(ours).is_none() {
                let why = format!(
                    "the ledger of pool \"{name}\" belongs to other queues: {} (ours: {}). {another}. If the queues were \
                     renamed and no instance of the old ones runs, delete the key pool:{name}:owner of the ledger",
                    list(owner),
                    list(ours)
                );
                return Some(Refusal { why, while_led: !claimed.has_launched });
            }
        }
        self.queue_of_another(name, ours).map(|why| Refusal { why, while_led: true })
    }

    /// A queue that another pool works, which somebody leads now: both would launch for the same jobs.
    fn queue_of_another(&self, name: &str, ours: &Owner) -> Option<String> {
        let led = self.pools.iter().filter(|(other, claimed)| *other != name && claimed.led_by.is_some());
        led.filter_map(|(other, claimed)| Some((other, claimed.owner.as_ref()?, claimed.led_by.as_ref()?)))
            .filter(|(_, owner, led_by)| owner.redis == ours.redis && !led_by.starts_with(super::RETIRES))
            .find_map(|(other, owner, _)| {
                let queue = owner.shares_a_queue_with(ours)?;
                Some(format!(
                    "queue {queue} of pool \"{name}\" is worked by pool \"{other}\" already, which another coordinator leads: \
                     both would launch instances for the same jobs. Name the queue in one pool only, or stop that \
                     coordinator first"
                ))
            })
    }
}

fn list(owner: &Owner) -> String {
    owner.full_names().into_iter().collect::<Vec<_>>().join(", ")
}

/// Writes whose the pool is.
pub async fn claim(redis: &mut Redis, prefix: &str, name: &str, owner: &Owner) -> Result<(), LedgerProblem> {
    let key = format!("{prefix}pool:{name}:owner");
    let text = serde_json::to_string(owner).map_err(|source| LedgerProblem::Unreadable { key: key.clone(), source })?;
    let mut pipeline = pipe();
    pipeline.cmd("SET").arg(key).arg(text).ignore();
    let () = redis.query(&pipeline).await?;
    let script = Script::new(LIST_POOL);
    let mut invocation = script.prepare_invoke();
    invocation.key(format!("{prefix}pools")).arg(name);
    let _: Option<String> = redis.invoke(&invocation).await?;
    Ok(())
}

/// Keeps the installation in the ledger unless one is there already; the one that is.
pub async fn keep_installation(redis: &mut Redis, prefix: &str, installation: &str) -> Result<String, LedgerProblem> {
    let key = format!("{prefix}installation");
    let mut pipeline = pipe();
    pipeline.cmd("SET").arg(&key).arg(installation).arg("NX").ignore().cmd("GET").arg(&key);
    let (kept,): (String,) = redis.query(&pipeline).await?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(installation: &str, queues: &[&str]) -> Owner {
        let text = |text: &str| text.to_owned();
        Owner {
            installation: text(installation),
            account: Some(text("1")),
            region: Some(text("r")),
            redis: text("h:1"),
            prefix: text("bull"),
            queues: queues.iter().copied().map(text).collect(),
            home: text("here"),
        }
    }

    fn with(name: &str, owner: Owner, led_by: Option<&str>, has_launched: bool) -> Owners {
        let claimed = Claimed { owner: Some(owner), led_by: led_by.map(str::to_owned), has_launched };
        Owners { installation: None, pools: BTreeMap::from([(name.to_owned(), claimed)]) }
    }

    #[test]
    fn a_ledger_of_other_queues_of_another_installation_or_account_is_refused_with_the_remedy() {
        let ours = owner("one", &["q"]);
        let refusal = |owners: &Owners| owners.refusal("p", &ours).map(|it| it.why).unwrap_or_default();
        assert_eq!(Owners::default().refusal("p", &ours), None, "nobody's yet");
        assert_eq!(with("p", owner("one", &["q", "r"]), Some("x"), true).refusal("p", &ours), None, "a queue more");
        let said = refusal(&with("p", owner("two", &["q"]), None, false));
        assert!(said.contains("belongs to installation two, and this one is one. Give this pool another"), "{said}");
        for (led_by, has_launched) in [(Some("x"), false), (None, true)] {
            let said = refusal(&with("p", owner("one", &["r"]), led_by, has_launched));
            assert!(said.contains("belongs to other queues: bull:r (ours: bull:q). Give this pool another"), "{said}");
        }
        let typo = with("p", owner("one", &["r"]), None, false);
        assert_eq!(typo.refusal("p", &ours), None, "a mistyped queue that nothing was ever launched for");
        let prefix = Owner { prefix: "other".to_owned(), ..owner("one", &["q"]) };
        assert!(refusal(&with("p", prefix, Some("x"), false)).contains("other:q (ours: bull:q)"));
        let elsewhere = Owner { account: Some("2".to_owned()), ..owner("one", &["q"]) };
        let said = refusal(&with("p", elsewhere.clone(), None, true));
        assert!(said.contains("has instances of account 2, and this coordinator works in account 1"), "{said}");
        assert_eq!(with("p", elsewhere, None, false).refusal("p", &ours), None, "it never launched one there");
        let unknown = Owner { account: None, ..owner("one", &["q"]) };
        assert_eq!(with("p", unknown, None, true).refusal("p", &ours), None, "EC2 has not told the account yet");
    }

    #[test]
    fn a_queue_that_another_led_pool_works_is_refused_and_one_of_a_pool_that_nobody_leads_is_not() {
        let ours = owner("one", &["q", "s"]);
        let said = with("other", owner("one", &["s"]), Some("x"), true).refusal("p", &ours).expect("refused").why;
        assert!(said.contains("queue bull:s of pool \"p\" is worked by pool \"other\" already"), "{said}");
        assert_eq!(with("other", owner("one", &["s"]), None, true).refusal("p", &ours), None, "it was renamed");
        assert_eq!(with("other", owner("one", &["s"]), Some("retires-x"), true).refusal("p", &ours), None);
        let elsewhere = Owner { redis: "h:2".to_owned(), ..owner("one", &["s"]) };
        assert_eq!(with("other", elsewhere, Some("x"), true).refusal("p", &ours), None, "a queue of another Redis");
    }
}
