//! From a webhook and an event to a request: headers and signatures, as receivers know them.
//!
//! Does not send. Everything that costs time is prepared once per version of a webhook.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::domain::delivery::Delivery;
use crate::domain::event::Event;
use crate::domain::event_type;
use crate::domain::id::DeliveryId;
use crate::domain::signature::Signer;
use crate::domain::time::Timestamp;
use crate::domain::trace_context::TraceContext;
use crate::domain::webhook::Webhook;
use crate::egress::{Request, TlsProblem, TlsProfile};

/// Names that the configuration may change.
#[derive(Clone, Debug)]
pub struct WireNames {
    /// `Idenfy-Signature` unless configured.
    pub body_signature: HeaderName,
    /// `Idenfy-Event-Type` unless configured.
    pub event_type: HeaderName,
    /// `postrider/VERSION` unless configured.
    pub user_agent: HeaderValue,
}

/// A webhook, ready to send with.
#[derive(Clone)]
pub struct Prepared {
    /// The webhook.
    pub webhook: Arc<Webhook>,
    url: Url,
    own_headers: HeaderMap,
    signer: Option<Signer>,
    tls: Result<Option<TlsProfile>, TlsProblem>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("webhook", &self.webhook.id).finish_non_exhaustive()
    }
}

/// Which of a delivery's attempts a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1 over all attempts.
    pub number: u32,
    /// Automatic attempts made, this one among them if it is one.
    pub automatic: u16,
}

impl Place {
    /// Of the next attempt.
    #[must_use]
    pub fn next(delivery: &Delivery) -> Self {
        let automatic = delivery.automatic_made() + u16::from(delivery.resend_due().is_none());
        Self { number: delivery.attempts_made() + 1, automatic }
    }

    /// Of the last attempt, or of the first when there was none yet.
    #[must_use]
    pub fn last(delivery: &Delivery) -> Self {
        if delivery.attempts_made() == 0 {
            return Self::next(delivery);
        }
        Self { number: delivery.attempts_made(), automatic: delivery.automatic_made() }
    }
}

static WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
static WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
static DELIVERY: HeaderName = HeaderName::from_static("postrider-delivery");
static ATTEMPT: HeaderName = HeaderName::from_static("postrider-attempt");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static ATTEMPTS_LEFT: HeaderName = HeaderName::from_static("postrider-attempts-left");

impl Prepared {
    /// Prepares a webhook; `None` when it is not valid, which saving it prevents. `tls` is what
    /// the transport makes of its certificates.
    #[must_use]
    pub fn new(webhook: Arc<Webhook>, tls: Result<Option<TlsProfile>, TlsProblem>) -> Option<Self> {
        let url = Url::parse(&webhook.url).ok()?;
        let mut own_headers = HeaderMap::new();
        for header in &webhook.headers {
            let mut value = HeaderValue::from_str(header.value.expose()).ok()?;
            value.set_sensitive(matches!(header.value, crate::domain::webhook::HeaderValue::Secret(_)));
            own_headers.append(HeaderName::from_bytes(header.name.as_bytes()).ok()?, value);
        }
        let signer = webhook.signing_key.as_ref().map(Signer::new);
        Some(Self { url, own_headers, signer, tls, webhook })
    }

    /// Why its certificates can not be used: nothing may be sent then, since the receiver would
    /// not be verified, or would not know us, as the operator meant it.
    #[must_use]
    pub fn tls_problem(&self) -> Option<&TlsProblem> {
        self.tls.as_ref().err()
    }

    /// Whether it has a client certificate to show.
    #[must_use]
    pub fn shows_certificate(&self) -> bool {
        self.tls.as_ref().is_ok_and(|tls| tls.as_ref().is_some_and(TlsProfile::shows_certificate))
    }

    /// Where it goes.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The request of a delivery's attempt.
    #[must_use]
    pub fn request(
        &self,
        names: &WireNames,
        event: &Event,
        id: DeliveryId,
        place: Place,
        payload: Bytes,
        now: Timestamp,
    ) -> Request {
        let mut headers = self.own_headers.clone();
        headers.insert(CONTENT_TYPE, text(&event.content_type));
        headers.insert(USER_AGENT, names.user_agent.clone());
        let subscribed = event_type::matching(&self.webhook.event_types, &event.event_type);
        let sent_as = match subscribed {
            Some(event_type::LEGACY) => event_type::LEGACY,
            _ => &event.event_type,
        };
        headers.insert(&names.event_type, text(event_type::wire_name(sent_as)));
        let event_id = event.id.to_string();
        let seconds = now.seconds();
        if let Some(signer) = &self.signer {
            headers.insert(&names.body_signature, sensitive(&signer.body_signature(&payload)));
            let signature = signer.standard_signature(&event_id, seconds, &payload, now);
            headers.insert(&WEBHOOK_SIGNATURE, sensitive(&signature));
        }
        headers.insert(&WEBHOOK_ID, text(&event_id));
        headers.insert(&WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(&DELIVERY, text(&id.to_string()));
        headers.insert(&ATTEMPT, HeaderValue::from(place.number));
        let left = self.webhook.retry.attempts_max().saturating_sub(place.automatic);
        headers.insert(&ATTEMPTS_LEFT, HeaderValue::from(left));
        if let Some(context) = &event.trace {
            trace_headers(&mut headers, context);
        }
        let tls = self.tls.as_ref().ok().cloned().flatten();
        Request { url: self.url.clone(), headers, body: payload, timeout: self.webhook.timeout, tls, slot: None }
    }
}

/// Where a request belongs among the traces of others, as W3C Trace Context has it. What is there of it is replaced.
pub(super) fn trace_headers(headers: &mut HeaderMap, context: &TraceContext) {
    headers.insert(&TRACEPARENT, text(&context.to_string()));
    headers.remove(&TRACESTATE);
    if !context.state.is_empty() {
        headers.insert(&TRACESTATE, text(&context.state));
    }
}

/// Texts of ours are always header values; one from outside that is not was refused on its way in.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// Not to be shown: whoever sees a signature could replay it within its time.
fn sensitive(value: &str) -> HeaderValue {
    let mut value = text(value);
    value.set_sensitive(true);
    value
}
