//! A call to one of AWS' services beside EC2 and STS, from its signature to its answer: faults meet it as they meet
//! EC2's calls, and it is in the log of calls. What a service does, and how it writes, is said by its own module.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;

use crate::calls::Call;
use crate::clock::wall_clock_ms;
use crate::error::ApiError;
use crate::http::{Answer, Lost};
use crate::shared::Shared;
use crate::signature;

/// Whether the request's signature is for this service.
pub(crate) fn is_meant(parts: &Parts, service: &str) -> bool {
    signature::of(parts).is_some_and(|signed| signed.service() == Some(service))
}

/// A name as it goes into the log.
pub(crate) fn action_name(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// Carries out one call. Without the emulator's key it is refused, and neither logged nor counted by a fault.
pub(crate) async fn call<T>(
    shared: &Arc<Shared>,
    service: &str,
    action: String,
    (parts, body): (&Parts, &Bytes),
    effect: impl FnOnce() -> Result<T, ApiError>,
    write: impl Fn(&Result<T, ApiError>) -> Answer,
) -> Result<Answer, Lost> {
    if let Some(key) = &shared.options.key
        && let Err(error) = signature::check_for(service, key, parts, body, wall_clock_ms())
    {
        return Ok(write(&Err(error)));
    }
    let delay = shared.state().faults.take_delay(&action);
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let refusal = shared.state().faults.take_refusal(&action);
    let lost = shared.state().faults.take_loss(&action);
    let result = match refusal {
        Some(error) => Err(error),
        None => effect(),
    };
    let answer = write(&result);
    let code = result.err().map_or_else(|| "OK".to_owned(), |error| error.code);
    tracing::debug!(service, action, code, lost, "call");
    let (at_ms, status) = (shared.clock.now_ms(), answer.status().as_u16());
    shared.state().calls.record(Call { number: 0, at_ms, action, client_token: None, code, status, lost });
    if lost { Err(Lost) } else { Ok(answer) }
}
