//! Who it is that asks: the name that is noted with every change.
//!
//! It decides nothing about rights. Invariant: nobody but root can say that he is somebody else.

use http::HeaderMap;

use crate::domain::text::printable;
use crate::http::Peer;

/// The kernel's word for who it is, and what `sudo` says of who that was before.
pub(super) fn author_name(peer: Peer, headers: &HeaderMap) -> String {
    let Some(uid) = peer.uid else { return "unknown".to_owned() };
    let own = user_name(uid).unwrap_or_else(|| format!("uid {uid}"));
    let sudo = headers.get("postrider-sudo-user").and_then(|value| value.to_str().ok());
    match sudo.filter(|_| uid == 0).filter(|name| !name.is_empty() && name.len() <= 64) {
        Some(before) => format!("{} (sudo)", printable(before)),
        None => own,
    }
}

/// The name of a user id in the system's user list.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let number = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}
