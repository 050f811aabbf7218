//! What makes a URL unfit for a webhook, said in words that help.
//!
//! It judges a URL when it is saved; it is a courtesy, not the guard: names change their
//! addresses, so every dial judges again. Its invariant: it never connects.

use std::net::IpAddr;

use tokio::time::timeout;
use url::{Host, Url};

use super::Settings;
use super::resolve::Resolver;
use crate::domain::address::Denied;

/// How long a save waits for a name.
const LOOKUP_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// Why a URL cannot be a receiver's. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum UrlProblem {
    /// Neither `http` nor `https`.
    #[error("the scheme of a receiver's URL is http or https, not {0}")]
    Scheme(String),
    /// `http`, which the configuration forbids.
    #[error("plain http is switched off; use https, or set in the configuration: [egress] allow_http = true")]
    PlainHttp,
    /// There is no host in it.
    #[error("the URL names no host")]
    NoHost,
    /// A user name or password in the URL.
    #[error("the URL holds a user name or a password, which would show in logs; use a secret Authorization header")]
    UserInfo,
    /// Port 0.
    #[error("nothing listens on port 0; name the receiver's port, or leave it out")]
    PortZero,
    /// The path or the query cannot be written in an HTTP request.
    #[error("the path or the query holds characters that HTTP does not permit; percent-encode them")]
    Target,
    /// The address policy forbids an address of the host. All that it forbids are listed.
    #[error("{host}: {}", Denied::explain(.denied))]
    Denied {
        /// The host as in the URL.
        host: String,
        /// At least one.
        denied: Vec<Denied>,
    },
}

/// Whether the URL can be dialled at all, its addresses aside.
pub(super) fn shape(url: &Url, allow_http: bool) -> Result<(), UrlProblem> {
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => return Err(UrlProblem::PlainHttp),
        other => return Err(UrlProblem::Scheme(other.to_owned())),
    }
    if url.host_str().is_none_or(str::is_empty) {
        Err(UrlProblem::NoHost)
    } else if !url.username().is_empty() || url.password().is_some() {
        Err(UrlProblem::UserInfo)
    } else if url.port() == Some(0) {
        Err(UrlProblem::PortZero)
    } else {
        Ok(())
    }
}

/// [`shape`], and the addresses as far as they can be known now.
pub(super) async fn check_url(url: &Url, settings: &Settings, resolver: &Resolver) -> Result<(), UrlProblem> {
    shape(url, settings.allow_http)?;
    super::target_of(url).ok_or(UrlProblem::Target)?;
    let addresses: Vec<IpAddr> = match url.host().ok_or(UrlProblem::NoHost)? {
        Host::Ipv4(ip) => vec![ip.into()],
        Host::Ipv6(ip) => vec![ip.into()],
        // The proxy's to resolve, and to judge.
        Host::Domain(_) if settings.proxy.is_some() => Vec::new(),
        // A name that does not resolve today may do so when it matters.
        Host::Domain(name) => match timeout(LOOKUP_MAX, resolver.lookup(name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
    };
    let denied: Vec<_> = addresses.iter().filter_map(|ip| settings.policy.check(*ip).err()).collect();
    if denied.is_empty() {
        return Ok(());
    }
    Err(UrlProblem::Denied { host: url.host_str().unwrap_or_default().to_owned(), denied })
}
