//! The dashboard as the coordinator serves it: who may look and who may act, and the same numbers as everywhere else.
//! What the page makes of them is `tests/browser`'s.

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, ETAG, HOST, IF_NONE_MATCH, ORIGIN};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, wait};

/// What a browser sends.
const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

struct Page<'a> {
    stage: &'a Stage,
    http: Client,
}

impl<'a> Page<'a> {
    fn of(stage: &'a Stage) -> Self {
        Page { stage, http: Client::builder().no_proxy().build().expect("a client") }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.stage.coordinator().http_port)
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.expect("an answer")
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.expect("JSON")
    }

    fn act(&self, action: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(&format!("/api/v1/actions/{action}"))).header("x-spillway", "1").json(body)
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.unwrap_or_default())
}

fn idle_for_long() -> Setup {
    Setup { environment: vec![("SPILLWAY_POOL_POLICY_IDLE", "1h".to_owned())], ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_get_the_page_terminals_get_text_and_other_sites_nothing() {
    let stage = Stage::start(Setup::default()).await;
    let page = Page::of(&stage);
    let html = page.http.get(page.url("/")).header(ACCEPT, HTML).header(ACCEPT_ENCODING, "gzip");
    let html = html.send().await.expect("an answer");
    assert_eq!(
        (&html.headers()["content-type"], &html.headers()["content-encoding"]),
        (&"text/html; charset=utf-8".parse().expect("a value"), &"gzip".parse().expect("a value"))
    );
    let policy = html.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let tag = html.headers()[ETAG].clone();
    let again = page.http.get(page.url("/")).header(ACCEPT, HTML).header(IF_NONE_MATCH, tag).send().await;
    assert_eq!(again.expect("an answer").status(), StatusCode::NOT_MODIFIED);
    let text = page.get("/").await.text().await.expect("text");
    assert!(!text.contains('<') && text.contains("queue"), "{text}");
    // Every file that the page names is there.
    let html = page.http.get(page.url("/")).header(ACCEPT, HTML).send().await.expect("an answer");
    let html = html.text().await.expect("text");
    let named: Vec<&str> = html.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!named.is_empty(), "{html}");
    for name in named {
        assert_eq!(page.get(&format!("/assets/{name}")).await.status(), StatusCode::OK, "{name}");
    }
    let runbook = page.get("/runbook").await.text().await.expect("text");
    assert!(runbook.contains("id=\"when-it-does-not-scale\""));

    for (name, value) in [(HOST, "evil.example"), (ORIGIN, "https://evil.example")] {
        for path in ["/", "/api/v1/status", "/api/v1/history"] {
            let refused = page.http.get(page.url(path)).header(name.clone(), value).send().await.expect("an answer");
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{name} {path}");
        }
        let (status, _) = answer(page.act("hold", &json!({})).header(name, value)).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    let without_header = page.http.post(page.url("/api/v1/actions/hold")).json(&json!({}));
    assert_eq!(answer(without_header).await.0, StatusCode::FORBIDDEN);
    assert_eq!(stage.coordinator().status()["held"], false, "nothing of it was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_are_those_of_status_and_buttons_do_what_commands_do() {
    let stage = Stage::start(idle_for_long()).await;
    let page = Page::of(&stage);
    jobs::add(&stage.redis, 6, 0.5);
    let id = stage.until_ready(1).await.remove(0);
    let finished = async || {
        let history = page.json("/api/v1/history?buckets=60").await;
        history["finished"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum::<u64>()
    };
    stage.until_async("all jobs are seen to be done", async || finished().await == 6).await;

    // Of the same tick, by whichever way.
    let same = async || {
        let (by_command, by_page) = (stage.coordinator().status(), page.json("/api/v1/status").await);
        let of = |pool: &Value| {
            let phases: Vec<Value> =
                pool["instances"].as_array().into_iter().flatten().map(|it| json!([it["id"], it["phase"]])).collect();
            json!([
                pool["desired"],
                pool["backlog"]["demand"],
                pool["backlog"]["completed"],
                phases,
                pool["launched_total"]
            ])
        };
        (of(&by_command) == of(&by_page["pools"][0])).then_some(by_page)
    };
    let shown = wait::until("page and command say the same", async || stage.diagnosis().await, same).await;
    let metrics = page.get("/metrics").await.text().await.expect("text");
    let ready = metrics
        .lines()
        .find(|line| line.starts_with("spillway_instances{") && line.contains("\"ready\",capacity_type=\"spot\""));
    assert!(ready.is_some_and(|line| line.ends_with(" 1")), "{metrics}");

    let history = page.json("/api/v1/history?buckets=60").await;
    let launch = &history["decisions"][0];
    assert_eq!((&launch["kind"], &launch["instance"]), (&json!("launch"), &json!(id)), "{history}");
    assert!(stage.coordinator().explained(launch["reason"].as_str().expect("a sentence")));
    let sum =
        |column: &str| -> u64 { history[column].as_array().expect("a column").iter().filter_map(Value::as_u64).sum() };
    let most = |column: &str| history[column].as_array().expect("a column").iter().filter_map(Value::as_u64).max();
    assert_eq!((sum("arrived"), most("ready"), most("desired")), (6, Some(1), Some(1)), "{history}");
    assert!(sum("finished") == 6 && most("backlog") >= Some(5), "{history}");
    let lane = &history["lanes"][0];
    let phases: Vec<&str> =
        lane["phases"].as_array().expect("phases").iter().filter_map(|it| it["phase"].as_str()).collect();
    assert_eq!((&lane["instance"], &phases[..]), (&json!(id), &["launching", "booting", "ready"][..]), "{lane}");
    let steps: Vec<&str> =
        lane["steps"].as_array().expect("steps").iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(steps, ["pull", "install", "start", "save"], "{lane}");
    assert_eq!(lane["instance_type"], shown["pools"][0]["instances"][0]["instance_type"]);
    let at = launch["at"].as_u64().expect("a time");
    let plans = page.json(&format!("/api/v1/plans?at={at}&limit=1")).await;
    assert_eq!(plans["plans"][0]["decisions"][0]["kind"], "launch", "{plans}");

    let session = page.json("/api/v1/session").await;
    assert_eq!((&session["may_act"], &session["pools"][0]), (&json!(true), &shown["pools"][0]["name"]));
    for (action, body, expected) in [
        ("drain", json!({ "instance": "i-0" }), StatusCode::NOT_FOUND),
        ("drain", json!({ "instance": id, "typo": 1 }), StatusCode::BAD_REQUEST),
        ("rehearse", json!({ "instance": id, "notice": 0 }), StatusCode::BAD_REQUEST),
        ("terminate", json!({ "instance": id }), StatusCode::NOT_FOUND),
        ("cancel-drain", json!({ "instance": id }), StatusCode::CONFLICT),
        ("drain", json!({ "instance": id, "reason": "a test" }), StatusCode::OK),
    ] {
        let (status, said) = answer(page.act(action, &body)).await;
        assert_eq!(status, expected, "{action} {body}: {said}");
        let says = if status.is_success() { "message" } else { "error" };
        assert!(status == StatusCode::BAD_REQUEST && action == "drain" || said[says].is_string(), "{said}");
    }
    stage
        .until("it is drained for that", || stage.coordinator().explained("a test, by root (uid 0), by the page"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_says_what_changes_and_where_operators_have_tokens_the_page_only_shows() {
    let state = tempfile::tempdir().expect("a directory");
    let environment = vec![
        ("SPILLWAY_GRPC_OPERATORS", "token".to_owned()),
        ("SPILLWAY_STATE_DIRECTORY", state.path().display().to_string()),
    ];
    let mut stage = Stage::without_coordinator(Setup { environment, ..Setup::default() }).await;
    stage.start_coordinator().await;
    let page = Page::of(&stage);
    let session = page.json("/api/v1/session").await;
    assert!(
        session["may_act"] == false && session["why_not"].as_str().is_some_and(|why| why.contains("grpc.operators"))
    );
    let (status, said) = answer(page.act("hold", &json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{said}");

    let mut stream = page.get("/api/v1/stream").await;
    let mut heard = String::new();
    let mut until = async |what: &str| {
        while !heard.contains(what) {
            let chunk = tokio::time::timeout(wait::TIMEOUT, stream.chunk()).await.expect("in time");
            heard += &String::from_utf8_lossy(&chunk.expect("a stream").expect("more of it"));
        }
    };
    until("event: status\ndata: {").await;
    jobs::add(&stage.redis, 3, 5.0);
    until("\"demand\":3").await;
}
