//! The connector against receivers on loopback that behave, and that do not.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

mod blocked;
mod profile;
mod proxy;
#[path = "../../../tests/rows.rs"]
pub(super) mod rows;
mod tls;
mod wire;

const KEY: u64 = 7;
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

fn loopback() -> AddressPolicy {
    AddressPolicy::new(["127.0.0.0/8".parse().unwrap()])
}

fn egress() -> Egress {
    Egress::new(EgressOptions { policy: loopback(), ..EgressOptions::default() }).unwrap()
}

fn fixed(answers: &[(&str, &[&str])]) -> Names {
    let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
    Names::Fixed(answers.iter().map(|(name, at)| ((*name).to_owned(), ips(at))).collect::<HashMap<_, _>>())
}

fn post(url: &str, timeout: Duration) -> Request {
    Request {
        url: Url::parse(url).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{\"a\":1}"),
        timeout,
        tls: None,
        slot: None,
    }
}

/// A receiver that hands every accepted connection to the test.
struct Receiver {
    at: SocketAddr,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
    count: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { at, accepted, count }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    async fn accept(&mut self) -> TcpStream {
        timeout(LONG, self.accepted.recv()).await.expect("nobody connected").unwrap()
    }

    fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// Reads one request with a `Content-Length`; `None` at the end of the stream.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        if let Some(head_end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..head_end]).to_ascii_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.lines().next().unwrap_or_default().trim().parse().unwrap());
            if seen.len() >= head_end + 4 + length {
                return Some(String::from_utf8(seen).unwrap());
            }
        }
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers every request on every connection with the same bytes, and counts the requests.
async fn answering(answer: impl Into<Vec<u8>>) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let mut receiver = Receiver::start().await;
    let (answer, requests) = (Arc::new(answer.into()), Arc::new(Mutex::new(Vec::new())));
    let (_, closed) = mpsc::unbounded_channel();
    let mut accepted = std::mem::replace(&mut receiver.accepted, closed);
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Some(mut stream) = accepted.recv().await {
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    seen.lock().unwrap().push(request);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (receiver, requests)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// `head` and then `piece` for ever.
async fn endless(head: &'static str, piece: &'static [u8]) -> Receiver {
    let mut receiver = Receiver::start().await;
    let (_, closed) = mpsc::unbounded_channel();
    let mut accepted = std::mem::replace(&mut receiver.accepted, closed);
    tokio::spawn(async move {
        while let Some(mut stream) = accepted.recv().await {
            tokio::spawn(async move {
                read_request(&mut stream).await;
                if stream.write_all(head.as_bytes()).await.is_ok() {
                    while stream.write_all(piece).await.is_ok() {}
                }
            });
        }
    });
    receiver
}

/// Comes back after the reactor has seen what had happened on other sockets before.
async fn reactor_turn() {
    let mut receiver = Receiver::start().await;
    let mut ours = TcpStream::connect(receiver.at).await.unwrap();
    for _ in 0..3 {
        let mut theirs = receiver.accept().await;
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'x');
        ours = TcpStream::connect(receiver.at).await.unwrap();
    }
}

fn temporary_file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}
