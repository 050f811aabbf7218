//! The way out by way of a proxy, when the configuration names one.
//!
//! An `https` receiver is reached through a tunnel (`CONNECT`, RFC 9110 section 9.3.6), so that the proxy sees a name and a port and
//! nothing else; an `http` receiver by handing the proxy the whole request (RFC 9112 section 3.2.2). The proxy resolves names
//! and decides what may be reached. It does not judge addresses, time out or pool. Its invariant: user and password of the proxy
//! go to the proxy only, and are in no text that it makes.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Method, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use url::{Host, Position, Url};

use super::connection::{Metered, PART_MAX, Stream};
use crate::domain::attempt::ErrorKind;

/// A proxy that all requests to receivers go through.
#[derive(Clone)]
pub struct Proxy {
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// Whether the proxy itself is spoken to in TLS.
    pub(super) tls: bool,
    /// `Basic` of user and password.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// From `http://[USER[:PASSWORD]@]HOST[:PORT]` or the same with `https`; `None` when it is anything else.
    #[must_use]
    pub fn new(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let port = url.port_or_known_default()?;
        Some(Self { host: url.host()?.to_owned(), port, tls, authorization: basic_authorization(url) })
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// `Basic` of a URL's user and password, percent-decoded; `None` when there is neither.
#[must_use]
pub fn basic_authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    // Base 64 is always a header value.
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Why the proxy made no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTunnel {
    /// It answered with this status code, which is not 2xx.
    Status(u16),
    /// It closed the connection.
    Closed,
    /// What answered is no HTTP proxy.
    NotAProxy,
}

impl NoTunnel {
    /// What it is to a delivery: none of them is the last word, since proxies are mended.
    pub(super) const fn kind(self) -> ErrorKind {
        match self {
            Self::Status(504) => ErrorKind::ConnectTimeout,
            Self::Status(_) => ErrorKind::Refused,
            Self::Closed => ErrorKind::Reset,
            Self::NotAProxy => ErrorKind::BadResponse,
        }
    }
}

impl fmt::Display for NoTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Some say 401 to a password that is wrong.
            Self::Status(code @ (401 | 407)) => {
                write!(f, "{code}, the proxy wants a user and a password that it knows")
            }
            Self::Status(code @ (403 | 405)) => write!(f, "{code}, the proxy does not permit it"),
            Self::Status(code @ (502..=504)) => write!(f, "{code}, the proxy did not reach the receiver"),
            Self::Status(code) => write!(f, "{code}, the proxy made no tunnel"),
            Self::Closed => f.write_str("the proxy closed the connection"),
            Self::NotAProxy => f.write_str("what answered is no HTTP proxy"),
        }
    }
}

/// Asks the proxy at the other end of `stream` for a tunnel to the receiver of `url`; what is written to the stream that comes back
/// reaches that receiver.
pub(super) async fn tunnel(
    stream: Stream,
    url: &Url,
    authorization: Option<&HeaderValue>,
    agent: Option<&HeaderValue>,
) -> Result<Stream, NoTunnel> {
    let authority = format!(
        "{}:{}",
        &url[Position::BeforeHost..Position::AfterHost],
        url.port_or_known_default().unwrap_or_default()
    );
    let request = request_of(&authority, authorization, agent).ok_or(NoTunnel::NotAProxy)?;
    let io = TokioIo::new(Metered::new(stream, Arc::new(AtomicUsize::new(0))));
    let builder = http1::Builder::new().max_buf_size(PART_MAX).title_case_headers(true).handshake(io).await;
    let (mut sender, mut driver) = builder.map_err(|_| NoTunnel::Closed)?;
    let mut answer = pin!(sender.send_request(request));
    let mut ended = false;
    let response = poll_fn(|cx| {
        ended = ended || Pin::new(&mut driver).poll(cx).is_ready();
        answer.as_mut().poll(cx)
    });
    let response = response.await.map_err(|error| {
        tracing::debug!(%error, "no tunnel");
        if error.is_parse() { NoTunnel::NotAProxy } else { NoTunnel::Closed }
    })?;
    if !response.status().is_success() {
        return Err(NoTunnel::Status(response.status().as_u16()));
    }
    // It lets go of the stream when the head of the answer is read.
    poll_fn(|cx| if ended { Poll::Ready(()) } else { Pin::new(&mut driver).poll(cx).map(drop) }).await;
    let parts = driver.into_parts();
    // A receiver that speaks before it is asked is none.
    if parts.read_buf.is_empty() { Ok(parts.io.into_inner().into_stream()) } else { Err(NoTunnel::NotAProxy) }
}

fn request_of(
    authority: &str,
    authorization: Option<&HeaderValue>,
    agent: Option<&HeaderValue>,
) -> Option<http::Request<Empty<Bytes>>> {
    let mut request = http::Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::builder().authority(authority).build().ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(authority).ok()?);
    if let Some(agent) = agent {
        headers.insert(USER_AGENT, agent.clone());
    }
    if let Some(value) = authorization {
        headers.insert(PROXY_AUTHORIZATION, value.clone());
    }
    Some(request)
}
