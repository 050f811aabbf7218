//! Whether the links in stored payloads still work, for those who are about to send them again.
//!
//! It only warns: nothing is held back because of a link. What counts as dead is for
//! `domain::links` to say. Its invariant: no payload over 1 MiB is parsed.

use super::Admin;
use crate::domain::event::Location;
use crate::domain::id::DeliveryId;
use crate::domain::links::{self, DeadLinks};
use crate::domain::text::printable;
use crate::domain::time::Timestamp;
use crate::journal::Record;
use crate::store::Store;

/// Larger payloads are not looked at.
const LOOKED_AT_BYTES_MAX: u32 = 1 << 20;
/// A pointer is made of the payload's own names, which may be long.
const POINTER_SHOWN_MAX: usize = 80;

/// The dead links of one payload; `None` when it was not looked at.
pub(super) async fn dead_in(store: &Store, location: Location, length: u32, posted: Timestamp) -> Option<DeadLinks> {
    if length > LOOKED_AT_BYTES_MAX {
        return None;
    }
    let record = store.read(location).await.ok()?;
    let now = store.clock().now();
    let look = move || {
        let (Record::Event { payload, .. } | Record::Carry { payload, .. }) = &*record else { return None };
        Some(links::dead(&serde_json::from_slice(payload).ok()?, posted, now))
    };
    tokio::task::spawn_blocking(look).await.ok()?
}

impl Admin {
    /// What whoever resends a delivery should know of its payload.
    pub(super) async fn link_warnings(&self, id: DeliveryId) -> Vec<String> {
        let Ok(Some(event)) = self.shared.store.find(move |index| index.event(id.event)).await else {
            return Vec::new();
        };
        let posted = event.event.created_at();
        let dead = dead_in(&self.shared.store, event.location, event.payload_length, posted).await;
        dead.iter().filter(|dead| dead.count > 0).map(warning).collect()
    }
}

fn warning(dead: &DeadLinks) -> String {
    let shown: Vec<String> = dead.pointers.iter().map(|pointer| short(pointer)).collect();
    let more = if dead.count > shown.len() { ", …" } else { "" };
    let links = if dead.count == 1 { "1 link" } else { &format!("{} links", dead.count) };
    format!("{links} in the payload will likely not work any more: {}{more}", shown.join(", "))
}

fn short(pointer: &str) -> String {
    let shown: String = pointer.chars().take(POINTER_SHOWN_MAX).collect();
    let cut = if shown.len() < pointer.len() { "…" } else { "" };
    format!("{}{cut}", printable(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_short_and_harmless() {
        let one = DeadLinks { count: 1, pointers: vec!["/file\u{202e}".to_owned()] };
        assert_eq!(warning(&one), "1 link in the payload will likely not work any more: /file\\u{202e}");
        let many = DeadLinks { count: 12, pointers: vec!["/".repeat(1000); 10] };
        let text = warning(&many);
        assert!(text.starts_with("12 links") && text.ends_with("…, …") && text.len() < 1000, "{text}");
    }
}
