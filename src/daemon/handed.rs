//! Sockets that the service manager holds and hands over at a start (socket activation).
//!
//! While the daemon restarts they stay open: whoever posts waits in them, and nobody else can take the port. Their names
//! (`FileDescriptorName=`, or the name of the socket unit) say what they are for. Invariant: a socket whose purpose is not
//! clear is refused, not guessed at; served on the wrong face it would give away what only operators may do.

use std::os::fd::AsFd;
use std::path::PathBuf;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::ServeError;
use crate::config::paths::Environment;

/// What was handed over, by purpose. Each is used once.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Ports for events.
    pub(super) ports: Vec<std::net::TcpListener>,
    /// Unix sockets for events.
    pub(super) ingest: Vec<std::os::unix::net::UnixListener>,
    /// For operators.
    pub(super) admin: Option<std::os::unix::net::UnixListener>,
    /// For those who may only look.
    pub(super) read_only: Option<std::os::unix::net::UnixListener>,
}

enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Handed {
    /// Takes the sockets that the environment tells of; none when it tells of none, or of another process's.
    ///
    /// # Errors
    /// When something else than a listening socket with a known purpose was handed over.
    pub(super) fn take(environment: Environment<'_>) -> Result<Self, ServeError> {
        let mut offered = ListenFd::from_env();
        let names = environment("LISTEN_FDNAMES").unwrap_or_default().to_string_lossy().into_owned();
        let mut names = names.split(':');
        let mut handed = Self::default();
        for number in 0..offered.len() {
            let name = names.next().unwrap_or_default();
            let socket = take_one(&mut offered, number, name)?;
            handed.keep(name, socket)?;
        }
        Ok(handed)
    }

    /// Where operators find the socket that was handed over for them.
    pub(super) fn admin_path(&self) -> Option<PathBuf> {
        path(self.admin.as_ref()?)
    }

    fn keep(&mut self, name: &str, socket: Socket) -> Result<(), ServeError> {
        match (name, socket) {
            // It needs no name: there is one purpose for a port.
            ("ingest" | "postrider.socket" | "unknown" | "", Socket::Tcp(port)) => self.ports.push(port),
            ("ingest" | "postrider.socket", Socket::Unix(socket)) => self.ingest.push(socket),
            ("admin" | "postrider-admin.socket", Socket::Unix(socket)) if self.admin.is_none() => {
                self.admin = Some(socket);
            }
            ("readonly" | "postrider-readonly.socket", Socket::Unix(socket)) if self.read_only.is_none() => {
                self.read_only = Some(socket);
            }
            (name, socket) => {
                let kind = if matches!(socket, Socket::Tcp(_)) { "a TCP port" } else { "a Unix socket" };
                return Err(unusable(&format!(
                    "{kind} with the name {name:?}; in the socket unit, set FileDescriptorName= to ingest (any number), \
                     admin or readonly (one Unix socket each)"
                )));
            }
        }
        Ok(())
    }
}

fn take_one(offered: &mut ListenFd, number: usize, name: &str) -> Result<Socket, ServeError> {
    let socket = match offered.take_tcp_listener(number) {
        Ok(Some(port)) => Socket::Tcp(port),
        Ok(None) | Err(_) => match offered.take_unix_listener(number) {
            Ok(Some(socket)) => Socket::Unix(socket),
            Ok(None) | Err(_) => {
                return Err(unusable(&format!("something that is no stream socket, with the name {name:?}")));
            }
        },
    };
    let listens = match &socket {
        Socket::Tcp(port) => listens(port),
        Socket::Unix(socket) => listens(socket),
    };
    if !listens {
        return Err(unusable(&format!("a socket that does not listen, with the name {name:?}; set Accept=no")));
    }
    Ok(socket)
}

fn listens(socket: &impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

fn unusable(what: &str) -> ServeError {
    ServeError::Unusable(format!("the service manager handed over {what}"))
}

/// Gives a handed-over port to the runtime.
pub(super) fn tcp(port: std::net::TcpListener) -> Result<TcpListener, ServeError> {
    port.set_nonblocking(true).and_then(|()| TcpListener::from_std(port)).map_err(|error| unusable(&error.to_string()))
}

/// Gives a handed-over socket to the runtime.
pub(super) fn unix(socket: std::os::unix::net::UnixListener) -> Result<UnixListener, ServeError> {
    socket
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(socket))
        .map_err(|error| unusable(&error.to_string()))
}

/// The path of a socket, if it has one.
pub(super) fn path(socket: &std::os::unix::net::UnixListener) -> Option<PathBuf> {
    socket.local_addr().ok()?.as_pathname().map(PathBuf::from)
}
