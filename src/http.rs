//! The bounded HTTP server that ingest and the admin socket share.
//!
//! Everything a stranger controls has a limit here: connections, bytes and time of a head, bytes
//! and time of a body. When all places are taken, whoever has sent nothing useful for longest
//! loses its place, so that idle strangers can not keep honest posters out. An accept that fails
//! (no descriptors) is tried again after a pause; it never ends the loop.
//!
//! It knows no paths and no meaning; that is its callers'.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::channel::{self, Channel};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a stranger may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, without those whose answer waits for something to happen.
    pub connections_max: usize,
    /// Bytes of a request's head; more is 431.
    pub head_bytes_max: usize,
    /// From being allowed to send a head until it is whole; idle connections end by it too.
    pub head_time: Duration,
    /// From the head until the body is whole; longer is 408.
    pub body_time: Duration,
    /// Whether who has said that nothing more comes gets his answer; else he counts as gone, and nothing waits for him.
    pub answers_half_closed: bool,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address of a TCP peer.
    pub address: Option<SocketAddr>,
    /// The user id of a Unix socket's peer, as the kernel says.
    pub uid: Option<u32>,
}

/// What is listened on.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// An answer: whole, or in pieces that come one after the other.
pub type Answer = Response<Either<Full<Bytes>, Channel<Bytes, std::io::Error>>>;

/// A request whose body has not been read.
pub type Question = Request<Incoming>;

const WAITS_FOR_HEAD: u8 = 0;
const READS_BODY: u8 = 1;
const IS_ANSWERED: u8 = 2;

/// Who has connected just before a stop has the request under way, and is answered like one who was a moment earlier.
const NEWCOMER_WAIT: Duration = Duration::from_millis(500);

/// Tells the server what a request is at, so that it knows whose place may be taken.
#[derive(Clone, Debug)]
pub struct Progress {
    phase: Arc<Phase>,
    places: Arc<Places>,
}

impl Progress {
    /// The whole request is here; the connection keeps its place until the answer.
    pub fn body_is_read(&self) {
        self.phase.enter(IS_ANSWERED);
    }

    /// The answer waits for something to happen: until what this gives is dropped, the connection
    /// takes no place from others. Whoever calls it bounds how many wait.
    #[must_use]
    pub fn waits(&self) -> Waiting {
        self.places.waiting.fetch_add(1, Ordering::Relaxed);
        self.places.freed.notify_one();
        Waiting(Arc::clone(&self.places))
    }
}

/// A connection whose answer waits for something to happen.
#[derive(Debug)]
pub struct Waiting(Arc<Places>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection is at, and since when.
#[derive(Debug)]
struct Phase {
    now: AtomicU8,
    /// Milliseconds since the process began to serve.
    since: AtomicU64,
    start: Instant,
    /// Its place was given to another.
    is_evicted: AtomicBool,
}

impl Phase {
    fn enter(&self, phase: u8) {
        self.since.store(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.now.store(phase, Ordering::Relaxed);
    }

    /// Whether it has been in this phase for longer than somebody honest needs to get on.
    fn lingers_in(&self, phase: u8) -> bool {
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        self.now.load(Ordering::Relaxed) == phase && self.start.elapsed().saturating_sub(since) >= GRACE
    }
}

/// Nobody loses a place before this: a head that was just sent, or an answer that is being
/// written, must get through.
const GRACE: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Place {
    phase: Arc<Phase>,
    /// Fires when the connection is to end, and with the server's stop: each is asked at every step, and one costs half of two.
    end: CancellationToken,
}

#[derive(Debug, Default)]
struct Places {
    taken: Mutex<BTreeMap<u64, Place>>,
    freed: Notify,
    count: AtomicUsize,
    /// Of these, how many wait for something to happen.
    waiting: AtomicUsize,
}

impl Places {
    /// Connections that count against the limit.
    fn occupied(&self) -> usize {
        self.count.load(Ordering::Relaxed).saturating_sub(self.waiting.load(Ordering::Relaxed))
    }

    fn take(&self, number: u64, start: Instant, stop: &CancellationToken) -> (Arc<Phase>, CancellationToken) {
        let (now, since) = (AtomicU8::new(WAITS_FOR_HEAD), AtomicU64::new(0));
        let phase = Phase { now, since, start, is_evicted: AtomicBool::new(false) };
        phase.enter(WAITS_FOR_HEAD);
        let place = Place { phase: Arc::new(phase), end: stop.child_token() };
        let handles = (Arc::clone(&place.phase), place.end.clone());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(number, place);
        self.count.store(taken.len(), Ordering::Relaxed);
        handles
    }

    fn free(&self, number: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&number);
        self.count.store(taken.len(), Ordering::Relaxed);
        self.freed.notify_one();
    }

    /// Nobody has a place any more.
    fn clear(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.clear();
        self.count.store(0, Ordering::Relaxed);
    }

    /// Ends the oldest connection that waits for a head, or else the oldest that sends a body.
    fn evict(&self) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = [WAITS_FOR_HEAD, READS_BODY].into_iter().find_map(|wanted| {
            taken.iter().find(|(_, place)| place.phase.lingers_in(wanted)).map(|(number, _)| *number)
        });
        let Some(place) = oldest.and_then(|number| taken.remove(&number)) else { return false };
        self.count.store(taken.len(), Ordering::Relaxed);
        place.phase.is_evicted.store(true, Ordering::Relaxed);
        place.end.cancel();
        true
    }
}

/// One listener being served.
#[derive(Clone, Debug)]
pub struct Server {
    limits: Limits,
    places: Arc<Places>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends every connection, whatever it is at.
    close: CancellationToken,
    start: Instant,
}

impl Server {
    /// A server with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (stop, close) = (CancellationToken::new(), CancellationToken::new());
        Self { limits, places: Arc::default(), tasks: TaskTracker::new(), stop, close, start: Instant::now() }
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.count.load(Ordering::Relaxed)
    }

    /// Accepts nothing more, lets requests that are being answered end within `patience`, and
    /// closes the rest.
    pub async fn stop(&self, patience: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            self.close.cancel();
            self.places.clear();
        }
    }

    /// Serves until [`Self::stop`]. `answer` gets each request, whose body it reads itself.
    pub async fn serve<F, A>(&self, listener: Listener, answer: F)
    where
        F: Fn(Peer, Question, Progress) -> A + Clone + Send + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let mut number = 0;
        let mut pause = Duration::ZERO;
        // A stop waits for this as well: who is accepted while it begins would else be served after everything is closed.
        let _accepting = self.tasks.token();
        loop {
            let accepted = tokio::select! {
                // Else one more could be accepted after the stop, by chance.
                biased;
                () = self.stop.cancelled() => return,
                accepted = accept(&listener) => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No descriptors, most likely: make room, and do not spin.
                    pause = (pause * 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
                    let evicted = self.places.evict();
                    tracing::warn!(%error, evicted, "a connection could not be accepted; trying again");
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            pause = Duration::ZERO;
            while self.places.occupied() >= self.limits.connections_max && !self.places.evict() {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = self.places.freed.notified() => {}
                    // Somebody may linger by then.
                    () = tokio::time::sleep(GRACE / 4) => {}
                }
            }
            number += 1;
            self.attend(number, stream, peer, answer.clone());
        }
    }

    fn attend<F, A>(&self, number: u64, stream: Box<dyn Stream>, peer: Peer, answer: F)
    where
        F: Fn(Peer, Question, Progress) -> A + Clone + Send + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let (phase, end) = self.places.take(number, self.start, &self.stop);
        let (limits, close, state) = (self.limits, self.close.clone(), Arc::clone(&phase));
        let freed = Freed(Arc::clone(&self.places), number);
        let progress = Progress { phase, places: Arc::clone(&self.places) };
        let first_request = CancellationToken::new();
        let has_asked = first_request.clone();
        self.tasks.spawn(async move {
            let _freed = freed;
            let service = service_fn(move |question: Question| {
                has_asked.cancel();
                progress.phase.enter(READS_BODY);
                let (answer, progress) = (answer.clone(), progress.clone());
                async move {
                    let answered = answer(peer, question, progress.clone()).await;
                    // What is still streamed keeps its place; the connection ends with it.
                    if matches!(answered.body(), Either::Left(_)) {
                        progress.phase.enter(WAITS_FOR_HEAD);
                    }
                    Ok::<_, Infallible>(answered)
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_time)
                .max_buf_size(limits.head_bytes_max)
                .half_close(limits.answers_half_closed)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            // What goes wrong here is the peer's doing, and told to it where HTTP allows.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = end.cancelled() => {}
            }
            if state.is_evicted.load(Ordering::Relaxed) {
                return;
            }
            tokio::select! {
                _ = connection.as_mut() => return,
                () = close.cancelled() => return,
                () = first_request.cancelled() => {}
                () = tokio::time::sleep(NEWCOMER_WAIT) => {}
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection => {}
                () = close.cancelled() => {}
            }
        });
    }
}

/// Gives a place back however its connection ends.
struct Freed(Arc<Places>, u64);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.free(self.1);
    }
}

/// A connected socket of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn accept(listener: &Listener) -> std::io::Result<(Box<dyn Stream>, Peer)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Peer { address: Some(address), uid: None }))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            Ok((Box::new(stream), Peer { address: None, uid: Some(uid) }))
        }
    }
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Neither `Content-Length` nor chunks.
    LengthRequired,
    /// More than allowed.
    TooLarge,
    /// Not there in time.
    TooSlow,
    /// The peer went away, or its chunks make no sense.
    Broken,
}

/// Reads a body of at most `bytes_max` within `time`.
///
/// # Errors
/// See [`BodyError`]; what follows on the connection can then not be trusted, so it is closed.
pub async fn read_body(
    headers: &header::HeaderMap,
    mut body: Incoming,
    bytes_max: usize,
    time: Duration,
) -> Result<Bytes, BodyError> {
    let declared = body.size_hint().exact();
    if !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(BodyError::LengthRequired);
    }
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    let whole = async {
        // Copied, and in memory of its own size: a piece of the connection's buffer would keep all of that, a multiple of most
        // bodies, for as long as anybody has the body.
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if whole.len() + data.len() > bytes_max {
                return Err(BodyError::TooLarge);
            }
            if whole.is_empty() {
                let expected = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
                whole.reserve_exact(expected.clamp(data.len(), bytes_max));
            }
            whole.extend_from_slice(&data);
        }
        Ok(Bytes::from(whole.into_boxed_slice()))
    };
    tokio::time::timeout(time, whole).await.unwrap_or(Err(BodyError::TooSlow))
}

/// An answer with a JSON body.
#[must_use]
pub fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    typed(status, "application/json", body.into())
}

/// An answer with a body of the given media type.
#[must_use]
pub fn typed(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    of_type(status, media_type, Either::Left(Full::new(body)))
}

/// An answer that is made while it is sent: the pieces go into what is given along. The connection ends with it.
#[must_use]
pub fn streamed(media_type: &'static str) -> (Answer, Pieces) {
    let (pieces, body) = Channel::new(PIECES_AHEAD);
    let mut answer = of_type(StatusCode::OK, media_type, Either::Right(body));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    (answer, Pieces(Some(pieces)))
}

/// Where the pieces of a streamed answer go. Unless it is said to be whole, the answer breaks off when this is dropped, also
/// by a panic: half of it must not look like all of it.
#[derive(Debug)]
pub struct Pieces(Option<channel::Sender<Bytes, std::io::Error>>);

impl Pieces {
    /// Sends a piece, when there is room for it.
    ///
    /// # Errors
    /// `BrokenPipe` when nobody reads any more.
    pub async fn send(&mut self, piece: Bytes) -> std::io::Result<()> {
        let Some(pieces) = &mut self.0 else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
        pieces.send_data(piece).await.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    /// That was all of it.
    pub fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(pieces) = self.0.take() {
            pieces.abort(std::io::ErrorKind::Interrupted.into());
        }
    }
}

/// Pieces that are made before the first of them is sent.
const PIECES_AHEAD: usize = 2;

fn of_type(
    status: StatusCode,
    media_type: &'static str,
    body: Either<Full<Bytes>, Channel<Bytes, std::io::Error>>,
) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
