//! HTTP/1.1 on a bare socket, for the two ends of a benchmark.
//!
//! Load generator and receiver run on the processors of the daemon that they measure, so each microsecond of theirs is missing from its
//! figure. One request at a time on a connection that stays open, its bytes made before; a head is parsed by `httparse`, and a body is
//! what its `content-length` says. Anything else is an error, so that nothing is counted that was not understood.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 64;
/// Larger than a message of these benchmarks: a read that does not fill it tells that there is nothing more, without another one.
const BUFFER: usize = 16 * 1024;

/// A connection, and what was read from it and not used yet.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// What a message was, and its body.
pub(crate) struct Message<T> {
    pub(crate) what: T,
    pub(crate) body: Bytes,
    /// When its first byte had come.
    pub(crate) first_byte: Instant,
}

/// A head that is complete.
struct Head<T> {
    what: T,
    bytes: usize,
    body_bytes: usize,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?)
    }

    pub(crate) fn over(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(BUFFER) })
    }

    pub(crate) async fn write(&mut self, message: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(message).await?)
    }

    /// The status of an answer.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<Message<u16>> {
        let answer = self.message(|bytes| {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut answer = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(bytes) = answer.parse(bytes)? else { return Ok(None) };
            let what = answer.code.context("an answer without a status")?;
            Ok(Some(Head { what, bytes, body_bytes: body_bytes(answer.headers)? }))
        });
        answer.await?.context("closed before the answer was complete")
    }

    /// The `webhook-id` of a request; `None` when there are no more.
    pub(crate) async fn request(&mut self) -> anyhow::Result<Option<Message<String>>> {
        self.message(|bytes| {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut headers);
            let httparse::Status::Complete(bytes) = request.parse(bytes)? else { return Ok(None) };
            let id = value(request.headers, "webhook-id").unwrap_or_default();
            let what = std::str::from_utf8(id)?.to_owned();
            Ok(Some(Head { what, bytes, body_bytes: body_bytes(request.headers)? }))
        })
        .await
    }

    async fn message<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> anyhow::Result<Option<Head<T>>>,
    ) -> anyhow::Result<Option<Message<T>>> {
        let mut first_byte = (!self.buffer.is_empty()).then(Instant::now);
        let mut head: Option<Head<T>> = None;
        loop {
            if head.is_none() && !self.buffer.is_empty() {
                head = parse(&self.buffer)?;
            }
            if let Some(known) = head.take_if(|known| self.buffer.len() >= known.bytes + known.body_bytes) {
                self.buffer.advance(known.bytes);
                let body = self.buffer.split_to(known.body_bytes).freeze();
                return Ok(Some(Message {
                    what: known.what,
                    body,
                    first_byte: first_byte.unwrap_or_else(Instant::now),
                }));
            }
            self.buffer.reserve(BUFFER);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                anyhow::ensure!(self.buffer.is_empty(), "closed within a message");
                return Ok(None);
            }
            first_byte.get_or_insert_with(Instant::now);
        }
    }
}

fn value<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn body_bytes(headers: &[httparse::Header<'_>]) -> anyhow::Result<usize> {
    let length = value(headers, "content-length").context("a message without a content-length")?;
    Ok(std::str::from_utf8(length)?.parse()?)
}
