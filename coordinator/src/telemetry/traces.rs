//! Traces of ticks for an OpenTelemetry collector, over OTLP and gRPC: off unless the standard's own variables name one
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`). Spans wait in a bounded queue of their own;
//! where the collector does not take them they are dropped, and nothing waits.
//!
//! ```text
//!   tick POOL           demand, desired capacity, decisions
//!   ├─ observe QUEUES   as of messaging: receive
//!   └─ ec2 RunInstances
//!   ec2 DescribeInstances   of no tick
//! ```

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use spillway_brain::Planned;

use crate::clock;

/// Decisions that a span has.
const DECISIONS: usize = 20;
/// For what is left at the end.
const FLUSHED_WITHIN: Duration = Duration::from_millis(500);
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// What sends spans, until the end of the program.
#[derive(Debug)]
pub struct Exporting(SdkTracerProvider);

/// None: nobody asked for traces.
///
/// # Errors
/// The collector's address cannot be used.
pub fn begin() -> anyhow::Result<Option<Exporting>> {
    let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let Some(variable) = ENDPOINTS.iter().find(|name| set(name)) else { return Ok(None) };
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        anyhow::ensure!(
            !set(&name) || is(name, "grpc"),
            "{name}: traces are sent over gRPC alone: write grpc, and name the collector's gRPC port, usually 4317"
        );
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build();
    let exporter = exporter.with_context(|| format!("{variable}: write http://HOST:4317, a collector's gRPC port"))?;
    let version = KeyValue::new("service.version", crate::VERSION);
    let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let has_name = set(&"OTEL_SERVICE_NAME") || attributes.split(',').any(|it| it.trim().starts_with("service.name="));
    let resource = Resource::builder().with_attribute(version);
    let resource = if has_name { resource } else { resource.with_service_name("spillway") }.build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let _ = TRACER.set(provider.tracer("spillway"));
    tracing::info!(variable, "ticks are traced");
    Ok(Some(Exporting(provider)))
}

impl Exporting {
    /// Sends what is left.
    pub async fn end(self) {
        // It blocks its thread, and the exporter needs this one.
        let flushed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSHED_WITHIN));
        let _ = tokio::time::timeout(FLUSHED_WITHIN * 2, flushed).await;
    }
}

/// An observation: of what, when it ended, how long it took; the jobs ready to run, where it succeeded.
#[derive(Clone, Debug)]
struct Observed {
    queues: String,
    ended: SystemTime,
    took: Duration,
    demand: Option<u64>,
}

/// The trace of one pool's tick; nothing where no traces are sent.
#[derive(Debug, Default)]
pub struct Ticks {
    observed: Option<Observed>,
    /// The span that is under way.
    tick: Option<Context>,
    /// Each with its reason.
    decisions: Vec<(String, String)>,
}

impl Ticks {
    pub fn observed(&mut self, queues: &[String], took: Duration, demand: Option<u64>) {
        if TRACER.get().is_some() {
            let (queues, ended) = (queues.join(", "), clock::system_now());
            self.observed = Some(Observed { queues, ended, took, demand });
        }
    }

    pub fn decided(&mut self, planned: &Planned) {
        if TRACER.get().is_some() && self.decisions.len() < DECISIONS {
            let (kind, subject) = (planned.decision.kind(), planned.decision.subject());
            self.decisions.push((format!("{kind} {subject}"), planned.reason.to_string()));
        }
    }

    /// What a call is part of that carries out a decision of this tick.
    pub fn context(&mut self, pool: &str) -> Context {
        let Some(tracer) = TRACER.get() else { return Context::new() };
        let tick = self.tick.get_or_insert_with(|| {
            let began = self.observed.as_ref().and_then(|it| it.ended.checked_sub(it.took));
            let span = tracer.span_builder(format!("tick {pool}")).with_kind(SpanKind::Internal);
            let span = span.with_start_time(began.unwrap_or_else(clock::system_now));
            let tick = Context::new().with_span(span.start_with_context(tracer, &Context::new()));
            if let Some(observed) = &self.observed {
                observed.tell(tracer, &tick);
            }
            tick
        });
        tick.clone()
    }

    /// The tick is over: what came of it.
    pub fn ticked(&mut self, pool: &str, desired: Option<u32>) {
        if TRACER.get().is_none() {
            return;
        }
        let tick = self.context(pool);
        let span = tick.span();
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("spillway.pool", pool.to_owned()));
        if let Some(demand) = self.observed.as_ref().and_then(|it| it.demand) {
            span.set_attribute(KeyValue::new("spillway.demand", count(demand)));
        }
        if let Some(desired) = desired {
            span.set_attribute(KeyValue::new("spillway.desired", i64::from(desired)));
        }
        for (decision, reason) in self.decisions.drain(..) {
            let decision = KeyValue::new("spillway.decision", decision);
            span.add_event("decided", vec![decision, KeyValue::new("spillway.reason", reason)]);
        }
        span.end();
        (self.tick, self.observed) = (None, None);
    }
}

impl Observed {
    fn tell(&self, tracer: &SdkTracer, tick: &Context) {
        let began = self.ended.checked_sub(self.took).unwrap_or(self.ended);
        let span = tracer.span_builder(format!("observe {}", self.queues)).with_kind(SpanKind::Client);
        let mut span = span.with_start_time(began).start_with_context(tracer, tick);
        span.set_attribute(KeyValue::new("messaging.system", "bullmq"));
        span.set_attribute(KeyValue::new("messaging.destination.name", self.queues.clone()));
        span.set_attribute(KeyValue::new("messaging.operation.type", "receive"));
        match self.demand {
            Some(demand) => {
                let count = i64::try_from(demand).unwrap_or(i64::MAX);
                span.set_attribute(KeyValue::new("messaging.batch.message_count", count));
            }
            None => span.set_status(Status::error("the queues cannot be read")),
        }
        span.end_with_timestamp(self.ended);
    }
}

/// A call of AWS that has ended; part of the tick whose decision it carries out.
pub(crate) fn called(operation: &str, took: Duration, class: &'static str) {
    let Some(tracer) = TRACER.get() else { return };
    let ended = clock::system_now();
    let began = ended.checked_sub(took).unwrap_or(ended);
    let span = tracer.span_builder(format!("ec2 {operation}")).with_kind(SpanKind::Client).with_start_time(began);
    let mut span = span.start_with_context(tracer, &Context::current());
    span.set_attribute(KeyValue::new("cloud.provider", "aws"));
    span.set_attribute(KeyValue::new("rpc.method", operation.to_owned()));
    span.set_attribute(KeyValue::new("spillway.class", class));
    if class != "ok" {
        span.set_status(Status::error(class));
    }
    span.end_with_timestamp(ended);
}
