//! Names to addresses.
//!
//! It answers from `/etc/hosts` first and from DNS after that, as the system is configured. It
//! does not judge addresses: whoever dials must check every address it returns. Its invariant: a
//! lookup ends within [`LOOKUP_MAX`], and changed system files are noticed within
//! [`RECHECK_EVERY`], so that a daemon started before the network came up still finds its way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::{Instant, timeout};

use super::probe::Unresolved;

/// The longest a lookup takes, all name servers and search domains included.
pub(super) const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// How long one name server is waited for before the question is repeated.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(2);

const RECHECK_EVERY: Duration = Duration::from_secs(5);

/// Where addresses of names come from.
#[derive(Clone, Debug, Default)]
pub enum Names {
    /// `/etc/hosts` and the name servers of `/etc/resolv.conf`.
    #[default]
    System,
    /// `/etc/hosts` and these name servers, asked by UDP and TCP.
    Servers(Vec<SocketAddr>),
    /// Exactly these answers, by lower-case name; every other name fails. For tests.
    Fixed(HashMap<String, Vec<IpAddr>>),
}

pub(super) struct Resolver {
    names: Names,
    loaded: ArcSwap<Loaded>,
    checked_at: Mutex<Option<Instant>>,
}

/// The system's files as they were read.
struct Loaded {
    stamps: Stamps,
    hosts: Hosts,
    dns: Option<Dns>,
}

/// The name servers, by both ways to ask them.
///
/// A library that may choose soon asks everything on one TCP connection, because UDP looks worse with every name that is not
/// answered; on that connection, whoever waits for a dead zone holds up all others. So TCP is for what does not fit otherwise.
struct Dns {
    udp: TokioResolver,
    tcp: TokioResolver,
}

impl Dns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NetError> {
        match tokio::join!(self.of_kind(host, RecordType::A), self.of_kind(host, RecordType::AAAA)) {
            (Ok(mut found), Ok(more)) => {
                found.extend(more);
                Ok(found)
            }
            // IPv6 alone may be missing, and often is.
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            // No answer is not the same as an answer that there is nothing.
            (Err(none), Err(other)) if none.is_no_records_found() => Err(other),
            (Err(error), Err(_)) => Err(error),
        }
    }

    async fn of_kind(&self, host: &str, kind: RecordType) -> Result<Vec<IpAddr>, NetError> {
        let lookup = match self.udp.lookup(host, kind).await {
            Err(NetError::Truncated) => self.tcp.lookup(host, kind).await?,
            other => other?,
        };
        Ok(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
    }
}

/// Modification times of `/etc/resolv.conf` and `/etc/hosts`.
type Stamps = [Option<SystemTime>; 2];

impl Resolver {
    pub(super) fn new(names: Names) -> Self {
        let loaded = ArcSwap::from_pointee(Loaded::read(&names));
        Self { names, loaded, checked_at: Mutex::new(None) }
    }

    /// Every address of `host`, IPv4 first: a host that has both is almost always reachable by
    /// IPv4, while IPv6 that is announced but broken is common. Never empty.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let found = match &self.names {
            Names::Fixed(answers) => answers.get(host).cloned().unwrap_or_default(),
            Names::System | Names::Servers(_) => {
                timeout(LOOKUP_MAX, self.lookup_live(host)).await.map_err(|_| Unresolved::NoAnswer)??
            }
        };
        if found.is_empty() { Err(Unresolved::NoSuchName) } else { Ok(found) }
    }

    async fn lookup_live(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        self.notice_changes().await;
        let loaded = self.loaded.load_full();
        let listed = loaded.listed(host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let bare = host.strip_suffix('.').unwrap_or(host);
        if bare == "localhost" || bare.ends_with(".localhost") {
            // RFC 6761: never asked of a name server.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let dns = loaded.dns.as_ref().ok_or(Unresolved::NoServer)?;
        dns.addresses(host).await.map_err(|error| {
            tracing::debug!(host, %error, "the name did not resolve");
            match error {
                error if error.is_no_records_found() => Unresolved::NoSuchName,
                NetError::Timeout => Unresolved::NoAnswer,
                _ => Unresolved::Failed,
            }
        })
    }

    pub(super) fn has_servers(&self) -> bool {
        matches!(self.names, Names::Fixed(_)) || self.loaded.load().dns.is_some()
    }

    async fn notice_changes(&self) {
        if !self.recheck_is_due() {
            return;
        }
        let stamps = [stamp(RESOLV_CONF).await, stamp(HOSTS).await];
        if stamps == self.loaded.load().stamps {
            return;
        }
        let names = self.names.clone();
        if let Ok(loaded) = tokio::task::spawn_blocking(move || Loaded::read(&names)).await {
            self.loaded.store(Arc::new(loaded));
        }
    }

    fn recheck_is_due(&self) -> bool {
        let now = Instant::now();
        let mut checked_at = self.checked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if checked_at.is_some_and(|at| now < at + RECHECK_EVERY) {
            return false;
        }
        *checked_at = Some(now);
        true
    }
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

async fn stamp(path: &str) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()
}

fn stamp_now(path: &str) -> Option<SystemTime> {
    Path::new(path).metadata().ok()?.modified().ok()
}

impl Loaded {
    /// Reads the system's files; one that is missing or of no use counts as empty.
    fn read(names: &Names) -> Self {
        // The times come first: a change between the two is then noticed, not lost.
        let stamps = [stamp_now(RESOLV_CONF), stamp_now(HOSTS)];
        let hosts = Hosts::from_system().unwrap_or_default();
        let dns = match names {
            Names::System => system_dns(),
            Names::Servers(servers) => dns(ResolverConfig::from_parts(None, Vec::new(), name_servers(servers)), None),
            Names::Fixed(_) => return Self { stamps, hosts, dns: None },
        };
        let dns =
            dns.inspect_err(|error| tracing::warn!(%error, "no name server can be used; only /etc/hosts answers")).ok();
        Self { stamps, hosts, dns }
    }

    /// The addresses in the hosts file. A name that is listed there for one family only is not
    /// asked of DNS for the other, which is what the C library does too.
    fn listed(&self, host: &str) -> Vec<IpAddr> {
        // The file's names were put in lower case when read; those of a URL are already.
        let Ok(name) = Name::from_ascii(host) else { return Vec::new() };
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }
}

fn system_dns() -> Result<Dns, NetError> {
    let (config, options) = system_conf::read_system_conf()?;
    let (domain, search, servers) = config.into_parts();
    // As in the C library, a search list replaces the domain guessed from the host's own name.
    let domain = domain.filter(|_| search.is_empty());
    dns(ResolverConfig::from_parts(domain, search, servers), Some(options))
}

fn name_servers(servers: &[SocketAddr]) -> Vec<NameServerConfig> {
    let server = |at: &SocketAddr| {
        let ported = |mut connection: ConnectionConfig| {
            connection.port = at.port();
            connection
        };
        let mut server = NameServerConfig::udp_and_tcp(at.ip());
        server.connections = vec![ported(ConnectionConfig::udp()), ported(ConnectionConfig::tcp())];
        server
    };
    servers.iter().map(server).collect()
}

fn dns(config: ResolverConfig, options: Option<ResolverOpts>) -> Result<Dns, NetError> {
    let options = options.unwrap_or_default();
    let (domain, search, servers) = config.into_parts();
    let by = |is_wanted: fn(&ProtocolConfig) -> bool| {
        let mut servers = servers.clone();
        for server in &mut servers {
            server.connections.retain(|connection| is_wanted(&connection.protocol));
        }
        resolver(ResolverConfig::from_parts(domain.clone(), search.clone(), servers), options.clone())
    };
    let udp = by(|protocol| matches!(protocol, ProtocolConfig::Udp))?;
    let tcp = by(|protocol| matches!(protocol, ProtocolConfig::Tcp))?;
    Ok(Dns { udp, tcp })
}

fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    options.timeout = options.timeout.min(SERVER_WAIT_MAX);
    // `Loaded::listed` has looked there, and does not fall through for the missing family.
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = 1024;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}
