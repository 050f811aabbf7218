//! The kinds of URL that a configuration file may hold: a mail server, and an HTTP server (a proxy, a collector).
//!
//! Only their form is checked; nothing is resolved or dialled.
//!
//! Invariant: a password in a URL is never part of what `Debug`, `Display` or a fault show.

use std::fmt;
use std::net::IpAddr;

use url::Url;

use super::nearest::nearest;
use super::problem::Fault;

/// Where mail is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SmtpUrl {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) implicit_tls: bool,
    pub(super) username: Option<String>,
}

impl SmtpUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let url = parse(text, &["smtp", "smtps"])?;
        if url.password().is_some() {
            return Err(Fault::new("a password does not belong in this file: put it in email.password_file"));
        }
        if url.username().contains('%') {
            return Err(Fault::new("a user with special characters goes into email.username"));
        }
        let implicit_tls = url.scheme() == "smtps";
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let host_is_sound = host.parse::<IpAddr>().is_ok()
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !host_is_sound {
            return Err(Fault::new("not the name or address of a host"));
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(if implicit_tls { 465 } else { 25 }),
            implicit_tls,
            username: Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned),
        })
    }
}

/// An HTTP server, without a path: the proxy, or the collector of spans. `Display` and `Debug` leave user and password out.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// The URL with user and password, for the HTTP client. Never show or log it.
    #[must_use]
    pub fn with_password(&self) -> &Url {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        parse(text, &["http", "https"]).map(Self)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self.0.as_str()))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

/// The text with everything before its last `@` left out except the scheme.
///
/// Works on malformed URLs too: those are just the ones that end up in an error message.
pub(super) fn masked(text: &str) -> String {
    let Some((secret, rest)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    match secret.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…@{rest}"),
        None => format!("…@{rest}"),
    }
}

fn parse(text: &str, schemes: &[&'static str]) -> Result<Url, Fault> {
    // The parser would silently trim and fix such text.
    if text.contains([' ', '\\']) {
        return Err(Fault::new("not a URL"));
    }
    let (scheme, _) = text.split_once("://").ok_or_else(|| Fault::new("not a URL"))?;
    if !schemes.contains(&scheme) {
        return Err(Fault {
            nearest: nearest(scheme, schemes.iter().copied()).map(|scheme| format!("{scheme}://")),
            ..Fault::new("unknown URL scheme")
        });
    }
    let url = Url::parse(text).map_err(|error| Fault::new(format!("not a URL ({error})")))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::new("the host is missing"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new("nothing may follow the host and port"));
    }
    if url.port() == Some(0) {
        return Err(Fault::new("port 0 cannot be dialled"));
    }
    Ok(url)
}
