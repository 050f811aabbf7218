//! The ports and sockets of the daemon: opening them, and having them served.
//!
//! It knows who may reach what, and nothing of what is said there. Invariant: a socket is never taken
//! from a program that still listens on it.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use super::{ServeError, handed, settings};
use crate::admin::server::{Access, Admin};
use crate::config::{Config, paths};
use crate::http::{Listener, Question, Server};
use crate::ingest::Ingest;

/// Where events can be posted.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// At least one.
    pub(super) ports: Vec<SocketAddr>,
    pub(super) socket: Option<PathBuf>,
    /// Where metrics can be read besides the admin socket.
    pub(super) metrics: Option<SocketAddr>,
}

impl Reach {
    /// The port that is told to people.
    pub(super) fn listen(&self) -> SocketAddr {
        self.ports.first().copied().unwrap_or_else(|| unreachable!("there is always a port"))
    }
}

/// The ports for events: those that were handed over, else the one of the configuration.
pub(super) async fn ports(
    handed: Vec<std::net::TcpListener>,
    config: &Config,
) -> Result<Vec<(TcpListener, SocketAddr)>, ServeError> {
    let addressed = |port: TcpListener| {
        let address = port.local_addr().map_err(|error| ServeError::Io(error.to_string()))?;
        Ok::<_, ServeError>((port, address))
    };
    if handed.is_empty() {
        return Ok(vec![addressed(bind_tcp(config.ingest.listen, "ingest").await?)?]);
    }
    let mut ports = Vec::new();
    for port in handed {
        let (port, address) = addressed(handed::tcp(port)?)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the service manager's port is no loopback address: the network can reach it");
        }
        ports.push((port, address));
    }
    Ok(ports)
}

/// The port for metrics, if there is to be one.
pub(super) async fn metrics_port(config: &Config) -> Result<Option<TcpListener>, ServeError> {
    match config.metrics.listen {
        Some(address) => Ok(Some(bind_tcp(address, "metrics").await?)),
        None => Ok(None),
    }
}

/// Everything that takes events, and how it is reached.
pub(super) async fn ingest_faces(
    ports: Vec<(TcpListener, SocketAddr)>,
    handed: Vec<std::os::unix::net::UnixListener>,
    config: &Config,
) -> Result<(Vec<Listener>, Reach), ServeError> {
    let mut reach = Reach { ports: ports.iter().map(|(_, address)| *address).collect(), socket: None, metrics: None };
    let mut faces: Vec<Listener> = ports.into_iter().map(|(port, _)| Listener::Tcp(port)).collect();
    if let (true, Some(path)) = (handed.is_empty(), &config.ingest.socket) {
        faces.push(Listener::Unix(bind_unix(path, config.admin.group.as_deref()).await?));
        reach.socket = Some(path.clone());
    }
    for socket in handed {
        reach.socket = reach.socket.or_else(|| handed::path(&socket));
        faces.push(Listener::Unix(handed::unix(socket)?));
    }
    Ok((faces, reach))
}

/// The servers of all faces, and which files go at a stop.
pub(super) struct Faces {
    ingest: Server,
    admin: Server,
    /// Its own: however many look, whoever may do more finds a place.
    read_only: Option<Server>,
    metrics: Server,
    /// Sockets that the service manager holds are not among them.
    files: Vec<PathBuf>,
}

impl Faces {
    pub(super) fn of(ingest: Server, admin: Server) -> Self {
        Self { ingest, admin, read_only: None, metrics: Server::new(settings::METRICS_LIMITS), files: Vec::new() }
    }

    pub(super) fn serve_ingest(&self, listeners: Vec<Listener>, ingest: &Ingest) {
        for listener in listeners {
            let (server, ingest) = (self.ingest.clone(), ingest.clone());
            tokio::spawn(async move {
                let answer = move |peer, question, progress| {
                    let ingest = ingest.clone();
                    async move { ingest.answer(peer, question, progress).await }
                };
                server.serve(listener, answer).await;
            });
        }
    }

    pub(super) async fn serve_admin(
        &mut self,
        handed: Option<std::os::unix::net::UnixListener>,
        path: &Path,
        config: &Config,
        admin: &Admin,
    ) -> Result<(), ServeError> {
        let listener = match handed {
            Some(socket) => handed::unix(socket)?,
            None => {
                let listener = bind_unix(path, config.admin.group.as_deref()).await?;
                self.files.push(path.to_owned());
                listener
            }
        };
        serve_admin(&self.admin, listener, admin, Access::Full);
        Ok(())
    }

    /// The socket beside the admin socket on which everybody may only look, if anybody is to have one.
    pub(super) async fn serve_read_only(
        &mut self,
        handed: Option<std::os::unix::net::UnixListener>,
        admin_socket: &Path,
        config: &Config,
        admin: &Admin,
    ) -> Result<(), ServeError> {
        let listener = if let Some(socket) = handed {
            handed::unix(socket)?
        } else {
            let Some(group) = config.admin.readonly_group.as_deref() else { return Ok(()) };
            let path = paths::readonly_socket(admin_socket);
            let listener = bind_unix(&path, Some(group)).await?;
            warn_of_a_closed_folder(&path, group);
            self.files.push(path);
            listener
        };
        let server = Server::new(settings::ADMIN_LIMITS);
        serve_admin(&server, listener, admin, Access::ReadOnly);
        self.read_only = Some(server);
        Ok(())
    }

    pub(super) fn serve_metrics(&self, port: TcpListener, admin: &Admin) {
        let (server, admin) = (self.metrics.clone(), admin.clone());
        tokio::spawn(async move {
            let answer = move |_, question: Question, _| {
                let admin = admin.clone();
                async move { admin.answer_metrics(question.method(), question.uri().path(), question.headers()).await }
            };
            server.serve(Listener::Tcp(port), answer).await;
        });
    }

    /// Accepts nothing more, and lets what is being answered end within `patience`.
    pub(super) async fn stop(self, patience: Duration) {
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        let read_only = async {
            if let Some(server) = &self.read_only {
                server.stop(patience).await;
            }
        };
        tokio::join!(self.ingest.stop(patience), self.admin.stop(patience), self.metrics.stop(patience), read_only);
    }
}

fn serve_admin(server: &Server, listener: UnixListener, admin: &Admin, access: Access) {
    let (server, admin) = (server.clone(), admin.clone());
    tokio::spawn(async move {
        let answer = move |peer, question, progress| {
            let admin = admin.clone();
            async move { admin.answer(access, peer, question, progress).await }
        };
        server.serve(Listener::Unix(listener), answer).await;
    });
}

fn warn_of_a_closed_folder(socket: &Path, group: &str) {
    match settings::group_id(group) {
        None => tracing::warn!(group, "there is no such group (admin.readonly_group): nobody of it can look"),
        Some(gid) if !lets_in(socket, gid) => tracing::warn!(
            group,
            socket = %socket.display(),
            "its folder is closed to the group: set admin.socket to a path in a folder that it may enter"
        ),
        Some(_) => {}
    }
}

/// Whether members of a group may enter the folder of a file.
fn lets_in(path: &Path, group: u32) -> bool {
    let folder = path.parent().map(std::fs::metadata);
    folder.is_some_and(|folder| {
        folder.is_ok_and(|folder| folder.mode() & 0o001 != 0 || (folder.gid() == group && folder.mode() & 0o010 != 0))
    })
}

async fn bind_tcp(address: SocketAddr, section: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::InUse(format!(
            "{address} is in use by another program; stop it, or set another [{section}] listen address"
        )),
        std::io::ErrorKind::PermissionDenied => {
            ServeError::NotPermitted(format!("{address} can not be listened on: {error}"))
        }
        _ => ServeError::Unusable(format!("{address} ({section}.listen) can not be listened on: {error}")),
    })
}

/// Binds a Unix socket, 0660. One that nobody listens on is left over, and replaced.
async fn bind_unix(path: &Path, group: Option<&str>) -> Result<UnixListener, ServeError> {
    let wrong = |error: std::io::Error| ServeError::Unusable(format!("{}: {error}", path.display()));
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(ServeError::Unusable(format!("{} is there and is not a socket", path.display())));
        }
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return Err(ServeError::InUse(format!("another program listens on {}", path.display())));
        }
        std::fs::remove_file(path).map_err(wrong)?;
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(wrong)?;
    if let Some(group) = group
        && let Some(gid) = settings::group_id(group)
        // A sandbox may forbid the call even where it would change nothing.
        && std::fs::symlink_metadata(path).map_err(wrong)?.gid() != gid
        && let Err(error) = std::os::unix::fs::chown(path, None, Some(gid))
    {
        tracing::warn!(group, %error, "the socket could not be given to the group");
    }
    Ok(listener)
}
