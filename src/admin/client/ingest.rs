//! Posting one event to the ingest port, as an application would.
//!
//! It does not read tokens from files, guess the port, or post again.
//!
//! Invariant: success is only what the daemon says it made durable (202).

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::{body, problem};
use crate::admin::protocol::Problem;
use crate::domain::secret::Secret;

/// The daemon answers within one group commit; the rest is for a disk that is slow today.
const POST_MAX: Duration = Duration::from_secs(30);

/// An event to be posted.
#[derive(Debug)]
pub struct NewEvent {
    /// Scheme, host and port of the ingest port.
    pub base: Url,
    /// Name, label or wire name of its type.
    pub event_type: String,
    /// The ingest token.
    pub token: Option<Secret>,
    /// Makes posting again harmless.
    pub idempotency_key: Option<String>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What the daemon says about an event it made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// `evt_…`
    pub id: String,
    /// Name of its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// How many deliveries it has.
    pub deliveries: u64,
    /// It was posted before with the same key.
    pub duplicate: bool,
}

/// Why an event was not accepted, as far as can be known.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No answer: it may or may not have been accepted.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// Where to.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The daemon refused it.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// Something answered that does not speak as the daemon does, or the request cannot be made.
    #[error("{0}")]
    Protocol(String),
}

/// Posts one event.
///
/// # Errors
///
/// [`PostError`]; whatever it is, posting again with the same key is safe.
pub async fn post(event: NewEvent) -> Result<Accepted, PostError> {
    let mut url = event.base;
    let fault = |text: &str| PostError::Protocol(text.to_owned());
    url.path_segments_mut().map_err(|()| fault("the URL of the ingest port has no path"))?.pop_if_empty().extend([
        "v1",
        "events",
        &event.event_type,
    ]);
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .timeout(POST_MAX)
        .build()
        .map_err(|error| PostError::Protocol(error.to_string()))?;
    let mut request = http.post(url.clone()).header(CONTENT_TYPE, "application/json").body(event.payload);
    if let Some(token) = &event.token {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| fault("the token holds characters that no token has"))?;
        bearer.set_sensitive(true);
        request = request.header(AUTHORIZATION, bearer);
    }
    if let Some(key) = &event.idempotency_key {
        let key = HeaderValue::from_str(key).map_err(|_| fault("the key cannot be sent as a header"))?;
        request = request.header("idempotency-key", key);
    }
    let lost = |error: reqwest::Error| PostError::Unreachable { url: url.to_string(), reason: innermost(&error) };
    let response = request.send().await.map_err(lost)?;
    let status = response.status();
    let answer = body(response).await.map_err(|error| PostError::Protocol(error.to_string()))?.map_err(lost)?;
    if status == StatusCode::ACCEPTED {
        return serde_json::from_slice(&answer)
            .map_err(|error| PostError::Protocol(format!("{url} gave an answer that is not understood: {error}")));
    }
    Err(PostError::Refused(problem(status, &answer)))
}

/// The last of the causes, which is the one that helps.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
