//! From a URL to a connection: resolve, judge, connect, secure.
//!
//! It does not look at the pool and sends no byte of a request. Its invariant: the address that
//! is dialled is one that the policy has just permitted, and when one address of a name is
//! denied, none is dialled.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::connection::{Connection, Origin, Stream, is_tls};
use super::probe::{Session, TlsFailure, Trace, Unreached, Unresolved};
use super::resolve::Resolver;
use super::tls::{TlsProfile, connector_for};
use super::{Settings, Slot, UrlProblem};
use crate::domain::attempt::{ErrorKind, Phases};

/// The longest that one address is waited for.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A name server that is near answers sooner, and nothing need be handed to and fro.
const LEND_AFTER: Duration = Duration::from_millis(50);

/// All addresses of a name are judged, so many are tried.
const ADDRESSES_MAX: usize = 8;

/// How far an attempt has come, kept outside of it so that it survives the deadline.
pub(super) struct Progress {
    started: Instant,
    stage: Stage,
    stage_started: Instant,
    phases: Phases,
    pub(super) peer: Option<SocketAddr>,
    /// What the steps meet, for those who want to know.
    trace: Option<Box<Trace>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Before,
    Resolve,
    Connect,
    Secure,
    Exchange,
}

impl Progress {
    pub(super) fn start(now: Instant) -> Self {
        let (stage, phases) = (Stage::Before, Phases::default());
        Self { started: now, stage, stage_started: now, phases, peer: None, trace: None }
    }

    /// Keeps what the steps meet.
    pub(super) fn tracing(now: Instant) -> Self {
        Self { trace: Some(Box::default()), ..Self::start(now) }
    }

    /// Notes something, if somebody wants to know.
    pub(super) fn note(&mut self, what: impl FnOnce(&mut Trace)) {
        if let Some(trace) = &mut self.trace {
            what(trace);
        }
    }

    pub(super) fn into_trace(self) -> Trace {
        self.trace.map(|trace| *trace).unwrap_or_default()
    }

    pub(super) fn enter(&mut self, stage: Stage) {
        let now = Instant::now();
        self.close_stage(now);
        (self.stage, self.stage_started) = (stage, now);
    }

    /// The status line was read just now.
    pub(super) fn first_byte(&mut self) {
        self.phases.first_byte = Some(self.stage_started.elapsed());
    }

    /// The whole duration and the phases. A phase that failed or was cut off counts for the time
    /// it took; the wait for a first byte that never came does not.
    pub(super) fn finish(&mut self) -> (Duration, Phases) {
        let now = Instant::now();
        self.close_stage(now);
        (now - self.started, self.phases)
    }

    /// What running out of time means at this stage.
    pub(super) fn late(&self) -> ErrorKind {
        match self.stage {
            Stage::Resolve => ErrorKind::Dns,
            Stage::Connect => ErrorKind::ConnectTimeout,
            Stage::Before | Stage::Secure | Stage::Exchange => ErrorKind::Timeout,
        }
    }

    fn close_stage(&mut self, now: Instant) {
        let took = Some(now - self.stage_started);
        match self.stage {
            Stage::Resolve => self.phases.dns = took,
            Stage::Connect => self.phases.connect = took,
            Stage::Secure => self.phases.tls = took,
            Stage::Before | Stage::Exchange => {}
        }
    }
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// Has passed [`super::check::shape`].
    pub(super) url: &'a Url,
    pub(super) tls: Option<&'a TlsProfile>,
    pub(super) slot: Option<&'a dyn Slot>,
}

/// A fresh connection to the origin of the URL.
pub(super) async fn dial(
    to: Destination<'_>,
    settings: &Settings,
    resolver: &Resolver,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<Box<Connection>, ErrorKind> {
    let Destination { url, tls, slot } = to;
    let origin = Origin::of(url, tls).ok_or(ErrorKind::Blocked)?;
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
    let host = host.map_err(|_| ErrorKind::Blocked)?;
    let addresses = permitted_addresses(url, slot, settings, resolver, progress).await?;
    progress.enter(Stage::Connect);
    let port = url.port_or_known_default().ok_or(ErrorKind::Blocked)?;
    let (tcp, peer) = connect_any(&addresses, port, deadline, progress).await?;
    // Without it the end of a request may wait for an acknowledgement. A failure costs only that.
    let _ = tcp.set_nodelay(true);
    let stream = if is_tls(url) {
        progress.enter(Stage::Secure);
        secure(url, tls, tcp, settings, progress).await?
    } else {
        Stream::Plain(tcp)
    };
    Connection::start(stream, origin, peer, settings.generation, host).await
}

async fn permitted_addresses(
    url: &Url,
    slot: Option<&dyn Slot>,
    settings: &Settings,
    resolver: &Resolver,
    progress: &mut Progress,
) -> Result<Vec<IpAddr>, ErrorKind> {
    let addresses = match url.host().ok_or(ErrorKind::Blocked)? {
        // Literals are never resolved, so this is the only place that sees them.
        Host::Ipv4(ip) => vec![ip.into()],
        Host::Ipv6(ip) => vec![ip.into()],
        Host::Domain(name) => {
            progress.enter(Stage::Resolve);
            let found = look_up(name, slot, resolver).await;
            found.map_err(|why| {
                progress.note(|trace| trace.unresolved = Some(why));
                ErrorKind::Dns
            })?
        }
    };
    progress.note(|trace| trace.addresses.clone_from(&addresses));
    for ip in &addresses {
        if let Err(denied) = settings.policy.check(*ip) {
            tracing::warn!(host = url.host_str(), %denied, "the address is not dialled");
            progress.note(|trace| trace.denied = Some(denied_of(url, &addresses, settings)));
            return Err(ErrorKind::Blocked);
        }
    }
    Ok(addresses)
}

/// Addresses of a name. A place is kept over a quick answer only.
async fn look_up(name: &str, slot: Option<&dyn Slot>, resolver: &Resolver) -> Result<Vec<IpAddr>, Unresolved> {
    let mut lookup = std::pin::pin!(resolver.lookup(name));
    let Some(slot) = slot else { return lookup.await };
    if let Ok(found) = timeout(LEND_AFTER, lookup.as_mut()).await {
        return found;
    }
    slot.lend();
    let found = lookup.await;
    if found.is_ok() {
        slot.take_back().await;
    }
    found
}

/// All that is denied, in the words of a save.
fn denied_of(url: &Url, addresses: &[IpAddr], settings: &Settings) -> UrlProblem {
    let denied = addresses.iter().filter_map(|ip| settings.policy.check(*ip).err()).collect();
    UrlProblem::Denied { host: url.host_str().unwrap_or_default().to_owned(), denied }
}

/// Tries one address after another, each for a fair share of the time that is left.
async fn connect_any(
    addresses: &[IpAddr],
    port: u16,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<(TcpStream, SocketAddr), ErrorKind> {
    let count = addresses.len().min(ADDRESSES_MAX);
    let mut failure = ErrorKind::Refused;
    for (ip, left) in addresses.iter().zip((1..=count).rev()) {
        // Judged as this address, so dialled as this address.
        let peer = SocketAddr::new(ip.to_canonical(), port);
        progress.peer = Some(peer);
        let remaining = deadline.saturating_duration_since(Instant::now());
        // `left` is at most ADDRESSES_MAX.
        let share = (remaining / u32::try_from(left).unwrap_or(u32::MAX)).min(CONNECT_MAX);
        let why = match timeout(share, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => return Ok((stream, peer)),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "not connected");
                Unreached::from(error.kind())
            }
            Err(_) => Unreached::NoAnswer,
        };
        if why == Unreached::NoAnswer {
            failure = ErrorKind::ConnectTimeout;
        }
        progress.note(|trace| trace.unreached.push((peer, why)));
    }
    Err(failure)
}

async fn secure(
    url: &Url,
    profile: Option<&TlsProfile>,
    tcp: TcpStream,
    settings: &Settings,
    progress: &mut Progress,
) -> Result<Stream, ErrorKind> {
    let Some(mut connector) = connector_for(&settings.trust, profile).await else {
        progress.note(|trace| trace.tls_failure = Some(TlsFailure::NoRoots));
        return Err(ErrorKind::Tls);
    };
    // A resumed session would say nothing of the certificate as it is now.
    progress.note(|_| connector = without_resumption(&connector));
    let name = match url.host().ok_or(ErrorKind::Blocked)? {
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(ip)),
        Host::Domain(name) => {
            // A trailing dot is DNS's way of writing; certificates do without it.
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name).map_err(|_| ErrorKind::Tls)?
        }
    };
    match connector.connect(name, tcp).await {
        Ok(stream) => {
            progress.note(|trace| trace.session = Some(Session::of(stream.get_ref().1)));
            Ok(Stream::Tls(Box::new(stream)))
        }
        Err(error) => {
            tracing::debug!(host = url.host_str(), %error, "no TLS");
            progress.note(|trace| trace.tls_failure = Some(TlsFailure::of_io(&error)));
            Err(ErrorKind::Tls)
        }
    }
}

fn without_resumption(connector: &TlsConnector) -> TlsConnector {
    let mut config = rustls::ClientConfig::clone(connector.config());
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(std::sync::Arc::new(config))
}
