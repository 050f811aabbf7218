//! What travels when a webhook is tested.
//!
//! As everywhere in the protocol, secrets travel inwards only; of what the receiver answered there
//! is a code and no more.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::RequestView;

/// What to test a webhook with. Everything may be left out.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewTest {
    /// The event type; else the first that the webhook wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The payload, any JSON value, sent byte for byte; else an example of the type.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(test, schema(value_type = Option<Value>))]
    pub payload: Option<Box<RawValue>>,
    /// Fields of the webhook that are not saved, in the form in which they would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Value>,
}

/// Tells a `null` that is there, which is a payload, from a field that is not.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// What came of a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TestView {
    /// The receiver answered 2xx in time.
    pub delivered: bool,
    /// The status code; 0 when there was no response.
    pub code: u16,
    /// `0`, `2xx`, …
    pub class: String,
    /// Why there was no response.
    pub error: Option<String>,
    /// Until the status line, or until the failure.
    pub duration_ms: f64,
    /// Name of the event type it was sent as.
    pub event_type: String,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// `url`, `dns`, `connect`, `tls`, `oauth`, `signature`, `request` and `response`, in order.
    pub steps: Vec<StepView>,
    /// The request, secrets masked; `null` when there could be none.
    pub request: Option<RequestView>,
}

/// One step of a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// `ok`, `failed`, `skipped` (nothing to do in it) or `not_tried` (a step before it failed).
    pub state: String,
    /// How long it took, when that was measured.
    pub duration_ms: Option<f64>,
    /// What was found, in a line.
    pub detail: String,
    /// What most likely lies behind a failure, in a line.
    pub cause: Option<String>,
}
