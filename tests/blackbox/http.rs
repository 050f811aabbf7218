//! The few HTTP verbs the suite needs, straight on hyper: a keep-alive connection over TCP or a Unix socket.
//!
//! No pool and no retries: a client that quietly sends a request twice would hide the very duplicates we count.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {} with a body that is no JSON: {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(400)]).into_owned()
    }
}

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn tcp(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    pub(crate) async fn unix(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).await.with_context(|| format!("connect to {}", path.display()))?;
        Self::over(stream).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself once the sender is dropped or the peer goes away; the sender reports the error.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender })
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.context("no answer in 20 s")?
    }
}

/// One request to the admin socket on a connection of its own.
pub(crate) async fn admin(socket: &Path, method: &str, path: &str, body: Option<&str>) -> anyhow::Result<Reply> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.unwrap_or_default().to_owned())))?;
    Connection::unix(socket).await?.send(request).await
}
