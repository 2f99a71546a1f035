//! What is asked at one time in four places is answered with the same numbers: the page's API, `status --json`,
//! `/metrics` and gRPC.

use std::collections::BTreeMap;

use serde_json::Value;
use spillway_proto::v1;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, wait};

/// Numbers by what they are of. Where a place does not tell one, it is not there.
type Numbers = BTreeMap<String, f64>;

const PHASES: [&str; 5] = ["launching", "booting", "ready", "draining", "terminating"];
const STATES: [&str; 6] = ["waiting", "prioritized", "delayed", "active", "completed", "failed"];

/// Of JSON as the page and the command have it.
fn of_json(status: &Value) -> Numbers {
    let pool = &status["pools"][0];
    let mut numbers = Numbers::new();
    let mut tell = |what: &str, value: &Value| {
        numbers.extend(value.as_f64().map(|number| (what.to_owned(), number)));
    };
    for what in ["desired", "max_instances", "launched_total", "terminated_total", "jobs_handed_back_total"] {
        tell(what, &pool[what]);
    }
    for state in STATES {
        tell(state, &pool["backlog"][state]);
    }
    tell("demand", &pool["backlog"]["demand"]);
    tell("dollars", &pool["money"]["hour"]["dollars"]);
    numbers.insert("held".to_owned(), f64::from(u8::from(pool["held"] == true)));
    for phase in PHASES {
        let count = pool["instances"].as_array().into_iter().flatten().filter(|it| it["phase"] == phase).count();
        numbers.insert(format!("phase {phase}"), count as f64);
    }
    numbers
}

fn of_grpc(pool: &v1::Pool) -> Numbers {
    let backlog = pool.backlog.unwrap_or_default();
    let dollars = pool.money.as_ref().and_then(|money| money.hour.as_ref()?.dollars);
    let counts = [
        ("max_instances", u64::from(pool.max_instances)),
        ("launched_total", pool.launched_total),
        ("terminated_total", pool.terminated_total),
        ("jobs_handed_back_total", pool.jobs_handed_back_total),
        ("waiting", backlog.waiting),
        ("prioritized", backlog.prioritized),
        ("delayed", backlog.delayed),
        ("active", backlog.active),
        ("completed", backlog.completed),
        ("failed", backlog.failed),
        ("demand", backlog.demand),
        ("held", u64::from(pool.held)),
    ];
    let mut numbers: Numbers = counts.into_iter().map(|(what, count)| (what.to_owned(), count as f64)).collect();
    numbers.extend(pool.desired.map(|desired| ("desired".to_owned(), f64::from(desired))));
    numbers.extend(dollars.map(|dollars| ("dollars".to_owned(), dollars)));
    for phase in PHASES {
        let count = pool.instances.iter().filter(|it| it.phase == phase).count();
        numbers.insert(format!("phase {phase}"), count as f64);
    }
    numbers
}

fn of_metrics(said: &str) -> Numbers {
    let sum = |name: &str, label: &str| -> Option<f64> {
        let lines = said.lines().filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(label));
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        (!values.is_empty()).then(|| values.into_iter().sum())
    };
    let mut numbers = Numbers::new();
    let names = [
        ("desired", "spillway_instances_desired"),
        ("max_instances", "spillway_instances_max"),
        ("launched_total", "spillway_instances_launched_total"),
        ("terminated_total", "spillway_instances_terminated_total"),
        ("jobs_handed_back_total", "spillway_jobs_handed_back_total"),
        ("demand", "spillway_queue_demand"),
        ("dollars", "spillway_cost_dollars_total"),
        ("held", "spillway_hold"),
    ];
    numbers.extend(names.into_iter().filter_map(|(what, name)| Some((what.to_owned(), sum(name, "")?))));
    for state in STATES {
        let label = format!("state=\"{state}\"");
        numbers.extend(sum("spillway_queue_jobs", &label).map(|number| (state.to_owned(), number)));
    }
    for phase in PHASES {
        let label = format!("phase=\"{phase}\"");
        numbers.extend(sum("spillway_instances", &label).map(|number| (format!("phase {phase}"), number)));
    }
    numbers
}

/// In what they differ; cents of cents are nothing.
fn differences(one: &Numbers, other: &Numbers) -> Vec<String> {
    let all = one.keys().chain(other.keys().filter(|what| !one.contains_key(*what)));
    let differ = |what: &&String| match (one.get(*what), other.get(*what)) {
        (Some(a), Some(b)) => (a - b).abs() > 1e-5,
        (a, b) => a.is_some() || b.is_some(),
    };
    all.filter(differ).map(|what| format!("{what}: {:?} {:?}", one.get(what), other.get(what))).collect()
}

struct Places<'a> {
    stage: &'a Stage,
    http: reqwest::Client,
}

impl Places<'_> {
    async fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.stage.coordinator().http_port);
        self.http.get(url).send().await.expect("an answer").text().await.expect("text")
    }

    /// Asked one after the other, so that a tick may come between: again until none has.
    async fn agree(&self, when: &str) -> Numbers {
        let asked = async || {
            let page: Value = serde_json::from_str(&self.get("/api/v1/status").await).expect("JSON");
            let command = self.stage.coordinator().json(&["status"]);
            let metrics = self.get("/metrics").await;
            let grpc = self.stage.coordinator().pool().await;
            let all = [of_json(&command), of_metrics(&metrics), of_grpc(&grpc)];
            let page = of_json(&page);
            all.iter().all(|numbers| differences(&page, numbers).is_empty()).then_some(page)
        };
        let last = async || {
            let command = of_json(&self.stage.coordinator().json(&["status"]));
            let (metrics, grpc) = (self.get("/metrics").await, self.stage.coordinator().pool().await);
            format!(
                "metrics: {:?}\ngRPC: {:?}",
                differences(&command, &of_metrics(&metrics)),
                differences(&command, &of_grpc(&grpc))
            )
        };
        wait::until(&format!("all places say the same {when}"), last, asked).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_command_metrics_and_grpc_tell_the_same() {
    let stage = Stage::start(Setup::default()).await;
    let places = Places { stage: &stage, http: reqwest::Client::builder().no_proxy().build().expect("a client") };
    // The metric counts from the first time that it is asked for.
    let _ = places.get("/metrics").await;
    jobs::add(&stage.redis, 8, 4.0);
    let id = stage.until_ready(1).await.remove(0);
    let steps = |of: &Value| -> Vec<(Option<u64>, Option<u64>)> {
        let steps = of.as_array().into_iter().flatten();
        steps.map(|step| (step["jobs"].as_u64(), step["instances"].as_u64())).collect()
    };
    let shown: Value = serde_json::from_str(&places.get("/api/v1/history").await).expect("JSON");
    let told = steps(&stage.coordinator().json(&["status"])["pools"][0]["steps"]);
    assert_eq!(told, [(Some(5), Some(1)), (Some(15), Some(2))]);
    assert_eq!(told, steps(&shown["steps"]), "the policy's thresholds");
    let busy = places.agree("while an instance works").await;
    assert_eq!((busy["phase ready"], busy["desired"], busy["launched_total"]), (1.0, 1.0, 1.0), "{busy:?}");
    assert!(busy["demand"] + busy["active"] > 0.0, "{busy:?}");
    stage.coordinator().json(&["hold", "--reason", "a test"]);
    assert_eq!(places.agree("while it is held").await["held"], 1.0);
    stage.coordinator().json(&["resume"]);
    stage.coordinator().json(&["drain", &id]);
    stage.until_zero().await;
    let over = places.agree("when it is over").await;
    assert_eq!((over["terminated_total"], over["completed"]), (over["launched_total"], 8.0), "{over:?}");
    assert!(over["dollars"] > 0.0 && over["phase ready"] == 0.0, "{over:?}");
}
