//! The HTTP edge for local applications: takes events in, and gives nothing out.
//!
//! There is no read on this port but the health check. Everything is checked before anything is
//! stored: who posts, that it is not a browser, that the body is what it says it is. It does not
//! know webhooks; how many get an event is the store's answer.

mod envelope;
mod head;
mod rejection;
mod schema;

pub use envelope::{
    Parsed, Posted, parse_batch, parse_cloudevent_headers, parse_envelope, parse_structured, references_of,
};
pub use rejection::Rejection;
pub use schema::{Drift, SchemaMode};

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};

use crate::catalog::Misfit;
use crate::domain::event_type::{self, CustomType, KnownType};
use crate::domain::time::Timestamp;
use crate::domain::trace_context::TraceContext;
use crate::http::{Answer, Limits, Peer, Progress, Question, json, read_body};
use crate::spans::Spans;
use crate::store::{Accepted, NewEvent, Store, Token};
pub(crate) use head::percent_decode;
use head::{Route, check_framing, check_host, content_type, idempotency_key, media_type, refuse_browsers, trace_of};
use schema::{Checks, Subject};

/// From here on a check is long enough to be kept off the threads that serve everybody: 2 to 4 KiB take 20 to 40 µs.
const LARGE_BYTES: usize = 64 << 10;

/// How ingest works; taken anew from the configuration on reload.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// A token is asked for.
    pub token_required: bool,
    /// The largest payload, in bytes.
    pub body_bytes_max: usize,
    /// Types that are not known are taken as well.
    pub accept_unknown_types: bool,
    /// What happens to payloads that do not fit their schemas.
    pub schema: SchemaMode,
    /// Names of this machine that requests may be addressed to, besides the loopback ones.
    pub hosts: Vec<String>,
    /// What a stranger may take.
    pub limits: Limits,
}

/// A batch may be as large as so many of the largest payloads.
const BATCH_FACTOR: usize = 16;
/// Events of one batch.
const BATCH_EVENTS_MAX: usize = 10_000;

/// The service behind the port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    options: ArcSwap<IngestOptions>,
    checks: Checks,
    spans: Spans,
    accepted: AtomicU64,
    refused: AtomicU64,
    last_used: Mutex<HashMap<String, Timestamp>>,
}

impl Ingest {
    /// Takes events into this store, each in a span of its own.
    #[must_use]
    pub fn new(store: Store, options: IngestOptions, spans: Spans) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                options: ArcSwap::from_pointee(options),
                checks: Checks::start(),
                spans,
                accepted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                last_used: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// Takes over a changed configuration file.
    pub fn reconfigure(&self, options: IngestOptions) {
        self.shared.options.store(Arc::new(options));
    }

    /// Events accepted and requests refused since the start.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.accepted.load(Ordering::Relaxed), self.shared.refused.load(Ordering::Relaxed))
    }

    /// When a token was last used since the start.
    #[must_use]
    pub fn last_used(&self, token: &str) -> Option<Timestamp> {
        self.shared.last_used.lock().unwrap_or_else(PoisonError::into_inner).get(token).copied()
    }

    /// What did not fit the schema of a type that is built in, by its canonical name.
    #[must_use]
    pub fn drift(&self, name: &str) -> Drift {
        self.shared.checks.drift(name, &Subject::BuiltIn)
    }

    /// What did not fit the schema of a type of the operator's own, as it is now.
    #[must_use]
    pub fn custom_drift(&self, custom: &Arc<CustomType>) -> Drift {
        self.shared.checks.drift(&custom.name, &Subject::own(custom))
    }

    /// To be told when the operator's own types have changed.
    pub fn types_changed(&self) {
        self.shared.checks.forget_others(&self.shared.store.config());
    }

    /// Why new events can not be made durable now, if so.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if let Some(why) = self.shared.store.journal().failure() {
            return Some(format!("the journal failed: {why}"));
        }
        self.shared.store.is_below_floor().then(|| "there is too little room on the disk".to_owned())
    }

    /// Answers one request.
    pub async fn answer(&self, peer: Peer, question: Question, progress: Progress) -> Answer {
        match self.take(peer, question, progress).await {
            Ok(answer) => answer,
            Err(rejection) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                rejection.answer()
            }
        }
    }

    async fn take(&self, peer: Peer, question: Question, progress: Progress) -> Result<Answer, Rejection> {
        let options = self.shared.options.load_full();
        let (parts, body) = question.into_parts();
        // Over a Unix socket there are no browsers and no names.
        if peer.uid.is_none() {
            check_host(&parts.headers, parts.uri.host(), &options.hosts)?;
        }
        refuse_browsers(&parts.headers)?;
        check_framing(&parts.headers)?;
        let route = Route::of(parts.uri.path())?;
        if let Route::Health = route {
            if parts.method != Method::GET && parts.method != Method::HEAD {
                return Err(Rejection::Method("GET, HEAD"));
            }
            return Ok(self.health());
        }
        if parts.method != Method::POST {
            return Err(Rejection::Method("POST"));
        }
        let token = self.authorize(&parts.headers, &options)?;
        let media_type = media_type(&parts.headers)?;
        let whole_max = match route {
            Route::Batch => options.body_bytes_max.saturating_mul(BATCH_FACTOR),
            // The envelope around the payload has some room of its own.
            _ => options.body_bytes_max.saturating_add(64 << 10),
        };
        let body = read_body(&parts.headers, body, whole_max, options.limits.body_time).await?;
        progress.body_is_read();
        let key = idempotency_key(&parts.headers)?;
        let trace = trace_of(&parts.headers);
        match route {
            Route::Typed(name) => {
                if !envelope::is_json(&media_type) || media_type.starts_with("application/cloudevents") {
                    return Err(Rejection::MediaType("application/json"));
                }
                let content_type = content_type(&parts.headers);
                let posted = Parsed { trace, ..Posted::new(name, content_type, body, key) };
                let accepted = self.accept(posted, token.as_deref(), &options).await?;
                Ok(accepted_answer(&accepted))
            }
            Route::Any => {
                let posted = if parts.headers.contains_key("ce-specversion") {
                    parse_cloudevent_headers(&parts.headers, content_type(&parts.headers), body)
                } else {
                    match media_type.as_str() {
                        "application/json" => parse_envelope(&body),
                        "application/cloudevents+json" => parse_structured(&body),
                        _ => return Err(Rejection::MediaType("application/json or application/cloudevents+json")),
                    }
                };
                let mut posted = posted.map_err(Rejection::Malformed)?;
                if key.is_some() {
                    posted.idempotency_key = key;
                }
                posted.trace = posted.trace.or(trace);
                let accepted = self.accept(posted, token.as_deref(), &options).await?;
                Ok(accepted_answer(&accepted))
            }
            Route::Batch => self.take_batch(&media_type, &body, token, trace.as_ref(), &options).await,
            Route::Health => Err(Rejection::NoSuchPath),
        }
    }

    /// All of a batch waits for the disk together; each event has its own result.
    async fn take_batch(
        &self,
        media_type: &str,
        body: &Bytes,
        token: Option<Arc<Token>>,
        trace: Option<&TraceContext>,
        options: &IngestOptions,
    ) -> Result<Answer, Rejection> {
        let posted = parse_batch(media_type, body, BATCH_EVENTS_MAX)?;
        let accepting = posted.into_iter().map(|posted| {
            let token = token.clone();
            async move {
                let mut posted = posted.map_err(Rejection::Malformed)?;
                posted.trace = posted.trace.or_else(|| trace.cloned());
                self.accept(posted, token.as_deref(), options).await
            }
        });
        let results = join_all(accepting).await;
        let mut lines = Vec::new();
        let mut all = true;
        for result in &results {
            match result {
                Ok(accepted) => lines.extend_from_slice(&accepted_line(accepted)),
                Err(rejection) => {
                    all = false;
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    lines.extend_from_slice(&rejection.line());
                }
            }
            lines.push(b'\n');
        }
        let status = if all { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
        Ok(crate::http::typed(status, "application/x-ndjson", lines.into()))
    }

    /// [`Self::take_in`] in a span, when somebody records the trace or begins one.
    async fn accept(
        &self,
        mut posted: Parsed,
        token: Option<&Token>,
        options: &IngestOptions,
    ) -> Result<(Accepted, String), Rejection> {
        let clock = self.shared.store.clock();
        let Some(mut span) = self.shared.spans.begin(posted.trace.as_ref(), clock.now()) else {
            return self.take_in(posted, token, options).await;
        };
        let (began, bytes) = (clock.elapsed(), posted.payload.len());
        posted.trace = Some(span.context().clone());
        let result = self.take_in(posted, token, options).await;
        span.note("messaging.message.body.size", i64::try_from(bytes).unwrap_or(i64::MAX));
        let mut error = None;
        let code = match &result {
            Ok((accepted, event_type)) => {
                span.note("postrider.event.id", accepted.id.to_string());
                span.note("postrider.event.type", event_type.clone());
                span.note("postrider.event.duplicate", accepted.duplicate);
                span.note("postrider.event.deliveries", i64::try_from(accepted.deliveries).unwrap_or(i64::MAX));
                StatusCode::ACCEPTED
            }
            // Not its text, which may tell of the payload.
            Err(rejection) => {
                error = Some(rejection.status().as_str().to_owned());
                rejection.status()
            }
        };
        span.note("http.request.method", "POST");
        span.note("http.response.status_code", i64::from(code.as_u16()));
        span.end("accept event".to_owned(), clock.elapsed().saturating_sub(began), error);
        result
    }

    async fn take_in(
        &self,
        posted: Parsed,
        token: Option<&Token>,
        options: &IngestOptions,
    ) -> Result<(Accepted, String), Rejection> {
        if posted.payload.len() > options.body_bytes_max {
            return Err(Rejection::TooLarge(options.body_bytes_max));
        }
        let (event_type, subject) = self.event_type(&posted.event_type, options)?;
        if let Some(token) = token
            && !token.types.is_empty()
            && event_type::matching(&token.types, &event_type).is_none()
        {
            return Err(Rejection::TypeNotAllowed(event_type));
        }
        let (scan_ref, mut references) = references_of(&posted.payload).map_err(Rejection::Malformed)?;
        for reference in &posted.references {
            references.add(reference);
        }
        let subject = if envelope::is_json(&posted.content_type) { subject } else { Subject::None };
        let now = self.shared.store.clock().now();
        if options.schema == SchemaMode::Reject {
            let misfits = self.misfits(&event_type, &subject, &posted.payload, now).await?;
            if !misfits.is_empty() {
                return Err(Rejection::Schema { event_type, misfits });
            }
        }
        let payload = posted.payload.clone();
        let new = NewEvent {
            event_type: event_type.clone(),
            content_type: posted.content_type,
            payload: posted.payload,
            scan_ref,
            references,
            token: token.map(|token| token.name.clone()).unwrap_or_default(),
            idempotency_key: posted.idempotency_key,
            trace: posted.trace,
        };
        let accepted = self.shared.store.accept(new).await?;
        self.shared.accepted.fetch_add(u64::from(!accepted.duplicate), Ordering::Relaxed);
        if options.schema == SchemaMode::Warn && !accepted.duplicate {
            self.shared.checks.note(&event_type, &subject, &payload, now);
        }
        Ok((accepted, event_type))
    }

    /// What is wrong with a payload. A large one keeps no thread from the requests and deliveries of
    /// others.
    async fn misfits(
        &self,
        event_type: &str,
        subject: &Subject,
        payload: &Bytes,
        now: Timestamp,
    ) -> Result<Vec<Misfit>, Rejection> {
        if payload.len() < LARGE_BYTES {
            return Ok(self.shared.checks.misfits(event_type, subject, payload, now));
        }
        let (shared, name) = (Arc::clone(&self.shared), event_type.to_owned());
        let (subject, payload) = (subject.clone(), payload.clone());
        let checked = tokio::task::spawn_blocking(move || shared.checks.misfits(&name, &subject, &payload, now));
        checked.await.map_err(|error| Rejection::Unhealthy(format!("the payload could not be checked: {error}")))
    }

    /// The canonical name of a posted type, and what its payloads are checked against.
    fn event_type(&self, posted: &str, options: &IngestOptions) -> Result<(String, Subject), Rejection> {
        if let Some(known) = KnownType::find(posted) {
            return Ok((known.name.to_owned(), Subject::BuiltIn));
        }
        let config = self.shared.store.config();
        if let Some(custom) = config.custom_type(posted) {
            return Ok((custom.name.clone(), Subject::own(custom)));
        }
        let name = event_type::canonical(posted);
        if options.accept_unknown_types && event_type::is_valid_name(&name) {
            return Ok((name, Subject::None));
        }
        let names = event_type::KNOWN.iter().map(|known| known.name);
        let names = names.chain(config.event_types.keys().map(String::as_str));
        let nearest = event_type::nearest(posted, names).first().map(|nearest| (*nearest).to_owned());
        Err(Rejection::UnknownType { posted: posted.to_owned(), nearest })
    }

    fn authorize(&self, headers: &HeaderMap, options: &IngestOptions) -> Result<Option<Arc<Token>>, Rejection> {
        if !options.token_required {
            return Ok(None);
        }
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (given, another) = (given.next().and_then(|value| value.to_str().ok()), given.next());
        if another.is_some() {
            // Whoever checks them before us may have looked at the other one.
            return Err(Rejection::Unauthorized);
        }
        let given =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, given) = given.ok_or(Rejection::Unauthorized)?;
        let config = self.shared.store.config();
        let token = config.token_with(&Token::digest_of(given.trim())).ok_or(Rejection::Unauthorized)?;
        let now = self.shared.store.clock().now();
        let mut last_used = self.shared.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        match last_used.get_mut(&token.name) {
            Some(at) => *at = now,
            None => {
                last_used.insert(token.name.clone(), now);
            }
        }
        Ok(Some(Arc::clone(token)))
    }

    fn health(&self) -> Answer {
        match self.obstacle() {
            None => json(StatusCode::OK, br#"{"status":"ok"}"#.to_vec()),
            Some(why) => Rejection::Unhealthy(why).answer(),
        }
    }
}

/// Enough for the answer to most posts.
const LINE_BYTES: usize = 128;

fn accepted_line((accepted, event_type): &(Accepted, String)) -> Vec<u8> {
    // Made for each event, so not by way of a `Value`.
    #[derive(serde::Serialize)]
    struct Line<'a> {
        deliveries: usize,
        duplicate: bool,
        id: std::fmt::Arguments<'a>,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    let Accepted { id, deliveries, duplicate, .. } = *accepted;
    let mut line = Vec::with_capacity(LINE_BYTES);
    let written =
        serde_json::to_writer(&mut line, &Line { deliveries, duplicate, id: format_args!("{id}"), event_type });
    debug_assert!(written.is_ok(), "a vector takes all that is written to it");
    line
}

fn accepted_answer(accepted: &(Accepted, String)) -> Answer {
    json(StatusCode::ACCEPTED, accepted_line(accepted))
}

/// Waits for all of them, polling in order, so that they queue in order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| Box::pin(future)).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        let mut waiting = false;
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(results.iter_mut().filter_map(Option::take).collect())
        }
    })
    .await
}
