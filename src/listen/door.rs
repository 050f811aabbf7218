//! The door: takes connections for the HTTP library, which has no limits of its own and dies of what it should refuse.
//!
//! Each connection is passed on to the library over loopback, a request at a time: its head is judged first, it has to come
//! within a time, and the next one waits until it is answered. Since the door holds the connection, it can also end it in ways
//! the library can not. It does not read bodies, make answers (but refusals), or decide what a request gets.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections are open; none stays open without progress; a failed `accept` is not the
//! last one; after [`Door::close`] there are none.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::halt::Halt;
use super::head::{Judged, judge};
use crate::clock::Clock;

/// Open at once, if there are descriptors for so many.
const CONNECTIONS_MAX: u64 = 64;
/// Of one connection: this end, the one inside, and two that the library holds of that.
const DESCRIPTORS_EACH: u64 = 4;
/// Between two requests.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// For a head once it has begun.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// For a body.
const BODY_MAX: Duration = Duration::from_secs(30);
/// For whoever does not read.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// For a refused sender to take note.
const REFUSAL_MAX: Duration = Duration::from_millis(500);
/// How soon the library should read a new connection, and how often it is reminded at the least.
const NUDGE_AFTER: Duration = Duration::from_millis(50);
const NUDGE_EVERY_MAX: Duration = Duration::from_secs(1);
/// For the last threads after a stop.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// How long answers may take to get out at the end.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Is told the status and the reason of each refusal.
pub(super) type TellRefusal = Box<dyn Fn(u16, &'static str) + Send + Sync>;

/// An open port.
pub(super) struct Door {
    address: SocketAddr,
    hall: Arc<Hall>,
    accepting: Option<JoinHandle<()>>,
}

/// What the threads of a door share.
struct Hall {
    /// Where the library listens.
    inside: SocketAddr,
    clock: Clock,
    halt: Arc<Halt>,
    tell: TellRefusal,
    places: usize,
    /// By the port that the library sees.
    connections: Mutex<HashMap<u16, Arc<Connection>>>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    /// A request went in and is not answered.
    busy: bool,
    /// A request came out at the library: it reads this connection.
    taken: bool,
    closed: bool,
    /// The door itself answers last, so the way out stays open when the library hangs up.
    refusing: bool,
}

/// A connection, from outside to the library.
pub(super) struct Connection {
    outside: TcpStream,
    inside: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The library has handed out a request of it.
    pub(super) fn taken(&self) {
        self.state().taken = true;
        self.changed.notify_all();
    }

    /// The request was answered, or never will be.
    pub(super) fn answered(&self) {
        self.state().busy = false;
        self.changed.notify_all();
    }

    /// Hangs up.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
        let _ = self.outside.shutdown(Shutdown::Both);
        let _ = self.inside.shutdown(Shutdown::Both);
    }

    /// Hangs up without a goodbye: the sender sees a reset.
    pub(super) fn reset(&self) {
        // With a linger of zero the last `close` sends RST; a shutdown for writing would say goodbye before.
        let _ = rustix::net::sockopt::set_socket_linger(&self.outside, Some(Duration::ZERO));
        self.state().closed = true;
        self.changed.notify_all();
        let _ = self.outside.shutdown(Shutdown::Read);
        let _ = self.inside.shutdown(Shutdown::Both);
    }

    /// Whether the sender has hung up. Only while a request is being answered, when nobody reads here.
    pub(super) fn is_left(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let looked = recv(&self.outside, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(looked, Ok((1.., _)) | Err(rustix::io::Errno::WOULDBLOCK))
    }

    /// Waits until the library reads it, for so long at most; whether it does, or need not any more.
    fn wait_until_taken(&self, most: Duration) -> bool {
        let waits = |state: &mut State| state.busy && !state.taken && !state.closed;
        let waited = self.changed.wait_timeout_while(self.state(), most, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits for the answer to what went in; `false` when there is no more to come.
    fn wait_for_answer(&self) -> bool {
        let waited = self.changed.wait_while(self.state(), |state| state.busy && !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).closed
    }
}

impl Door {
    /// Opens the port; `inside` is where the library listens.
    pub(super) fn open(
        address: SocketAddr,
        inside: SocketAddr,
        clock: Clock,
        halt: Arc<Halt>,
        tell: TellRefusal,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let connections = Mutex::new(HashMap::new());
        let places = places(rustix::process::getrlimit(rustix::process::Resource::Nofile).current);
        let hall = Arc::new(Hall { inside, clock, halt, tell, places, connections, left: Condvar::new() });
        let within = Arc::clone(&hall);
        let accepting = Builder::new().name("postrider-door".to_owned()).spawn(move || within.accept(&listener))?;
        Ok(Self { address, hall, accepting: Some(accepting) })
    }

    /// Where it is.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What finds the connection behind a request.
    pub(super) fn finder(&self) -> impl Fn(u16) -> Option<Arc<Connection>> + Clone + Send + 'static {
        let hall = Arc::clone(&self.hall);
        move |port| hall.connections().get(&port).cloned()
    }

    /// Takes no more connections and ends those there are. The halt has been called.
    pub(super) fn close(&mut self) {
        // Wakes the thread that accepts. If that fails it wakes with the next connection.
        let woken = TcpStream::connect_timeout(&self.address, CLOSE_MAX).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
        let connections = self.hall.connections();
        // The last answer may still be on its way out: the library hangs up behind it.
        connections.values().for_each(|connection| drop(connection.inside.shutdown(Shutdown::Write)));
        let waited = self.hall.left.wait_timeout_while(connections, GOODBYE_MAX, |connections| !connections.is_empty());
        let (connections, _) = waited.unwrap_or_else(PoisonError::into_inner);
        connections.values().for_each(|connection| connection.close());
        let _ = self.hall.left.wait_timeout_while(connections, CLOSE_MAX, |connections| !connections.is_empty());
    }
}

impl Hall {
    fn connections(&self) -> MutexGuard<'_, HashMap<u16, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while !self.halt.is_called() {
            match listener.accept() {
                Ok((stream, _)) if self.connections().len() < self.places && !self.halt.is_called() => {
                    // What can not be taken in is closed, and the sender sees that.
                    let _ = self.admit(stream);
                }
                Ok(_) => {}
                // Out of descriptors, most likely: they come back.
                Err(_) => {
                    self.halt.wait(Duration::from_millis(50));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, outside: TcpStream) -> io::Result<()> {
        let inside = TcpStream::connect(self.inside)?;
        for stream in [&outside, &inside] {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(WRITE_MAX))?;
        }
        let port = inside.local_addr()?.port();
        let connection = Arc::new(Connection { outside, inside, state: Mutex::default(), changed: Condvar::new() });
        let (hall, passing) = (Arc::clone(self), Arc::clone(&connection));
        self.connections().insert(port, connection);
        let spawned = Builder::new().name("postrider-in".to_owned()).spawn(move || {
            hall.pass(&passing);
            drop(passing);
            hall.forget(port);
        });
        if spawned.is_err() {
            self.forget(port);
        }
        spawned.map(drop)
    }

    fn forget(&self, port: u16) {
        self.connections().remove(&port);
        self.left.notify_all();
    }

    /// Everything about one connection, from its first byte to its end.
    fn pass(&self, connection: &Arc<Connection>) {
        let back = Arc::clone(connection);
        let Ok(answers) = Builder::new().name("postrider-out".to_owned()).spawn(move || pass_answers(&back)) else {
            return connection.close();
        };
        match self.pass_requests(connection) {
            Ok(None) | Err(_) => {
                // What is being answered still gets out; the library hangs up behind it.
                let _ = connection.inside.shutdown(Shutdown::Write);
                let _ = answers.join();
            }
            Ok(Some((status, why))) => {
                connection.state().refusing = true;
                let _ = connection.inside.shutdown(Shutdown::Write);
                let _ = answers.join();
                (self.tell)(status, why);
                let _ = self.refuse(&connection.outside, status, why);
            }
        }
    }

    /// Passes requests to the library until there are no more, or one is refused.
    fn pass_requests(&self, connection: &Connection) -> io::Result<Option<(u16, &'static str)>> {
        let mut bytes = Vec::new();
        loop {
            let (head, body) = match self.read_head(&connection.outside, &mut bytes)? {
                Judged::Fine { head, body } => (head, body),
                Judged::Refused(status, why) => return Ok(Some((status, why))),
                Judged::Unfinished => return Ok(None),
            };
            connection.state().busy = true;
            let whole = head.saturating_add(usize::try_from(body).unwrap_or(usize::MAX)).min(bytes.len());
            (&connection.inside).write_all(&bytes[..whole])?;
            let left = body - (whole - head) as u64;
            bytes.drain(..whole);
            self.pass_body(connection, left)?;
            self.nudge_until_taken(connection);
            if !connection.wait_for_answer() {
                return Ok(None);
            }
        }
    }

    /// When connections come close together, the library may leave one of them to a thread that has just taken another, and
    /// look at it again only when a connection ends. So one is made that ends at once.
    fn nudge_until_taken(&self, connection: &Connection) {
        let mut wait = NUDGE_AFTER;
        while !connection.wait_until_taken(wait) {
            drop(TcpStream::connect(self.inside));
            wait = (wait * 2).min(NUDGE_EVERY_MAX);
        }
    }

    /// Reads until there is a head; `Unfinished` when the sender left before that.
    fn read_head(&self, mut from: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<Judged> {
        let mut deadline = self.clock.elapsed() + if bytes.is_empty() { IDLE_MAX } else { HEAD_MAX };
        let mut buffer = [0; 4096];
        loop {
            match judge(bytes) {
                Judged::Unfinished => {}
                judged => return Ok(judged),
            }
            self.limit(from, deadline)?;
            let read = from.read(&mut buffer)?;
            if read == 0 {
                return Ok(Judged::Unfinished);
            }
            if bytes.is_empty() {
                deadline = self.clock.elapsed() + HEAD_MAX;
            }
            bytes.extend_from_slice(&buffer[..read]);
        }
    }

    fn pass_body(&self, connection: &Connection, mut left: u64) -> io::Result<()> {
        let deadline = self.clock.elapsed() + BODY_MAX;
        let mut buffer = [0; 16 << 10];
        while left > 0 {
            self.limit(&connection.outside, deadline)?;
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = (&connection.outside).read(&mut buffer[..wanted])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (&connection.inside).write_all(&buffer[..read])?;
            left -= read as u64;
        }
        Ok(())
    }

    /// Reading from it fails at the deadline.
    fn limit(&self, stream: &TcpStream, deadline: Duration) -> io::Result<()> {
        let left = deadline.saturating_sub(self.clock.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))
    }

    fn refuse(&self, mut to: &TcpStream, status: u16, why: &str) -> io::Result<()> {
        let length = why.len();
        write!(
            to,
            "HTTP/1.1 {status} Refused\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{why}"
        )?;
        to.shutdown(Shutdown::Write)?;
        // Closing with bytes unread would be a reset, which can overtake the answer.
        let deadline = self.clock.elapsed() + REFUSAL_MAX;
        let mut buffer = [0; 16 << 10];
        loop {
            self.limit(to, deadline)?;
            if to.read(&mut buffer)? == 0 {
                return Ok(());
            }
        }
    }
}

/// How many connections there may be when the process may have so many descriptors. The library ends when it gets none, so
/// half of them are left to everything else.
fn places(descriptors: Option<u64>) -> usize {
    let places = descriptors.map_or(CONNECTIONS_MAX, |all| (all / 2 / DESCRIPTORS_EACH).clamp(1, CONNECTIONS_MAX));
    usize::try_from(places).unwrap_or(1)
}

/// Passes answers to the sender until the library hangs up.
fn pass_answers(connection: &Connection) {
    let mut buffer = [0; 16 << 10];
    loop {
        match (&connection.inside).read(&mut buffer) {
            Ok(read) if read > 0 => {
                if (&connection.outside).write_all(&buffer[..read]).is_err() {
                    // Nobody is there to be answered.
                    return connection.close();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    let mut state = connection.state();
    state.closed = true;
    let refusing = state.refusing;
    drop(state);
    connection.changed.notify_all();
    if !refusing {
        // Wakes the thread that reads from it, and says nothing to the sender; the last one to go closes it.
        let _ = connection.outside.shutdown(Shutdown::Read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_places_than_descriptors() {
        let found = [None, Some(u64::MAX), Some(1024), Some(256), Some(64), Some(0)].map(places);
        assert_eq!(found, [64, 64, 64, 32, 8, 1]);
    }
}
