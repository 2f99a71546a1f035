//! Counts and times every call of EC2's API.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use metrics::{counter, histogram};
use tokio::time::Instant;

use super::classify::class_of;
use super::permitted::WOULD_SUCCEED;
use crate::telemetry::traces;

#[derive(Debug)]
pub(super) struct Counted;

/// When a call began.
#[derive(Clone, Copy, Debug)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Began(Instant::now()));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(operation) = config.load::<Metadata>().map(|it| it.name().to_owned()) else { return Ok(()) };
        let is_well = context.output_or_error().is_some_and(|it| it.is_ok());
        let class = if is_well { "ok" } else { class(context.response()) };
        let took = config.load::<Began>().map(|began| began.0.elapsed());
        counter!("spillway_cloud_requests_total", "operation" => operation.clone(), "class" => class).increment(1);
        if let Some(took) = took {
            traces::called(&operation, took, class);
            histogram!("spillway_cloud_request_duration_seconds", "operation" => operation).record(took.as_secs_f64());
        }
        Ok(())
    }
}

/// Of a call that failed: by EC2's code, as launches are classified, or that there is no answer.
fn class(response: Option<&HttpResponse>) -> &'static str {
    let Some(response) = response else { return "no_answer" };
    let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code.trim());
    match code {
        Some(WOULD_SUCCEED) => "ok",
        code => class_of(code.unwrap_or_default(), response.status().as_u16()).as_str(),
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn a_call_is_counted_by_what_to_do_about_its_error() {
        let answer = |status: u16, body: &'static str| {
            class(Some(&HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body))))
        };
        let of = "<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>";
        assert_eq!(answer(403, of), "permission");
        assert_eq!(answer(412, "<Code>DryRunOperation</Code>"), "ok");
        assert_eq!(answer(503, "no XML"), "retry");
        assert_eq!(class(None), "no_answer");
    }
}
