//! One HTTP/1.1 connection and the exchanges on it.
//!
//! The connection is driven by whoever uses it, not by a task of its own: dropping it closes it
//! at once, and an exchange costs no hop between tasks. It does not dial, pool or retry. Its
//! invariant: one exchange reads at most [`READ_MAX`] bytes from the socket, whatever comes.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use url::Url;

use super::probe::TlsFailure;
use super::tls::TlsProfile;
use crate::domain::attempt::ErrorKind;

/// The longest response head, and the longest body that is read to keep a connection, in bytes.
pub(super) const PART_MAX: usize = 64 * 1024;

/// Head and body, with room for chunk lines and interim responses.
const READ_MAX: usize = 3 * PART_MAX;

pub(super) type WireRequest = http::Request<Full<Bytes>>;
pub(super) type WireResponse = http::Response<Incoming>;

/// Where a connection leads, for its reuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    tls: bool,
    host: Box<str>,
    port: u16,
    /// Whom it trusted and what it showed; kept alive here, so that no other can be taken for it.
    profile: Option<TlsProfile>,
}

impl Origin {
    pub(super) fn of(url: &Url, profile: Option<&TlsProfile>) -> Option<Self> {
        let (host, port) = (url.host_str()?.into(), url.port_or_known_default()?);
        Some(Self { tls: is_tls(url), host, port, profile: profile.cloned() })
    }

    pub(super) fn serves(&self, url: &Url, profile: Option<&TlsProfile>) -> bool {
        self.tls == is_tls(url)
            && Some(self.port) == url.port_or_known_default()
            && url.host_str() == Some(&*self.host)
            && self.profile.as_ref() == profile
    }
}

pub(super) fn is_tls(url: &Url) -> bool {
    url.scheme() == "https"
}

pub(super) struct Connection {
    pub(super) origin: Origin,
    pub(super) peer: SocketAddr,
    /// Of the settings under which it was dialled.
    pub(super) generation: u64,
    /// The `Host` header of this origin.
    pub(super) host: HeaderValue,
    /// The request target last used; a webhook has but one.
    pub(super) target: Uri,
    /// Set when whole requests go to a proxy, which hands them on.
    pub(super) forwarded: Option<Forwarded>,
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended: it must not be polled again.
    driver: Option<http1::Connection<TokioIo<Metered>, Full<Bytes>>>,
    /// Bytes read since the exchange began.
    read: Arc<AtomicUsize>,
}

/// What a proxy that hands requests on is told with each.
#[derive(Clone)]
pub(super) struct Forwarded {
    /// `Proxy-Authorization`.
    pub(super) authorization: Option<HeaderValue>,
}

/// Why there was no response.
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    /// The request, when not one byte of it was sent.
    pub(super) unsent: Option<WireRequest>,
    /// Why the receiver ended the TLS session, if it did.
    pub(super) tls: Option<TlsFailure>,
}

impl Connection {
    /// Starts HTTP on a stream. Nothing is sent yet.
    pub(super) async fn start(
        stream: Stream,
        origin: Origin,
        peer: SocketAddr,
        generation: u64,
        host: HeaderValue,
        forwarded: Option<Forwarded>,
    ) -> Result<Box<Self>, ErrorKind> {
        let read = Arc::new(AtomicUsize::new(0));
        let io = TokioIo::new(Metered::new(stream, Arc::clone(&read)));
        // `Webhook-Id` rather than `webhook-id`: the same to HTTP, and not to every receiver.
        let handshake = http1::Builder::new().max_buf_size(PART_MAX).title_case_headers(true).handshake(io).await;
        let (sender, driver) = handshake.map_err(|_| ErrorKind::Reset)?;
        let (target, driver) = (Uri::default(), Some(driver));
        Ok(Box::new(Self { origin, peer, generation, host, target, forwarded, sender, driver, read }))
    }

    /// Sends the request and waits for the head of the response, without a time limit of its own.
    pub(super) async fn exchange(&mut self, request: WireRequest) -> Result<WireResponse, Failure> {
        self.read.store(0, Ordering::Relaxed);
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        let answer = std::future::poll_fn(|cx| {
            poll_driver(driver, cx);
            answer.as_mut().poll(cx)
        });
        let mut error = match answer.await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let (unsent, error) = (error.take_message(), error.into_error());
        tracing::debug!(%error, "no response");
        let kind = self.classify(&error);
        Err(Failure { kind, unsent, tls: io_cause(&error).filter(|_| kind == ErrorKind::Tls).map(TlsFailure::of_io) })
    }

    fn classify(&self, error: &hyper::Error) -> ErrorKind {
        let read = self.read.load(Ordering::Relaxed);
        // Cancelled with bytes read: the peer spoke before it was asked.
        if error.is_parse() || read >= READ_MAX || (error.is_canceled() && read > 0) {
            return ErrorKind::BadResponse;
        }
        if io_cause(error).is_some_and(|cause| cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())) {
            return ErrorKind::Tls;
        }
        ErrorKind::Reset
    }

    /// Whether the connection has come to rest and can take the next request.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        poll_driver(&mut self.driver, cx);
        if self.driver.is_none() {
            Poll::Ready(false)
        } else if self.sender.is_ready() {
            Poll::Ready(true)
        } else {
            Poll::Pending
        }
    }
}

type Driver = http1::Connection<TokioIo<Metered>, Full<Bytes>>;

fn poll_driver(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    let ended = driver.as_mut().is_some_and(|running| Pin::new(running).poll(cx).is_ready());
    if ended {
        // Dropped now, so that a request still queued in it comes back to its sender.
        *driver = None;
    }
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// Reads a response body to its end, so that the connection can be used again.
///
/// Ends by itself when the body is complete, longer than the limit, or broken; time is the
/// caller's to limit.
pub(super) struct Drain {
    connection: Option<Box<Connection>>,
    body: Incoming,
    left: usize,
    kept: Option<Vec<u8>>,
    complete: bool,
}

/// What came of reading a body.
pub(super) struct Drained {
    /// The connection, when it can be used again.
    pub(super) reusable: Option<Box<Connection>>,
    /// The bytes, when they were to be kept and all of them came.
    pub(super) body: Option<Bytes>,
}

impl Drain {
    /// Throws the body away; `None`, which closes the connection, when it says itself that it is
    /// too long.
    pub(super) fn discarding(connection: Box<Connection>, body: Incoming) -> Option<Self> {
        let declared = body.size_hint().lower();
        (declared <= PART_MAX as u64).then(|| Self::new(connection, body, PART_MAX, None))
    }

    /// Keeps the body, up to `max` bytes.
    pub(super) fn keeping(connection: Box<Connection>, body: Incoming, max: usize) -> Self {
        Self::new(connection, body, max.min(PART_MAX), Some(Vec::new()))
    }

    fn new(connection: Box<Connection>, body: Incoming, left: usize, kept: Option<Vec<u8>>) -> Self {
        Self { connection: Some(connection), body, left, kept, complete: false }
    }

    /// Ready with whether the body came to its end within the limit.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(left) = self.left.checked_sub(data.remaining()) else { return Poll::Ready(false) };
                    self.left = left;
                    if let Some(kept) = &mut self.kept {
                        kept.extend_from_slice(&data);
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn end(&mut self, reusable: bool) -> Poll<Drained> {
        let reusable = self.connection.take().filter(|_| reusable);
        let body = self.kept.take().filter(|_| self.complete).map(Bytes::from);
        Poll::Ready(Drained { reusable, body })
    }
}

impl Future for Drain {
    type Output = Drained;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        let this = &mut *self;
        // What the driver reads, the body has to take before the driver reads on.
        while !this.complete {
            match this.poll_body(cx) {
                Poll::Ready(false) => return this.end(false),
                Poll::Ready(true) => this.complete = true,
                Poll::Pending => {
                    let Some(connection) = &mut this.connection else { return this.end(false) };
                    let ended = connection.driver.is_none();
                    poll_driver(&mut connection.driver, cx);
                    match this.poll_body(cx) {
                        Poll::Ready(false) => return this.end(false),
                        Poll::Ready(true) => this.complete = true,
                        Poll::Pending if ended => return this.end(false),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
        let Some(connection) = &mut this.connection else { return this.end(false) };
        let reusable = ready!(connection.poll_rest(cx));
        this.end(reusable)
    }
}

/// The bytes below HTTP.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Through a proxy.
    Tunnelled(Box<TlsStream<Stream>>),
}

/// A stream that stops reading when an exchange has read more than any honest one needs. This is
/// what ends a flood of interim responses, each of which is short.
pub(super) struct Metered {
    stream: Stream,
    read: Arc<AtomicUsize>,
}

impl Metered {
    pub(super) const fn new(stream: Stream, read: Arc<AtomicUsize>) -> Self {
        Self { stream, read }
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let already = this.read.load(Ordering::Relaxed);
        if already >= READ_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the response is too long")));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.read.store(already + buf.filled().len() - before, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnelled(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tunnelled(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnelled(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnelled(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tunnelled(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Tunnelled(stream) => stream.is_write_vectored(),
        }
    }
}
