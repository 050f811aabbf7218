//! From a URL to a connection: resolve, judge, connect, secure.
//!
//! It does not look at the pool and sends no byte of a request. Its invariant: the address that
//! is dialled is one that the policy has just permitted, and when one address of a name is
//! denied, none is dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::{Host, Position, Url};

use super::Settings;
use super::connection::{Connection, Origin, Stream, is_tls};
use super::resolve::Resolver;
use crate::domain::attempt::{ErrorKind, Phases};

/// The longest that one address is waited for.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// All addresses of a name are judged, so many are tried.
const ADDRESSES_MAX: usize = 8;

/// How far an attempt has come, kept outside of it so that it survives the deadline.
pub(super) struct Progress {
    started: Instant,
    stage: Stage,
    stage_started: Instant,
    phases: Phases,
    pub(super) peer: Option<SocketAddr>,
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
        Self { started: now, stage: Stage::Before, stage_started: now, phases: Phases::default(), peer: None }
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

/// A fresh connection to the origin of `url`, which has passed [`super::check::shape`].
pub(super) async fn dial(
    url: &Url,
    settings: &Settings,
    resolver: &Resolver,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<Box<Connection>, ErrorKind> {
    let origin = Origin::of(url).ok_or(ErrorKind::Blocked)?;
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
    let host = host.map_err(|_| ErrorKind::Blocked)?;
    let addresses = permitted_addresses(url, settings, resolver, progress).await?;
    progress.enter(Stage::Connect);
    let port = url.port_or_known_default().ok_or(ErrorKind::Blocked)?;
    let (tcp, peer) = connect_any(&addresses, port, deadline, progress).await?;
    // Without it the end of a request may wait for an acknowledgement. A failure costs only that.
    let _ = tcp.set_nodelay(true);
    let stream = if is_tls(url) {
        progress.enter(Stage::Secure);
        secure(url, tcp, settings).await?
    } else {
        Stream::Plain(tcp)
    };
    Connection::start(stream, origin, peer, settings.generation, host).await
}

async fn permitted_addresses(
    url: &Url,
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
            resolver.lookup(name).await.map_err(|_| ErrorKind::Dns)?
        }
    };
    for ip in &addresses {
        if let Err(denied) = settings.policy.check(*ip) {
            tracing::warn!(host = url.host_str(), %denied, "the address is not dialled");
            return Err(ErrorKind::Blocked);
        }
    }
    Ok(addresses)
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
        match timeout(share, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => return Ok((stream, peer)),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "not connected");
                if error.kind() == io::ErrorKind::TimedOut {
                    failure = ErrorKind::ConnectTimeout;
                }
            }
            Err(_) => failure = ErrorKind::ConnectTimeout,
        }
    }
    Err(failure)
}

async fn secure(url: &Url, tcp: TcpStream, settings: &Settings) -> Result<Stream, ErrorKind> {
    let connector = settings.tls.as_ref().ok_or(ErrorKind::Tls)?;
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
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => {
            tracing::debug!(host = url.host_str(), %error, "no TLS");
            Err(ErrorKind::Tls)
        }
    }
}
