//! What the instances cost, by EC2's spot prices: the same wherever it is told.

use serde_json::Value;
use spillway_emulator::Refuse;
use spillway_tests::jobs;
use spillway_tests::process::text;
use spillway_tests::stage::{Setup, Stage};

use crate::refusals::metrics;

const PRICES: &str = "DescribeSpotPriceHistory";

async fn page(stage: &Stage) -> Value {
    let url = format!("http://127.0.0.1:{}/api/v1/money", stage.coordinator().http_port);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    http.get(url).send().await.expect("an answer").json().await.expect("JSON")
}

fn money(stage: &Stage) -> Value {
    stage.coordinator().json(&["status"])["pools"][0]["money"].clone()
}

fn counted(said: &str) -> f64 {
    let line = said.lines().find_map(|line| line.strip_prefix("spillway_cost_dollars_total{"));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_else(|| panic!("no cost in\n{said}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_the_same_wherever_it_is_told() {
    let stage = Stage::start(Setup::default()).await;
    assert!(counted(&metrics(&stage).await) < 1e-9, "nothing was launched yet");
    jobs::add(&stage.redis, 6, 0.5);
    let ready = stage.until_ready(1).await;
    let price = stage.until_pool("its price is known", |pool| {
        pool.instances.iter().find(|it| it.id == ready[0]).and_then(|it| it.dollars_per_hour)
    });
    let price = price.await;
    let zone = stage.instance(&ready[0]).availability_zone;
    let expected = [("a", 0.0612), ("b", 0.068), ("c", 0.0782)].into_iter().find(|(end, _)| zone.ends_with(end));
    assert!((price - expected.expect("a zone").1).abs() < 1e-9, "{price} in {zone}");
    stage.until_zero().await;

    // A life of less than a minute is billed for one: once it is over, and no step later.
    let billed = price / 60.0;
    let is_whole = |sum: &Value| sum.as_f64().is_some_and(|sum| sum >= billed * 0.999);
    stage.until_async("it is billed", async || is_whole(&money(&stage)["hour"]["dollars"])).await;
    let (told, shown, flood) =
        (money(&stage), page(&stage).await, &stage.coordinator().json(&["history"])["floods"][0]);
    assert_eq!(told["why_unknown"], Value::Null, "{told}");
    for (period, whole) in [("hour", "hour"), ("day", "day"), ("month", "month")] {
        assert_eq!(told[period]["dollars"], shown[whole]["spot"], "{told}\n{shown}");
        assert_eq!(told[period]["dollars"], told["hour"]["dollars"], "all of it was within the hour");
    }
    let spent = told["hour"]["dollars"].as_f64().expect("dollars");
    assert!(told["hour"]["on_demand"].as_f64().is_some_and(|sum| sum > spent), "{told}");
    assert!(told["per_1000_jobs"].as_f64().is_some_and(|sum| (sum - spent * 1000.0 / 6.0).abs() < 1e-6), "{told}");
    assert!(flood["dollars"].as_f64().is_some_and(|sum| sum > 0.0 && sum <= spent + 1e-9), "{flood}");
    let story = text(&stage.coordinator().command(&["history"]).stdout);
    assert!(story.contains("  cost      $0.00"), "{story}");
    let counter = counted(&metrics(&stage).await);
    assert!((counter - spent).abs() < 1e-5, "{counter}, not {spent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_as_unknown_with_its_remedy() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    let refused =
        || Refuse { action: PRICES.to_owned(), code: "UnauthorizedOperation".to_owned(), calls: 1000, message: None };
    stage.emulator().refuse(refused()).expect("a fault");
    let mut stage = stage;
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 6, 0.5);
    stage.until_ready(1).await;
    stage.until("it was asked", || !stage.calls(PRICES).is_empty()).await;
    let is_told = |told: &Value| told["why_unknown"].is_string() && told["hour"]["dollars"].is_null();
    stage.until("it is told, and no sum", || is_told(&money(&stage))).await;
    let told = money(&stage);
    let why = told["why_unknown"].as_str().expect("words");
    assert!(why.contains("UnauthorizedOperation") && why.contains("ec2:DescribeSpotPriceHistory"), "{why}");
    assert_eq!(page(&stage).await["known"], false);
    assert!(counted(&metrics(&stage).await) < 1e-9);
    stage.until_zero().await;
    assert!(stage.calls(PRICES).len() < 3, "it is not asked again and again");
}
