//! An entry of the audit log: who did what, to what, and what changed by it.
//!
//! It decides nothing and hides nothing: whoever makes an entry leaves secrets out. Invariant: an
//! entry is written once and never changed; it goes with its day.

use super::time::Timestamp;

/// One thing that somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// Who, by name.
    pub by: String,
    /// Who, as the kernel tells it; `None` for postrider itself.
    pub uid: Option<u32>,
    /// What was done: `webhook.create`, `delivery.resend`, …
    pub action: String,
    /// To what: the name of a webhook or token, the id of a delivery; empty for the daemon itself.
    pub subject: String,
    /// What changed: a JSON object of at most [`Self::DETAIL_MAX`] bytes, without secrets.
    pub detail: String,
}

impl AuditRecord {
    /// The longest detail, in bytes: the index keeps it in its rows, which have to stay small.
    pub const DETAIL_MAX: usize = 8 << 10;

    /// Something that postrider did by itself.
    #[must_use]
    pub fn own(at: Timestamp, action: &str, subject: &str, detail: String) -> Self {
        let (action, subject) = (action.to_owned(), subject.to_owned());
        Self { at, by: "postrider".to_owned(), uid: None, action, subject, detail }
    }
}
