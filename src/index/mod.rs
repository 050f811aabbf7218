//! The index: a view of the journal that can be searched, in sled.
//!
//! Holds where each delivery stands, its attempts, what each event can be found by, and which
//! idempotency keys were used; never a payload, and nothing that is not in the journal. It does
//! not repair itself: whatever is wrong with it, it is moved aside and built anew from the journal.
//!
//! Invariants: the position is written after the rows it covers, so applying records from it
//! onwards, some of them twice, gives the same rows; every row carries a checksum; rows stay
//! small, because sled keeps large values in files that it never syncs.
//!
//! ```text
//! log.2026-11-23   event 16            -> EventRow
//!                  event 16 ordinal 2  -> DeliveryRow, with its newest attempts
//!                  … chunk 1           -> older attempts, 16 at a time
//! ref.2026-11-23   reference 00 event  -> (checksum only)
//! idem.2026-11-23  token 00 key        -> event, digest
//! audit.2026-11-23 millis 8 sequence 8 -> AuditRow
//! carried, carried.ref                 as log and ref, for events that outlived their day
//! pending          event ordinal       -> PendingRow
//! versions         webhook version     -> the webhook as it was then
//! meta             format, position
//! ```

mod apply;
mod audit;
mod query;
mod rows;
pub mod session;
mod walk;

pub use apply::Batch;
pub use audit::{AuditPage, AuditPlace, AuditQuery};
pub use query::{Found, FoundEvent, Query};
pub use rows::readable_as;
pub use walk::{Order, Page, Walk};

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use sled::Tree;

use crate::domain::delivery::Delivery;
use crate::domain::event::Location;
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::time::{Day, Timestamp};

/// Changes whenever rows written by an older version could be misread.
const FORMAT: &[u8] = b"postrider index 2";

/// What a caller of the index can react to.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Something does not check out, or sled gave up or panicked: build it anew.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// There is no room on the disk.
    #[error("there is no room on the disk for the index")]
    Full,
    /// The system failed a read or write.
    #[error("the index can not be read or written: {0}")]
    Io(String),
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Self::Full,
            // sled keeps only the text of an error that it has already told once.
            sled::Error::Io(error) if error.to_string().contains("No space left") => Self::Full,
            sled::Error::Io(error) => Self::Io(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, IndexError>;

/// Something that is still to be sent, as the dispatcher needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The delivery.
    pub id: DeliveryId,
    /// Where it goes.
    pub webhook: WebhookId,
    /// Where its event lies.
    pub location: Location,
    /// How it stands.
    pub delivery: Delivery,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    db: sled::Db,
    /// Handles of the trees that are known to exist: asking sled for all names is slow.
    trees: RwLock<HashMap<String, Tree>>,
    meta: Tree,
    pending: Tree,
    versions: Tree,
    carried: Tree,
    carried_refs: Tree,
}

/// Runs what may panic on damage, and turns the panic into an error.
fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("sled panicked");
        Err(IndexError::Damaged(text.chars().take(200).collect()))
    })
}

impl Index {
    /// Opens or creates the index in a folder. `cache_bytes` bounds sled's cache; about three
    /// times as much memory is used.
    ///
    /// # Errors
    /// `Damaged` for anything that does not check out, `Full`, `Io`.
    pub fn open(directory: &Path, cache_bytes: u64) -> Result<Self> {
        remove_unfinished_snapshots(directory);
        contained(|| {
            let db = sled::Config::new()
                .path(directory)
                .cache_capacity(cache_bytes)
                .mode(sled::Mode::HighThroughput)
                .flush_every_ms(Some(500))
                .open()?;
            let meta = db.open_tree("meta")?;
            match meta.get("format")? {
                Some(format) if format == FORMAT => {}
                Some(_) => return Err(IndexError::Damaged("it is of another format".to_owned())),
                // A file cut short opens "successfully" with nothing in it.
                None if db.was_recovered() => return Err(IndexError::Damaged("its first row is missing".to_owned())),
                None => {
                    meta.insert("format", FORMAT)?;
                }
            }
            Ok(Self {
                trees: RwLock::new(HashMap::new()),
                meta,
                pending: db.open_tree("pending")?,
                versions: db.open_tree("versions")?,
                carried: db.open_tree("carried")?,
                carried_refs: db.open_tree("carried.ref")?,
                db,
            })
        })
    }

    /// The sequence up to which the journal is applied; 0 in a new index.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn position(&self) -> Result<u64> {
        contained(|| match self.meta.get("position")? {
            None => Ok(0),
            Some(row) => rows::decode(b"position", &row, "the position"),
        })
    }

    /// Everything that is still to be sent, in order of acceptance.
    ///
    /// # Errors
    /// When the index can not be read, or `each` says so.
    pub fn pending(&self, mut each: impl FnMut(Pending)) -> Result<()> {
        contained(|| {
            for item in &self.pending {
                let (key, row) = item?;
                each(rows::pending_from(&key, &row)?);
            }
            Ok(())
        })
    }

    /// When the oldest pending delivery was accepted that goes to one of these webhooks.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn oldest_pending(&self, of: &dyn Fn(WebhookId) -> bool) -> Result<Option<Timestamp>> {
        contained(|| {
            for item in &self.pending {
                let (key, row) = item?;
                let pending = rows::pending_from(&key, &row)?;
                if of(pending.webhook) {
                    return Ok(Some(pending.id.event.created_at()));
                }
            }
            Ok(None)
        })
    }

    /// The same for each of these webhooks, as far as it is among the oldest `budget`.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn oldest_pending_of(
        &self,
        mut wanted: HashSet<WebhookId>,
        budget: usize,
    ) -> Result<HashMap<WebhookId, Timestamp>> {
        contained(|| {
            let mut oldest = HashMap::new();
            for item in self.pending.iter().take(budget) {
                if wanted.is_empty() {
                    break;
                }
                let (key, row) = item?;
                let pending = rows::pending_from(&key, &row)?;
                if wanted.remove(&pending.webhook) {
                    oldest.insert(pending.webhook, pending.id.event.created_at());
                }
            }
            Ok(oldest)
        })
    }

    /// A webhook as it was at a version, in the form it was stored in.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn webhook_version(&self, webhook: WebhookId, version: u32) -> Result<Option<Vec<u8>>> {
        contained(|| {
            let key = rows::version_key(webhook, version);
            match self.versions.get(&key)? {
                None => Ok(None),
                Some(row) => rows::unseal_keyed(&key, &row)
                    .map(|bytes| Some(bytes.to_vec()))
                    .ok_or_else(|| rows::damaged("a webhook version")),
            }
        })
    }

    /// The event that was posted with an idempotency key, and the digest of what was posted.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn idempotency(&self, token: &str, key: &str, now: Timestamp) -> Result<Option<(EventId, [u8; 16])>> {
        contained(|| {
            let today = now.day();
            let yesterday = Day::from_number(today.number().saturating_sub(1));
            for day in [today, yesterday] {
                let Some(tree) = self.existing(&format!("idem.{day}"))? else { continue };
                let key = rows::idempotency_key(token, key);
                if let Some(row) = tree.get(&key)? {
                    return rows::idempotency_from(&key, &row).map(Some);
                }
            }
            Ok(None)
        })
    }

    /// The days that have a log, newest first.
    #[must_use]
    pub fn days(&self) -> Vec<Day> {
        self.days_with(&["log."])
    }

    /// The oldest day that anything is kept of.
    #[must_use]
    pub fn oldest_day(&self) -> Option<Day> {
        self.days_with(&["log.", "audit."]).pop()
    }

    /// The days of trees with these beginnings of a name, newest first.
    fn days_with(&self, prefixes: &[&str]) -> Vec<Day> {
        let day_of = |name: &[u8]| {
            let name = std::str::from_utf8(name).ok()?;
            prefixes.iter().find_map(|prefix| Day::parse(name.strip_prefix(prefix)?))
        };
        let mut days: Vec<Day> = self.db.tree_names().iter().filter_map(|name| day_of(name)).collect();
        days.sort_unstable_by(|a, b| b.cmp(a));
        days
    }

    /// Drops a day's log and what was done on it. The caller has carried forward what is still needed.
    ///
    /// # Errors
    /// When the index can not be written.
    pub fn drop_day(&self, day: Day) -> Result<()> {
        contained(|| {
            self.drop_tree(&format!("log.{day}"))?;
            self.drop_tree(&format!("ref.{day}"))?;
            self.drop_tree(&format!("audit.{day}"))
        })
    }

    /// Drops the idempotency keys of days before `day`.
    ///
    /// # Errors
    /// When the index can not be written.
    pub fn drop_idempotency_before(&self, day: Day) -> Result<()> {
        contained(|| {
            for name in self.db.tree_names() {
                let Ok(name) = std::str::from_utf8(&name) else { continue };
                let of_day = name.strip_prefix("idem.").and_then(Day::parse);
                if of_day.is_some_and(|of_day| of_day < day) {
                    self.drop_tree(name)?;
                }
            }
            Ok(())
        })
    }

    /// Bytes of the index on disk.
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or_default()
    }

    /// Waits until what was applied has left the process.
    ///
    /// # Errors
    /// When the index can not be written.
    pub fn flush(&self) -> Result<()> {
        contained(|| Ok(self.db.flush().map(|_| ())?))
    }

    /// Reads every row and checks it. Returns how many there are.
    ///
    /// # Errors
    /// `Damaged` at the first that does not check out.
    pub fn verify(&self) -> Result<u64> {
        contained(|| {
            let mut checked = 0;
            for name in self.db.tree_names() {
                if &*name == b"__sled__default" {
                    continue;
                }
                for item in &self.db.open_tree(&name)? {
                    let (key, row) = item?;
                    let format = &*name == b"meta" && key == b"format";
                    if !format && rows::unseal_keyed(&key, &row).is_none() {
                        let text = format!("a row of {} does not check out", String::from_utf8_lossy(&name));
                        return Err(IndexError::Damaged(text));
                    }
                    checked += 1;
                }
            }
            Ok(checked)
        })
    }

    fn existing(&self, name: &str) -> Result<Option<Tree>> {
        if let Some(known) = self.trees.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Some(known.clone()));
        }
        if self.db.tree_names().iter().any(|known| known == name.as_bytes()) {
            return self.tree(name).map(Some);
        }
        Ok(None)
    }

    fn tree(&self, name: &str) -> Result<Tree> {
        if let Some(known) = self.trees.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(known.clone());
        }
        let tree = self.db.open_tree(name)?;
        self.trees.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), tree.clone());
        Ok(tree)
    }

    fn drop_tree(&self, name: &str) -> Result<()> {
        self.trees.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.db.drop_tree(name)?;
        Ok(())
    }
}

/// A snapshot that was being written when the disk filled up makes every later open fail, though
/// the log beside it has everything.
fn remove_unfinished_snapshots(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let unfinished = name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating"));
        if unfinished && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an unfinished index snapshot stays");
        }
    }
}

/// Moves an index that is no good out of the way, and tells where to. The last two are kept for
/// whoever wants to know what happened.
///
/// # Errors
/// When the system does not let it.
pub fn move_aside(directory: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or("index");
    let parent = directory.parent().unwrap_or_else(|| Path::new("."));
    let prefix = format!("{name}.damaged-");
    let mut earlier: Vec<PathBuf> = std::fs::read_dir(parent)?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    earlier.sort();
    while earlier.len() > 1 {
        std::fs::remove_dir_all(earlier.remove(0))?;
    }
    let target = parent.join(format!("{prefix}{}", now.to_string().replace(':', "")));
    std::fs::rename(directory, &target)?;
    Ok(target)
}
