//! From a URL to a connection: resolve, judge, connect, secure.
//!
//! It does not look at the pool and sends no byte of a request. Its invariant: the address that
//! is dialled is one that the policy has just permitted, or the proxy's, and when one address of a name is
//! denied, none is dialled.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Position, Url};

use super::connection::{Connection, Forwarded, Origin, Stream, is_tls};
use super::probe::{Session, TlsFailure, Trace, Unreached, Unresolved};
use super::proxy::{Proxy, tunnel};
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
        let took = now - self.stage_started;
        let phase = match self.stage {
            Stage::Resolve => &mut self.phases.dns,
            Stage::Connect => &mut self.phases.connect,
            Stage::Secure => &mut self.phases.tls,
            Stage::Before | Stage::Exchange => return,
        };
        // By way of a proxy, a phase may come twice.
        *phase = Some(phase.unwrap_or_default() + took);
    }
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// Has passed [`super::check::shape`].
    pub(super) url: &'a Url,
    pub(super) tls: Option<&'a TlsProfile>,
    pub(super) slot: Option<&'a dyn Slot>,
    /// What a proxy is told of who asks.
    pub(super) agent: Option<&'a HeaderValue>,
}

/// A fresh connection to the origin of the URL.
pub(super) async fn dial(
    to: Destination<'_>,
    settings: &Settings,
    resolver: &Resolver,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<Box<Connection>, ErrorKind> {
    let Destination { url, tls, slot, .. } = to;
    let origin = Origin::of(url, tls).ok_or(ErrorKind::Blocked)?;
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
    let host = host.map_err(|_| ErrorKind::Blocked)?;
    let receiver = url.host().ok_or(ErrorKind::Blocked)?.to_owned();
    let (stream, peer, forwarded) = if let Some(proxy) = &settings.proxy {
        permitted(&receiver, &literal(&receiver), settings, progress)?;
        let (stream, peer) = reach(proxy, slot, settings, resolver, deadline, progress).await?;
        by_way_of(proxy, stream, peer, to, settings, progress).await?
    } else {
        let addresses = addresses_of(&receiver, slot, resolver, progress).await?;
        progress.note(|trace| trace.addresses.clone_from(&addresses));
        permitted(&receiver, &addresses, settings, progress)?;
        let port = url.port_or_known_default().ok_or(ErrorKind::Blocked)?;
        let (tcp, peer) = connect_any(&addresses, port, deadline, progress).await?;
        let stream = if is_tls(url) {
            progress.enter(Stage::Secure);
            Stream::Tls(Box::new(secure(&receiver, connector(tls, settings, progress).await?, tcp, progress).await?))
        } else {
            Stream::Plain(tcp)
        };
        (stream, peer, None)
    };
    Connection::start(stream, origin, peer, settings.generation, host, forwarded).await
}

/// A connection to the proxy. Its address is the operator's choice, and not judged.
async fn reach(
    proxy: &Proxy,
    slot: Option<&dyn Slot>,
    settings: &Settings,
    resolver: &Resolver,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<(Stream, SocketAddr), ErrorKind> {
    progress.note(|trace| trace.proxy = Some(proxy.to_string()));
    let addresses = addresses_of(&proxy.host, slot, resolver, progress).await?;
    let (tcp, peer) = connect_any(&addresses, proxy.port, deadline, progress).await?;
    if !proxy.tls {
        return Ok((Stream::Plain(tcp), peer));
    }
    let connector = connector(None, settings, progress).await?;
    Ok((Stream::Tls(Box::new(secure(&proxy.host, connector, tcp, progress).await?)), peer))
}

/// From a connection to the proxy to one that requests can be sent on.
async fn by_way_of(
    proxy: &Proxy,
    stream: Stream,
    peer: SocketAddr,
    to: Destination<'_>,
    settings: &Settings,
    progress: &mut Progress,
) -> Result<(Stream, SocketAddr, Option<Forwarded>), ErrorKind> {
    let Destination { url, tls, agent, .. } = to;
    if !is_tls(url) {
        return Ok((stream, peer, Some(Forwarded { authorization: proxy.authorization.clone() })));
    }
    progress.enter(Stage::Connect);
    let through = tunnel(stream, url, proxy.authorization.as_ref(), agent).await.map_err(|why| {
        tracing::warn!(host = url.host_str(), %proxy, %why, "the proxy made no tunnel");
        progress.note(|trace| trace.no_tunnel = Some(why));
        why.kind()
    })?;
    // What the proxy itself showed was not the receiver's.
    progress.note(|trace| trace.session = None);
    progress.enter(Stage::Secure);
    let receiver = url.host().ok_or(ErrorKind::Blocked)?.to_owned();
    let secured = secure(&receiver, connector(tls, settings, progress).await?, through, progress).await?;
    Ok((Stream::Tunnelled(Box::new(secured)), peer, None))
}

/// The address that a host is; none when it is a name.
fn literal(host: &Host<String>) -> Vec<IpAddr> {
    match host {
        // Literals are never resolved, so this is the only place that sees them.
        Host::Ipv4(ip) => vec![(*ip).into()],
        Host::Ipv6(ip) => vec![(*ip).into()],
        Host::Domain(_) => Vec::new(),
    }
}

async fn addresses_of(
    host: &Host<String>,
    slot: Option<&dyn Slot>,
    resolver: &Resolver,
    progress: &mut Progress,
) -> Result<Vec<IpAddr>, ErrorKind> {
    let Host::Domain(name) = host else { return Ok(literal(host)) };
    progress.enter(Stage::Resolve);
    look_up(name, slot, resolver).await.map_err(|why| {
        progress.note(|trace| trace.unresolved = Some(why));
        ErrorKind::Dns
    })
}

/// Whether each address may be dialled.
fn permitted(
    host: &Host<String>,
    addresses: &[IpAddr],
    settings: &Settings,
    progress: &mut Progress,
) -> Result<(), ErrorKind> {
    let denied: Vec<_> = addresses.iter().filter_map(|ip| settings.policy.check(*ip).err()).collect();
    let Some(first) = denied.first() else { return Ok(()) };
    tracing::warn!(%host, denied = %first, "the address is not dialled");
    // All that is denied, in the words of a save.
    progress.note(|trace| trace.denied = Some(UrlProblem::Denied { host: host.to_string(), denied }));
    Err(ErrorKind::Blocked)
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

/// Tries one address after another, each for a fair share of the time that is left.
async fn connect_any(
    addresses: &[IpAddr],
    port: u16,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<(TcpStream, SocketAddr), ErrorKind> {
    progress.enter(Stage::Connect);
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
            Ok(Ok(stream)) => {
                // Without it the end of a request may wait for an acknowledgement. A failure costs only that.
                let _ = stream.set_nodelay(true);
                return Ok((stream, peer));
            }
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

/// What a TLS session with a receiver, or with the proxy, is made by.
async fn connector(
    profile: Option<&TlsProfile>,
    settings: &Settings,
    progress: &mut Progress,
) -> Result<TlsConnector, ErrorKind> {
    let Some(mut connector) = connector_for(&settings.trust, profile).await else {
        progress.note(|trace| trace.tls_failure = Some(TlsFailure::NoRoots));
        return Err(ErrorKind::Tls);
    };
    // A resumed session would say nothing of the certificate as it is now.
    progress.note(|_| connector = without_resumption(&connector));
    Ok(connector)
}

async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    host: &Host<String>,
    connector: TlsConnector,
    stream: S,
    progress: &mut Progress,
) -> Result<TlsStream<S>, ErrorKind> {
    let name = match host {
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
        Host::Domain(name) => {
            // A trailing dot is DNS's way of writing; certificates do without it.
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name).map_err(|_| ErrorKind::Tls)?
        }
    };
    match connector.connect(name, stream).await {
        Ok(stream) => {
            progress.note(|trace| trace.session = Some(Session::of(stream.get_ref().1)));
            Ok(stream)
        }
        Err(error) => {
            tracing::debug!(%host, %error, "no TLS");
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
