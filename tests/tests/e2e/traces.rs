//! Ticks as an OpenTelemetry collector gets them, which here is the test's own.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans);
        self.0.lock().expect("a lock").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn named(&self, name: &str) -> Vec<Span> {
        self.0.lock().expect("a lock").iter().filter(|span| span.name == name).cloned().collect()
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    let attribute = span.attributes.iter().find(|it| it.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tick_is_a_trace_with_its_observation_and_the_calls_that_it_decided() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let service = TraceServiceServer::new(collector.clone());
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned())];
    let mut stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 0.5);
    stage.until_ready(1).await;
    stage.until("the launch is traced", || !collector.named("ec2 RunInstances").is_empty()).await;

    let launch = collector.named("ec2 RunInstances").remove(0);
    let is_its_tick = |tick: &&Span| tick.span_id == launch.parent_span_id && tick.trace_id == launch.trace_id;
    stage.until("its tick is", || collector.named("tick spillway").iter().any(|tick| is_its_tick(&tick))).await;
    let ticks = collector.named("tick spillway");
    let tick = ticks.iter().find(is_its_tick).expect("a tick");
    assert!(tick.parent_span_id.is_empty() && tick.end_time_unix_nano > tick.start_time_unix_nano, "{tick:?}");
    assert_eq!((number(tick, "spillway.demand"), number(tick, "spillway.desired")), (Some(6), Some(1)), "{tick:?}");
    let event = &tick.events[0];
    let words = format!("{:?}", event.attributes);
    assert!(event.name == "decided" && words.contains("launch ") && words.contains("6 jobs ready to run"), "{words}");
    let observed = collector.named("observe video-processing");
    let observed = observed.iter().find(|span| span.parent_span_id == tick.span_id).expect("its observation");
    assert_eq!(number(observed, "messaging.batch.message_count"), Some(6), "{observed:?}");
    // What asks EC2 for its list is of no tick.
    let lists = collector.named("ec2 DescribeInstances");
    assert!(!lists.is_empty() && lists.iter().all(|list| list.parent_span_id.is_empty()), "{lists:?}");

    // A collector that is gone costs nothing: it goes on, and ends in time.
    serving.abort();
    let _ = serving.await;
    stage.until_zero().await;
    let mut coordinator = stage.coordinator.take().expect("a coordinator");
    coordinator.process.signal(libc::SIGTERM);
    let status = coordinator.process.end_within(std::time::Duration::from_secs(6)).await;
    assert!(status.success(), "{status}: {}", coordinator.process.tail());
}
