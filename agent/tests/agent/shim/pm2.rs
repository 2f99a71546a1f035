//! Under PM2, which loads a bun script by require() from a wrapper of its own: two processes, as the agent boots them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::shim::stage::{Stage, until};

#[test]
fn bun_in_fork_mode() {
    // (A module with a top-level await cannot be loaded so, whoever preloads what.)
    for (bullmq, script) in [("5", "worker.ts"), ("6", "worker.cjs"), ("4", "worker.js")] {
        let stage = Stage::new(bullmq);
        let home = stage.path("pm2");
        let pair = format!("PM2_HOME={}", home.display());
        let mut feeder = stage.feeder();
        let pm2 = |words: &[&str]| {
            let mut command = stage.command("pm2", "i-1");
            command.env("PM2_HOME", &home).env("QUEUES", "q").env("SCRIPT", script).args(words);
            let out = command.output().expect("pm2");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pm2(&["start", "ecosystem.config.cjs"]);
            until("two processes", || (stage.agent.shims().len() == 2).then_some(()));
            let shims = stage.agent.shims();
            let job = json!({ "name": "encode", "data": { "ms": 600_000 } });
            let ids = feeder.add("q", json!([job, job]));
            until("a job in each", || {
                shims
                    .iter()
                    .all(|shim| shim.state()["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1))
                    .then_some(())
            });
            let listed: serde_json::Value = serde_json::from_str(&pm2(&["jlist"])).expect("PM2's list alone on stdout");
            let pids: BTreeSet<u64> =
                listed.as_array().expect("a list").iter().filter_map(|app| app["pid"].as_u64()).collect();
            assert_eq!(pids, shims.iter().filter_map(|shim| shim.hello()["pid"].as_u64()).collect());
            for shim in &shims {
                assert!(shim.hello()["runtime"].as_str().is_some_and(|name| name.starts_with("bun ")));
                shim.fence();
            }
            for id in &ids {
                assert!(stage.ask::<String>(&["GET", &format!("bull:q:{id}:lock")]).starts_with("i-1:"));
            }
            for shim in &shims {
                assert_eq!(shim.hand_back()["handed_back"].as_array().map(Vec::len), Some(1));
            }
            assert_eq!(stage.ask::<u32>(&["LLEN", "bull:q:wait"]), 2);
            assert_eq!(stage.ask::<u32>(&["LLEN", "bull:q:active"]), 0);
        }));
        stage.kill_with(&pair);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    }
}
