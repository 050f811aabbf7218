//! A receiver for looking at what is delivered: it verifies signatures, answers as it is told, and misbehaves on purpose.
//!
//! ```text
//! sender ──▶ door (limits, head) ──loopback──▶ tiny_http ──▶ a thread for each request ──▶ verify, conduct ──▶ answer
//! ```
//!
//! A tool on loopback, for `postrider listen` and the demo; nothing of the daemon runs through it. It prints nothing: what it
//! saw is told to whoever started it. It keeps nothing, and knows no webhooks.
//!
//! Invariants: everything that a sender controls has a limit (see `door` and `head`); every misconduct ends within
//! [`MISCONDUCT_MAX`]; dropping a [`Receiver`] closes its port.

mod conduct;
mod door;
mod halt;
mod head;
mod verify;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tiny_http::{Header, Request, Response, Server, StatusCode};

use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::random::Random;
use door::{Connection, Door};
use halt::Halt;
use verify::{Signed, Verifier};

pub use conduct::{Act, Conduct, Reaction, Share, Statuses};
pub use verify::Verdict;

/// The longest that an answer without an end goes on, and that an answer is delayed.
pub const MISCONDUCT_MAX: Duration = Duration::from_secs(60);
/// Between two bytes of an answer that drips.
const DRIP_PAUSE: Duration = Duration::from_millis(200);
/// Between two pieces of an answer without an end, so that it does not take a whole core.
const ENDLESS_PAUSE: Duration = Duration::from_millis(10);
const ENDLESS_PIECE: [u8; 16 << 10] = [b'.'; 16 << 10];

/// What a receiver is started with.
#[derive(Debug)]
pub struct Setup {
    /// Where to listen; port 0 is any free one.
    pub address: SocketAddr,
    /// Signatures are checked with it.
    pub key: Option<Secret>,
    /// Tells when requests come, and measures limits.
    pub clock: Clock,
    /// Draws which requests misfortune meets.
    pub random: Random,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From 0, in the order in which they were whole.
    pub number: u64,
    /// When it was whole.
    pub at: Timestamp,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// `Idenfy-Event-Type`
    pub event_type: Option<String>,
    /// `webhook-id`
    pub webhook_id: Option<String>,
    /// `Postrider-Delivery`
    pub delivery: Option<String>,
    /// `Postrider-Attempt`
    pub attempt: Option<String>,
    /// `Postrider-Test`
    pub test: bool,
    /// The body.
    pub body: Vec<u8>,
    /// Whether `Idenfy-Signature` is right.
    pub body_signature: Verdict,
    /// Whether `webhook-signature` is right.
    pub standard_signature: Verdict,
}

/// What a receiver has to tell.
#[derive(Debug)]
pub enum Told {
    /// A request came, and this is what it gets.
    Request(Box<Seen>, Reaction),
    /// That is done.
    Answered {
        /// The sender had not left before the answer.
        heard: bool,
    },
    /// A request was refused before anything was made of it: status and reason.
    Refused(u16, &'static str),
    /// No more requests come.
    Broken(String),
}

/// Decides what the request with this number gets; the second number is chance, in `[0, 1)`.
pub type React = Box<dyn Fn(u64, f64) -> Reaction + Send + Sync>;
/// Is told everything, from several threads.
pub type Tell = Arc<dyn Fn(Told) + Send + Sync>;

/// A receiver; it listens until this is dropped.
pub struct Receiver {
    door: Door,
    server: Arc<Server>,
    halt: Arc<Halt>,
    receiving: Option<JoinHandle<()>>,
}

/// What the threads of a receiver share.
struct Desk {
    verifier: Verifier,
    clock: Clock,
    random: Random,
    react: React,
    tell: Tell,
    halt: Arc<Halt>,
    numbers: AtomicU64,
}

impl Receiver {
    /// Starts listening.
    ///
    /// # Errors
    /// When the port can not be had, or there are no threads.
    pub fn start(setup: Setup, react: React, tell: Tell) -> io::Result<Self> {
        let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let within = inside.local_addr()?;
        let halt = Arc::new(Halt::default());
        let refused = Arc::clone(&tell);
        let door = Door::open(
            setup.address,
            within,
            setup.clock,
            Arc::clone(&halt),
            Box::new(move |status, why| refused(Told::Refused(status, why))),
        )?;
        let server = Arc::new(Server::from_listener(inside, None).map_err(io::Error::other)?);
        let desk = Arc::new(Desk {
            verifier: Verifier::new(setup.key.as_ref()),
            clock: setup.clock,
            random: setup.random,
            react,
            tell,
            halt: Arc::clone(&halt),
            numbers: AtomicU64::new(0),
        });
        let (requests, find) = (Arc::clone(&server), door.finder());
        let receiving = Builder::new().name("postrider-listen".to_owned()).spawn(move || {
            receive(&requests, &desk, find);
        })?;
        Ok(Self { door, server, halt, receiving: Some(receiving) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.door.address()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.halt.call();
        self.door.close();
        self.server.unblock();
        if let Some(receiving) = self.receiving.take() {
            let _ = receiving.join();
        }
    }
}

/// Gives each request to a thread of its own; there are no more than the door lets in.
fn receive(server: &Server, desk: &Arc<Desk>, find: impl Fn(u16) -> Option<Arc<Connection>>) {
    loop {
        let request = match server.recv() {
            _ if desk.halt.is_called() => return,
            Ok(request) => request,
            Err(error) => return (desk.tell)(Told::Broken(error.to_string())),
        };
        let Some(connection) = request.remote_addr().and_then(|address| find(address.port())) else {
            // Somebody came past the door. What the library does with such a request when it is dropped can end the
            // process, so it is not; nobody but an attacker comes here.
            std::mem::forget(request);
            continue;
        };
        connection.taken();
        let (desk, turn) = (Arc::clone(desk), Turn(connection));
        // A request that no thread can be had for is dropped, and the library answers 500.
        let _ = Builder::new().name("postrider-answer".to_owned()).spawn(move || desk.answer(request, &turn.0));
    }
}

/// Lets the next request of the connection in, whatever came of this one.
struct Turn(Arc<Connection>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl Desk {
    fn answer(&self, mut request: Request, connection: &Connection) {
        let length = request.body_length().unwrap_or(0);
        let mut body = Vec::with_capacity(length);
        if request.as_reader().read_to_end(&mut body).is_err() || body.len() < length {
            connection.close();
            return (self.tell)(Told::Refused(400, "the sender left in the middle of the body"));
        }
        let seen = self.seen(&request, body);
        let reaction = (self.react)(seen.number, self.random.unit());
        (self.tell)(Told::Request(Box::new(seen), reaction));
        if self.halt.wait(reaction.delay.min(MISCONDUCT_MAX)) {
            return connection.close();
        }
        let heard = !connection.is_left();
        // What can not be written had a sender that left.
        let _ = match reaction.act {
            Act::Answer { status, retry_after } => request.respond(response(status, retry_after)),
            Act::Drip { status, retry_after } => self.drip(request, status, retry_after),
            Act::Endless { status } => {
                let sent = self.go_on(request, status);
                connection.close();
                sent
            }
            Act::Reset => {
                connection.reset();
                drop(request);
                Ok(())
            }
        };
        (self.tell)(Told::Answered { heard });
    }

    fn seen(&self, request: &Request, body: Vec<u8>) -> Seen {
        let header = |name: &'static str| {
            let found = request.headers().iter().find(|header| header.field.equiv(name));
            found.map(|header| header.value.as_str())
        };
        let owned = |name| header(name).map(str::to_owned);
        let signed = Signed {
            body_signature: header("Idenfy-Signature"),
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            standard_signature: header("webhook-signature"),
        };
        let now = self.clock.now();
        Seen {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            at: now,
            method: request.method().to_string(),
            path: request.url().to_owned(),
            event_type: owned("Idenfy-Event-Type"),
            webhook_id: owned("webhook-id"),
            delivery: owned("Postrider-Delivery"),
            attempt: owned("Postrider-Attempt"),
            test: header("Postrider-Test").is_some(),
            body_signature: self.verifier.body(signed, &body),
            standard_signature: self.verifier.standard(signed, &body, now),
            body,
        }
    }

    /// A byte at a time, the head as well: a sender's limit should be on the whole answer.
    fn drip(&self, request: Request, status: u16, retry_after: Option<u32>) -> io::Result<()> {
        let retry_after = retry_after.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
        let text = format!("{}{retry_after}Content-Length: 0\r\n\r\n", status_line(status));
        let mut writer = request.into_writer();
        for byte in text.as_bytes() {
            writer.write_all(std::slice::from_ref(byte))?;
            writer.flush()?;
            if self.halt.wait(DRIP_PAUSE) {
                break;
            }
        }
        Ok(())
    }

    fn go_on(&self, request: Request, status: u16) -> io::Result<()> {
        let mut writer = request.into_writer();
        writer.write_all(format!("{}Connection: close\r\n\r\n", status_line(status)).as_bytes())?;
        let end = self.clock.elapsed() + MISCONDUCT_MAX;
        while self.clock.elapsed() < end && !self.halt.wait(ENDLESS_PAUSE) {
            writer.write_all(&ENDLESS_PIECE)?;
            writer.flush()?;
        }
        Ok(())
    }
}

fn status_line(status: u16) -> String {
    format!("HTTP/1.1 {status} {}\r\nServer: postrider-listen\r\n", StatusCode(status).default_reason_phrase())
}

fn response(status: u16, retry_after: Option<u32>) -> Response<io::Empty> {
    let mut response = Response::empty(status);
    let mut add = |name: &str, value: &str| {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    };
    add("Server", "postrider-listen");
    if let Some(seconds) = retry_after {
        add("Retry-After", &seconds.to_string());
    }
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        add("Location", "/moved");
    }
    response
}

#[cfg(test)]
mod tests;
