//! What was posted and what was acknowledged, kept outside the daemon's reach.
//!
//! A 202 counts only once its line is in the ledger file, which lies on another file system than the store under
//! test; a body counts as sent before its first byte leaves. So the oracle never believes the daemon's own books.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

pub(crate) type Sha = [u8; 32];

pub(crate) fn sha256(bytes: &[u8]) -> Sha {
    Sha256::digest(bytes).into()
}

#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) reference: String,
    pub(crate) posted_at: SystemTime,
}

pub(crate) struct Ledger {
    seed: u64,
    counter: AtomicU64,
    books: Mutex<Books>,
}

struct Books {
    file: File,
    sent: HashMap<String, Sha>,
    acked: HashMap<String, Ack>,
    /// Posted, but no 202 came: the app would post these again with the same key.
    unknown: HashMap<String, Bytes>,
    statuses: BTreeMap<u16, u64>,
}

impl Ledger {
    pub(crate) fn create(path: &Path, seed: u64) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let books = Books {
            file,
            sent: HashMap::new(),
            acked: HashMap::new(),
            unknown: HashMap::new(),
            statuses: BTreeMap::new(),
        };
        Ok(Self { seed, counter: AtomicU64::new(0), books: Mutex::new(books) })
    }

    pub(crate) fn next_reference(&self) -> String {
        format!("bb-{:x}-{}", self.seed, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn sending(&self, reference: &str, body: &Bytes) {
        let mut books = self.books();
        books.sent.insert(reference.to_owned(), sha256(body));
        books.unknown.insert(reference.to_owned(), body.clone());
    }

    pub(crate) fn acknowledged(&self, event_id: &str, reference: &str, posted_at: SystemTime) -> anyhow::Result<()> {
        let mut books = self.books();
        let sha = books.sent.get(reference).context("acknowledged before it was sent")?;
        let line = format!("{event_id} {reference} {}\n", data_encoding::HEXLOWER.encode(sha));
        books.file.write_all(line.as_bytes()).context("append to the ack ledger")?;
        books.unknown.remove(reference);
        let ack = Ack { reference: reference.to_owned(), posted_at };
        if let Some(earlier) = books.acked.insert(event_id.to_owned(), ack) {
            anyhow::ensure!(earlier.reference == reference, "one id, {event_id}, for two events");
        }
        Ok(())
    }

    pub(crate) fn answered(&self, status: u16) {
        *self.books().statuses.entry(status).or_default() += 1;
    }

    pub(crate) fn acked(&self) -> HashMap<String, Ack> {
        self.books().acked.clone()
    }

    pub(crate) fn acked_len(&self) -> usize {
        self.books().acked.len()
    }

    pub(crate) fn unknown(&self) -> Vec<(String, Bytes)> {
        self.books().unknown.iter().map(|(reference, body)| (reference.clone(), body.clone())).collect()
    }

    /// Counts of answers by status, for the figures.
    pub(crate) fn statuses(&self) -> BTreeMap<u16, u64> {
        self.books().statuses.clone()
    }

    pub(crate) fn sent_sha(&self, reference: &str) -> Option<Sha> {
        self.books().sent.get(reference).copied()
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
