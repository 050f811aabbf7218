//! Spans for a collector: one for each event that is taken in, and one for each attempt, as OTLP over HTTP.
//!
//! Nothing waits for the collector. Spans are gathered and sent by a thread of the OpenTelemetry SDK; when its queue is full, spans are
//! dropped, and when the collector is away, they are lost. Without a collector configured nothing is made at all, and the trace
//! context that an application posted is passed on as it came. Its invariant: no payload, no secret, and of a
//! receiver's URL no more than host and port, is in a span.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use url::Url;

use crate::domain::address::AddressPolicy;
use crate::domain::time::Timestamp;
use crate::domain::trace_context::TraceContext;
use crate::egress::{Egress, EgressError, EgressOptions, Names, Request, basic_authorization};
use crate::random::Random;

/// Spans that may wait for the collector; each takes about a kilobyte.
const QUEUE_MAX: usize = 8192;
const BATCH_MAX: usize = 512;
/// How often spans are sent when there are few.
const SEND_EVERY: Duration = Duration::from_secs(5);
/// How long the collector may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long spans that wait may still take at a stop.
const LAST_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Where spans go.
#[derive(Clone, PartialEq, Eq)]
pub struct SpanOptions {
    /// `http` or `https`, perhaps user and password, host and port; `/v1/traces` is appended.
    pub collector: Url,
    /// Of a hundred events that came without a trace of their own, how many begin one.
    pub percent: u8,
    /// More authorities to trust, as for receivers.
    pub ca_file: Option<std::path::PathBuf>,
}

/// Without user and password.
impl std::fmt::Debug for SpanOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { collector, percent, ca_file } = self;
        let host = collector.host_str();
        f.debug_struct("SpanOptions")
            .field("collector", &host)
            .field("percent", percent)
            .field("ca_file", ca_file)
            .finish()
    }
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// The certificates are of no use.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The exporter refuses its settings, which may be those of an `OTEL_` variable.
    #[error("spans cannot be sent: {0}")]
    Exporter(String),
}

/// Makes and sends spans, or nothing while no collector is configured. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spans {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    random: Random,
    sending: ArcSwapOption<Sending>,
}

#[derive(Debug)]
struct Sending {
    options: SpanOptions,
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

/// A span that has begun.
#[derive(Debug)]
pub struct Span {
    sending: Arc<Sending>,
    /// What belongs below it: the trace, with this span as the parent.
    context: TraceContext,
    /// Whom it is below itself, if anybody.
    parent: Option<[u8; 8]>,
    is_remote: bool,
    kind: SpanKind,
    began: Timestamp,
    attributes: Vec<KeyValue>,
}

impl Spans {
    /// Makes none until [`Self::reconfigure`]. Ids of spans are drawn from `random`.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self { shared: Arc::new(Shared { random, sending: ArcSwapOption::empty() }) }
    }

    /// Sends to another collector from now on, or to none. What waits for the one before is still sent. Has to be called within the
    /// runtime that is to make the connections.
    ///
    /// # Errors
    ///
    /// [`SpansError`]; nothing has changed then.
    pub fn reconfigure(&self, options: Option<SpanOptions>) -> Result<(), SpansError> {
        let before = self.shared.sending.load_full();
        if before.as_ref().map(|sending| &sending.options) == options.as_ref() {
            return Ok(());
        }
        let next = options.map(Sending::start).transpose()?;
        self.shared.sending.store(next.map(Arc::new));
        if let Some(before) = before {
            tokio::task::spawn_blocking(move || before.close());
        }
        Ok(())
    }

    /// Sends what waits, for at most two seconds, and makes no more.
    pub async fn close(&self) {
        if let Some(sending) = self.shared.sending.swap(None) {
            // Whoever is in the midst of something may still hold it: what it ends then is lost.
            let _ = tokio::task::spawn_blocking(move || sending.close()).await;
        }
    }

    /// A span for an event that is being posted; `None` when its trace is not recorded.
    #[must_use]
    pub fn begin(&self, posted: Option<&TraceContext>, now: Timestamp) -> Option<Span> {
        let sending = self.shared.sending.load_full()?;
        match posted {
            Some(context) => self.below(sending, context, true, SpanKind::Server, now),
            None => {
                let chance = self.shared.random.unit();
                if chance * 100.0 >= f64::from(sending.options.percent) {
                    return None;
                }
                let trace = self.shared.random.bits().max(1).to_be_bytes();
                let context = TraceContext { trace, parent: self.id(), flags: 1, state: String::new() };
                let kind = SpanKind::Server;
                Some(Span {
                    sending,
                    context,
                    parent: None,
                    is_remote: false,
                    kind,
                    began: now,
                    attributes: Vec::new(),
                })
            }
        }
    }

    /// A span for an attempt to deliver an event; `None` when its trace is not recorded.
    #[must_use]
    pub fn attempt(&self, event: Option<&TraceContext>, now: Timestamp) -> Option<Span> {
        let (context, sending) = (event?, self.shared.sending.load_full()?);
        self.below(sending, context, false, SpanKind::Client, now)
    }

    fn below(
        &self,
        sending: Arc<Sending>,
        context: &TraceContext,
        is_remote: bool,
        kind: SpanKind,
        now: Timestamp,
    ) -> Option<Span> {
        if !context.is_sampled() {
            return None;
        }
        let (parent, context) = (Some(context.parent), context.below(self.id()));
        Some(Span { sending, context, parent, is_remote, kind, began: now, attributes: Vec::new() })
    }

    fn id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        self.shared.random.fill(&mut id);
        // All zero is none.
        if id == [0; 8] { [1; 8] } else { id }
    }
}

impl Span {
    /// What belongs below it.
    #[must_use]
    pub const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Says something about it. Never a payload, a secret or a URL.
    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(name, value));
    }

    /// Hands it to the thread that sends. `error` is a short word for what went wrong, if something did.
    pub fn end(mut self, name: String, took: Duration, error: Option<String>) {
        let start_time = UNIX_EPOCH + Duration::from_millis(self.began.millis());
        if let Some(error) = &error {
            self.note("error.type", error.clone());
        }
        let Self { sending, context, parent, is_remote, kind, began: _, attributes } = self;
        let span_context = SpanContext::new(
            TraceId::from_bytes(context.trace),
            SpanId::from_bytes(context.parent),
            TraceFlags::new(context.flags),
            false,
            context.state.parse().unwrap_or(TraceState::NONE),
        );
        sending.processor.on_end(SpanData {
            span_context,
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: is_remote,
            span_kind: kind,
            name: name.into(),
            start_time,
            end_time: start_time + took,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: error.map_or(Status::Unset, Status::error),
            instrumentation_scope: sending.scope.clone(),
        });
    }
}

impl Sending {
    fn start(options: SpanOptions) -> Result<Self, SpansError> {
        let everywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok());
        let egress = Egress::new(EgressOptions {
            // Where spans go, the operator has said in the configuration.
            policy: AddressPolicy::new(everywhere),
            allow_http: true,
            ca_file: options.ca_file.clone(),
            names: Names::System,
            proxy: None,
        })?;
        let client = Client { egress: Arc::new(egress), runtime: tokio::runtime::Handle::current() };
        let authorization = basic_authorization(&options.collector);
        let authorization = authorization.iter().filter_map(|value| value.to_str().ok());
        let headers: HashMap<_, _> =
            authorization.map(|value| ("authorization".to_owned(), value.to_owned())).collect();
        // The connector refuses URLs with a password, which would show in logs.
        let mut base = options.collector.clone();
        let _ = (base.set_username(""), base.set_password(None));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_headers(headers)
            .with_endpoint(format!("{}/v1/traces", base.as_str().trim_end_matches('/')))
            .with_timeout(ANSWER_MAX)
            .build()
            .map_err(|error| SpansError::Exporter(error.to_string()))?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(SEND_EVERY);
        let mut processor = BatchSpanProcessor::new(exporter, queue.build());
        let resource = Resource::builder_empty().with_service_name("postrider");
        processor.set_resource(
            &resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build(),
        );
        let scope = InstrumentationScope::builder("postrider").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { options, processor, scope })
    }

    /// Blocks.
    fn close(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_MAX) {
            tracing::warn!(%error, "not all spans reached the collector");
        }
    }
}

/// The way to the collector: the same connector as for receivers, so with the same bounds and certificates.
struct Client {
    egress: Arc<Egress>,
    /// The exporter calls from a thread of its own.
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())?;
        let headers: HeaderMap = parts.headers;
        let request = Request { url, headers, body, timeout: ANSWER_MAX, tls: None, slot: None };
        let egress = Arc::clone(&self.egress);
        let sent = self.runtime.spawn(async move { egress.fetch(0, request, ANSWER_BYTES_MAX).await });
        let (outcome, body) = sent.await?;
        let code = outcome.result.map_err(|kind| format!("the collector was not reached: {kind}"))?;
        Ok(http::Response::builder().status(code).body(body.unwrap_or_default())?)
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'life, 'answer>(&'life self, request: http::Request<Bytes>) -> Answer<'answer>
    where
        'life: 'answer,
        Self: 'answer,
    {
        Box::pin(self.send(request))
    }
}

#[cfg(test)]
mod tests;
