//! The one way out: every request to a receiver, be it a delivery, a test or an OAuth token
//! request, is made here.
//!
//! It sends one `POST` over HTTP/1.1 and says what came of it. It does not retry, follow
//! redirects, decompress, use a proxy that the configuration does not name, or keep anything of an answer that
//! nobody asked for. Its invariants: no address is dialled that the policy does not permit at
//! that moment; an attempt ends at its deadline, whatever the receiver does; and what is read of
//! an answer is bounded before it is read.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, PROXY_AUTHORIZATION, TRANSFER_ENCODING, USER_AGENT};
use http::{Method, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use url::{Position, Url};

use crate::domain::address::AddressPolicy;
use crate::domain::attempt::{ErrorKind, Outcome};
use crate::domain::credentials::ClientTls;

mod check;
mod connection;
mod dial;
mod pool;
mod probe;
mod proxy;
mod resolve;
mod retry_after;
mod tls;

pub use check::UrlProblem;
pub use probe::{Probe, Session, TlsFailure, Trace, Unreached, Unresolved};
pub use proxy::{NoTunnel, Proxy, basic_authorization};
pub use resolve::Names;
pub use retry_after::parse_retry_after;
pub use tls::{TlsProblem, TlsProfile};

use connection::{Connection, Drain, Failure, WireRequest, WireResponse};
use dial::{Progress, Stage};
use pool::Pool;
use resolve::Resolver;
use tls::Trust;

/// How long a body may still come after the status line has decided the attempt.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How many bodies are read in the background at a time. Beyond that, connections are closed
/// rather than kept: each may hold some 128 KiB.
const DRAINS_MAX: usize = 64;

/// One `POST`.
#[derive(Clone)]
pub struct Request {
    /// Where to; `http` or `https`.
    pub url: Url,
    /// The headers, without `Host`, `Content-Length`, `Transfer-Encoding` and `Connection`:
    /// those are this module's, and are replaced.
    pub headers: HeaderMap,
    /// The body, sent as it is.
    pub body: Bytes,
    /// From the first step until the status line, all in all.
    pub timeout: Duration,
    /// Certificates of the webhook's own. A connection serves one profile only.
    pub tls: Option<TlsProfile>,
    /// The place it takes; `None` when nobody counts.
    pub slot: Option<Arc<dyn Slot>>,
}

/// The place that a request takes among all that may be under way at once.
///
/// While a name server is waited for, nothing is under way to anybody. Names that do not resolve must not keep the places from
/// those whose do, however many they are.
pub trait Slot: Send + Sync {
    /// Leaves the place to others.
    fn lend(&self);

    /// Waits for a place. Only after [`Self::lend`].
    fn take_back<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Something that makes HTTP exchanges. Infallible: a failure on the wire is an [`Outcome`], so
/// there is no error to forget.
pub trait Transport: Send + Sync + 'static {
    /// Sends the request. Connections are shared only within one `pool_key`, the webhook.
    ///
    /// Dropping the future closes the connection it was using.
    fn send<'a>(&'a self, pool_key: u64, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

    /// [`Self::send`] for an answer that matters, such as an access token: the body comes along
    /// when it is complete, at most `body_max` bytes long, and there before the deadline.
    fn fetch<'a>(
        &'a self,
        pool_key: u64,
        request: Request,
        body_max: usize,
    ) -> Pin<Box<dyn Future<Output = (Outcome, Option<Bytes>)> + Send + 'a>>;

    /// A webhook's own certificates in the form that requests carry; `None` when it has none.
    ///
    /// # Errors
    ///
    /// [`TlsProblem`], which saving the webhook prevents.
    fn tls_profile(&self, tls: &ClientTls) -> Result<Option<TlsProfile>, TlsProblem>;
}

/// What [`Egress`] is built from. The default permits globally routable receivers only, by
/// `http` and `https`, with the system's roots and names.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// Whether `http` URLs may be used besides `https`.
    pub allow_http: bool,
    /// A PEM file with root certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where addresses of names come from.
    pub names: Names,
    /// What all requests go through. It then resolves the names of receivers, and decides which of them may be reached;
    /// `policy` only judges addresses that URLs name.
    pub proxy: Option<Proxy>,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self { policy: AddressPolicy::default(), allow_http: true, ca_file: None, names: Names::System, proxy: None }
    }
}

/// Why there is no [`Egress`].
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// `egress.ca_file` is of no use.
    #[error("{}: cannot be used as egress.ca_file: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refused its settings, or a certificate in `ca_file`.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The real transport.
pub struct Egress {
    settings: ArcSwap<Settings>,
    resolver: ArcSwap<Resolver>,
    pool: Arc<Pool>,
    drains: Arc<Semaphore>,
}

/// What may change while the daemon runs. Read once an attempt, so that an attempt sees one
/// state only.
struct Settings {
    policy: AddressPolicy,
    allow_http: bool,
    trust: Arc<Trust>,
    proxy: Option<Proxy>,
    /// Counts the changes. Connections of an earlier generation are not reused.
    generation: u64,
}

impl Egress {
    /// Reads `ca_file`, the system's roots and its resolver configuration. Blocks briefly on
    /// these files; dials nothing.
    ///
    /// # Errors
    ///
    /// [`EgressError`]. A system without roots or name servers is not an error: what needs them
    /// then fails, one attempt at a time.
    pub fn new(options: EgressOptions) -> Result<Self, EgressError> {
        let EgressOptions { policy, allow_http, ca_file, names, proxy } = options;
        let trust = Arc::new(Trust::new(ca_file.as_deref())?);
        Ok(Self {
            settings: ArcSwap::from_pointee(Settings { policy, allow_http, trust, proxy, generation: 0 }),
            resolver: ArcSwap::from_pointee(Resolver::new(names)),
            pool: Arc::new(Pool::default()),
            drains: Arc::new(Semaphore::new(DRAINS_MAX)),
        })
    }

    /// From now on, dials by this policy only. Idle connections are closed; exchanges that are
    /// under way end as they began, and their connections are closed after them.
    pub fn update_policy(&self, policy: AddressPolicy) {
        self.swap_settings(|old| Settings {
            policy: policy.clone(),
            allow_http: old.allow_http,
            trust: Arc::clone(&old.trust),
            proxy: old.proxy.clone(),
            generation: old.generation + 1,
        });
    }

    /// [`Self::update_policy`] for all options: re-reads what [`Self::new`] read. A
    /// [`TlsProfile`] that was made before goes on with the new roots.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`]; nothing has changed then.
    pub fn update(&self, options: EgressOptions) -> Result<(), EgressError> {
        let EgressOptions { policy, allow_http, ca_file, names, proxy } = options;
        let trust = Arc::new(Trust::new(ca_file.as_deref())?);
        self.resolver.store(Arc::new(Resolver::new(names)));
        self.swap_settings(|old| Settings {
            policy: policy.clone(),
            allow_http,
            trust: Arc::clone(&trust),
            proxy: proxy.clone(),
            generation: old.generation + 1,
        });
        Ok(())
    }

    /// Whether `url` can be a receiver's: judged when a webhook is saved, so that a mistake is
    /// met by whoever makes it. Resolves the name for at most 2 s; one that does not resolve is
    /// not a problem. Never connects.
    ///
    /// # Errors
    ///
    /// [`UrlProblem`], whose text says what to do.
    pub async fn check_url(&self, url: &Url) -> Result<(), UrlProblem> {
        let settings = self.settings.load_full();
        check::check_url(url, &settings, &self.resolver.load_full()).await
    }

    /// [`Transport::send`] for an answer that matters, such as an access token: the body comes
    /// along when it is complete, at most `body_max` bytes long (never more than 64 KiB), and
    /// there before the request's deadline. Without a response, or with a longer, slower or
    /// broken body, it is `None`.
    pub async fn fetch(&self, pool_key: u64, request: Request, body_max: usize) -> (Outcome, Option<Bytes>) {
        let deadline = Instant::now() + request.timeout;
        let (outcome, answer) = self.exchange(pool_key, request).await;
        let Some((connection, body)) = answer else { return (outcome, None) };
        let Ok(drained) = timeout_at(deadline, Drain::keeping(connection, body, body_max)).await else {
            return (outcome, None);
        };
        if let Some(connection) = drained.reusable {
            self.pool.put(pool_key, connection, Instant::now());
        }
        (outcome, drained.body)
    }

    /// Idle connections kept for reuse, over all webhooks.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.pool.count()
    }

    /// Whether an https receiver can be verified at all: there is a certificate authority.
    #[must_use]
    pub fn verifies_tls(&self) -> bool {
        self.settings.load().trust.is_any()
    }

    /// Whether there is a name server to ask.
    #[must_use]
    pub fn resolves_names(&self) -> bool {
        self.resolver.load().has_servers()
    }

    fn swap_settings(&self, next: impl Fn(&Settings) -> Settings) {
        self.settings.rcu(|old| next(old));
        self.pool.start_over(self.settings.load().generation);
    }

    async fn send_and_drain(&self, pool_key: u64, request: Request) -> Outcome {
        let (outcome, answer) = self.exchange(pool_key, request).await;
        if let Some(drain) = answer.and_then(|(connection, body)| Drain::discarding(connection, body)) {
            self.drain(pool_key, drain).await;
        }
        outcome
    }

    /// Reads what is there of the body at once, and what is yet to come in the background.
    async fn drain(&self, pool_key: u64, mut drain: Drain) {
        let at_once = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut drain).poll(cx))).await;
        if let Poll::Ready(drained) = at_once {
            if let Some(connection) = drained.reusable {
                self.pool.put(pool_key, connection, Instant::now());
            }
            return;
        }
        // Without a permit the connection is closed: the outcome stands, only reuse is lost.
        let Ok(permit) = Arc::clone(&self.drains).try_acquire_owned() else { return };
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            if let Ok(drained) = timeout(DRAIN_MAX, drain).await
                && let Some(connection) = drained.reusable
            {
                pool.put(pool_key, connection, Instant::now());
            }
            drop(permit);
        });
    }

    /// One exchange, up to the head of the response.
    async fn exchange(&self, pool_key: u64, request: Request) -> (Outcome, Option<(Box<Connection>, Incoming)>) {
        let now = Instant::now();
        let deadline = now + request.timeout;
        let mut progress = Progress::start(now);
        let attempt = self.attempt(pool_key, request, deadline, &mut progress);
        let answer = timeout_at(deadline, attempt).await.unwrap_or_else(|_| Err(progress.late()));
        let outcome = outcome_of(answer.as_ref().map(|(response, _)| response).map_err(|kind| *kind), &mut progress);
        (outcome, answer.ok().map(|(response, connection)| (connection, response.into_body())))
    }

    async fn attempt(
        &self,
        pool_key: u64,
        request: Request,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<(WireResponse, Box<Connection>), ErrorKind> {
        let Request { url, headers, body, timeout: _, tls, slot } = request;
        let settings = self.settings.load_full();
        check::shape(&url, settings.allow_http).map_err(|problem| {
            tracing::warn!(%problem, "the URL is not dialled");
            ErrorKind::Blocked
        })?;
        let mut wire = wire_request(headers, body);
        if let Some(connection) = self.pool.take(pool_key, &url, tls.as_ref(), Instant::now()) {
            match exchange_on(connection, &url, wire, progress).await {
                Ok(answer) => return Ok(answer),
                // The peer hung up while the connection lay idle. Nothing was sent, so a fresh
                // connection is still the same attempt.
                Err(Failure { unsent: Some(unsent), .. }) => wire = unsent,
                Err(Failure { kind, .. }) => return Err(kind),
            }
        }
        let resolver = self.resolver.load_full();
        let agent = wire.headers().get(USER_AGENT);
        let to = dial::Destination { url: &url, tls: tls.as_ref(), slot: slot.as_deref(), agent };
        let connection = dial::dial(to, &settings, &resolver, deadline, progress).await?;
        exchange_on(connection, &url, wire, progress).await.map_err(|failed| failed.kind)
    }
}

impl Transport for Egress {
    fn send<'a>(&'a self, pool_key: u64, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.send_and_drain(pool_key, request))
    }

    fn fetch<'a>(
        &'a self,
        pool_key: u64,
        request: Request,
        body_max: usize,
    ) -> Pin<Box<dyn Future<Output = (Outcome, Option<Bytes>)> + Send + 'a>> {
        Box::pin(Egress::fetch(self, pool_key, request, body_max))
    }

    fn tls_profile(&self, tls: &ClientTls) -> Result<Option<TlsProfile>, TlsProblem> {
        TlsProfile::new(tls)
    }
}

fn wire_request(headers: HeaderMap, body: Bytes) -> WireRequest {
    let mut wire = http::Request::new(Full::new(body));
    *wire.method_mut() = Method::POST;
    *wire.headers_mut() = headers;
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION] {
        wire.headers_mut().remove(name);
    }
    wire
}

/// What is told of an exchange that ended just now.
fn outcome_of(answer: Result<&WireResponse, ErrorKind>, progress: &mut Progress) -> Outcome {
    let (duration, phases) = progress.finish();
    let retry_after = answer.ok().and_then(|head| retry_after::of_response(head.status(), head.headers()));
    Outcome { result: answer.map(|head| head.status().as_u16()), duration, phases, peer: progress.peer, retry_after }
}

async fn exchange_on(
    mut connection: Box<Connection>,
    url: &Url,
    mut wire: WireRequest,
    progress: &mut Progress,
) -> Result<(WireResponse, Box<Connection>), Failure> {
    progress.enter(Stage::Exchange);
    progress.peer = Some(connection.peer);
    let target = &url[Position::BeforePath..Position::AfterQuery];
    if connection.target.path_and_query().map(http::uri::PathAndQuery::as_str) != Some(target) {
        let target = if connection.forwarded.is_some() { whole_target_of(url) } else { target_of(url) };
        connection.target = target.ok_or(Failure { kind: ErrorKind::Blocked, unsent: None, tls: None })?;
    }
    *wire.uri_mut() = connection.target.clone();
    wire.headers_mut().insert(HOST, connection.host.clone());
    if let Some(value) = connection.forwarded.as_ref().and_then(|forwarded| forwarded.authorization.as_ref()) {
        wire.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
    }
    let response = connection.exchange(wire).await.inspect_err(|failed| {
        progress.note(|trace| trace.tls_failure = failed.tls);
    })?;
    progress.first_byte();
    Ok((response, connection))
}

/// The path and query as a request line has them.
fn target_of(url: &Url) -> Option<Uri> {
    Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).ok()
}

/// The same for a proxy that hands the request on (RFC 9112, section 3.2.2).
fn whole_target_of(url: &Url) -> Option<Uri> {
    Uri::try_from(&url[..Position::AfterQuery]).ok()
}

#[cfg(test)]
mod tests;
