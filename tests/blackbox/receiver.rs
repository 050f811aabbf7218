//! The program behind a webhook's URL: records every request, checks both signatures, misbehaves on order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ledger::{Sha, sha256};
use crate::rng::Rng;

/// A plain key: its UTF-8 bytes key both signatures.
pub(crate) const SIGNING_KEY: &str = "blackbox-signing-key-0123456789abcdef";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    Status(u16),
    /// 200, but late.
    Delay(Duration),
    /// Reads the request and never answers.
    Hang,
    /// Closes the connection in place of an answer.
    Reset,
    /// 503 for this share of the requests, else 200.
    Flaky(u64),
    /// 200, and the connection is not used again.
    Close,
}

#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) path: String,
    pub(crate) event_id: String,
    pub(crate) attempt: Option<u32>,
    /// `scanRef` as found in the body.
    pub(crate) reference: String,
    pub(crate) body: Sha,
    pub(crate) body_signature_ok: bool,
    pub(crate) standard_signature_ok: bool,
    pub(crate) received_at: Instant,
    /// What was answered; 0 for no answer.
    pub(crate) answered: u16,
}

#[derive(Default)]
struct Books {
    behaviours: HashMap<String, Behaviour>,
    receipts: Vec<Receipt>,
    /// Per path and event id, how often it was taken with a 2xx.
    taken: HashMap<String, HashMap<String, u32>>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
    /// Aborted on drop, with every connection it holds.
    _server: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start(rng: &Rng) -> anyhow::Result<Self> {
        Self::start_at(rng, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// On an address of this machine, on any free port.
    pub(crate) async fn start_at(rng: &Rng, address: IpAddr) -> anyhow::Result<Self> {
        Self::start_on(rng, SocketAddr::new(address, 0)).await
    }

    pub(crate) async fn start_on(rng: &Rng, address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let books = Arc::new(Mutex::new(Books::default()));
        let mut server = JoinSet::new();
        let shared = Shared { books: Arc::clone(&books), rng: Arc::new(Mutex::new(rng.fork(0x5EC7))) };
        server.spawn(serve(listener, shared));
        Ok(Self { address, books, _server: server })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn behave(&self, path: &str, behaviour: Behaviour) {
        lock(&self.books).behaviours.insert(path.to_owned(), behaviour);
    }

    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        lock(&self.books).receipts.clone()
    }

    pub(crate) fn taken(&self, path: &str) -> HashMap<String, u32> {
        lock(&self.books).taken.get(path).cloned().unwrap_or_default()
    }

    pub(crate) fn taken_len(&self, path: &str) -> usize {
        lock(&self.books).taken.get(path).map_or(0, HashMap::len)
    }

    /// Requests taken more than once, summed over all paths.
    pub(crate) fn duplicates(&self) -> u64 {
        let books = lock(&self.books);
        books.taken.values().flat_map(HashMap::values).map(|count| u64::from(count - 1)).sum()
    }

    /// How many requests came in since `instant`: their outcome may not have been durable at a fault.
    pub(crate) fn received_since(&self, instant: Instant) -> u64 {
        let books = lock(&self.books);
        books.receipts.iter().rev().take_while(|receipt| receipt.received_at >= instant).count() as u64
    }
}

#[derive(Clone)]
struct Shared {
    books: Arc<Mutex<Books>>,
    rng: Arc<Mutex<Rng>>,
}

async fn serve(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, shared: Shared) {
    // Without it, Nagle and delayed acknowledgements would add 40 ms that are not the daemon's.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(request, shared.clone()));
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

#[derive(Debug)]
struct Closed;
impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}
impl std::error::Error for Closed {}

async fn answer(request: Request<Incoming>, shared: Shared) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    // A request cut off in the middle never reached the receiver; there is nothing to record.
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let path = head.uri.path().to_owned();
    let behaviour = lock(&shared.books).behaviours.get(&path).copied().unwrap_or(Behaviour::Status(200));
    let status = match behaviour {
        Behaviour::Status(status) => status,
        Behaviour::Delay(delay) => {
            tokio::time::sleep(delay).await;
            200
        }
        Behaviour::Flaky(percent) if lock(&shared.rng).percent(percent) => 503,
        Behaviour::Flaky(_) | Behaviour::Close => 200,
        Behaviour::Hang | Behaviour::Reset => 0,
    };
    record(&shared, path, &head.headers, &body, status);
    match behaviour {
        Behaviour::Hang => std::future::pending::<Result<_, Infallible>>().await.map_err(|_| Closed),
        Behaviour::Reset => Err(Closed),
        _ => {
            let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
            *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Closed)?;
            if matches!(behaviour, Behaviour::Close) {
                response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }
}

fn record(shared: &Shared, path: String, headers: &HeaderMap, body: &Bytes, answered: u16) {
    let event_id = header(headers, "webhook-id").to_owned();
    let receipt = Receipt {
        event_id: event_id.clone(),
        attempt: header(headers, "postrider-attempt").parse().ok(),
        reference: scan_ref(body),
        body: sha256(body),
        body_signature_ok: header(headers, "idenfy-signature") == data_encoding::HEXLOWER.encode(&mac(&[body])),
        standard_signature_ok: standard_signature_ok(headers, body),
        received_at: Instant::now(),
        path: path.clone(),
        answered,
    };
    let mut books = lock(&shared.books);
    books.receipts.push(receipt);
    if (200..300).contains(&answered) {
        *books.taken.entry(path).or_default().entry(event_id).or_default() += 1;
    }
}

/// Standard Webhooks 1.0: any of the space-separated signatures may be the one that fits.
fn standard_signature_ok(headers: &HeaderMap, body: &Bytes) -> bool {
    let (id, timestamp) = (header(headers, "webhook-id"), header(headers, "webhook-timestamp"));
    let wanted = data_encoding::BASE64.encode(&mac(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]));
    !id.is_empty()
        && timestamp.parse::<i64>().is_ok()
        && header(headers, "webhook-signature")
            .split(' ')
            .any(|signature| signature.strip_prefix("v1,") == Some(wanted.as_str()))
}

fn mac(parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_KEY.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn scan_ref(body: &[u8]) -> String {
    // Cut out, not parsed: parsing a megabyte of padding for every request would make the receiver the bottleneck.
    let start = &body[..body.len().min(200)];
    let text = String::from_utf8_lossy(start);
    text.split("\"scanRef\" :\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
