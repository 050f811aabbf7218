//! The ports and sockets of the daemon: opening them, and having them served.
//!
//! It knows who may reach what, and nothing of what is said there. Invariant: a socket is never taken
//! from a program that still listens on it.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use super::{ServeError, settings};
use crate::admin::server::{Access, Admin};
use crate::config::{Config, paths};
use crate::http::{Listener, Server};
use crate::ingest::Ingest;

pub(super) fn serve_ingest(server: &Server, listener: Listener, ingest: &Ingest) {
    let (server, ingest) = (server.clone(), ingest.clone());
    tokio::spawn(async move {
        let answer = move |peer, question, progress| {
            let ingest = ingest.clone();
            async move { ingest.answer(peer, question, progress).await }
        };
        server.serve(listener, answer).await;
    });
}

pub(super) fn serve_admin(server: &Server, listener: UnixListener, admin: &Admin, access: Access) {
    let (server, admin) = (server.clone(), admin.clone());
    tokio::spawn(async move {
        let answer = move |peer, question, progress| {
            let admin = admin.clone();
            async move { admin.answer(access, peer, question, progress).await }
        };
        server.serve(Listener::Unix(listener), answer).await;
    });
}

/// The socket beside the admin socket on which everybody may only look; `None` when nobody is to
/// have one. Its server is its own: however many look, whoever may do more finds a place.
pub(super) async fn serve_read_only(
    admin_socket: &Path,
    config: &Config,
    admin: &Admin,
) -> Result<Option<(PathBuf, Server)>, ServeError> {
    let Some(group) = config.admin.readonly_group.as_deref() else { return Ok(None) };
    let path = paths::readonly_socket(admin_socket);
    let listener = bind_unix(&path, Some(group)).await?;
    match settings::group_id(group) {
        None => tracing::warn!(group, "there is no such group (admin.readonly_group): nobody of it can look"),
        Some(gid) if !lets_in(&path, gid) => tracing::warn!(
            group,
            socket = %path.display(),
            "its folder is closed to the group: set admin.socket to a path in a folder that it may enter"
        ),
        Some(_) => {}
    }
    let server = Server::new(settings::ADMIN_LIMITS);
    serve_admin(&server, listener, admin, Access::ReadOnly);
    Ok(Some((path, server)))
}

/// Whether members of a group may enter the folder of a file.
fn lets_in(path: &Path, group: u32) -> bool {
    let folder = path.parent().map(std::fs::metadata);
    folder.is_some_and(|folder| {
        folder.is_ok_and(|folder| folder.mode() & 0o001 != 0 || (folder.gid() == group && folder.mode() & 0o010 != 0))
    })
}

pub(super) async fn bind_tcp(address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::InUse(format!(
            "{address} is in use by another program; stop it, or set another [ingest] listen address"
        )),
        std::io::ErrorKind::PermissionDenied => {
            ServeError::NotPermitted(format!("{address} can not be listened on: {error}"))
        }
        _ => ServeError::Unusable(format!("{address} (ingest.listen) can not be listened on: {error}")),
    })
}

/// Binds a Unix socket, 0660. One that nobody listens on is left over, and replaced.
pub(super) async fn bind_unix(path: &Path, group: Option<&str>) -> Result<UnixListener, ServeError> {
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
        && let Err(error) = std::os::unix::fs::chown(path, None, Some(gid))
    {
        tracing::warn!(group, %error, "the socket could not be given to the group");
    }
    Ok(listener)
}
