//! The index: a view of the journal that can be searched, in sled.
//!
//! Holds where each delivery stands, its attempts, what each event can be found by, and which
//! idempotency keys were used; never a payload, and nothing that is not in the journal. It does
//! not repair itself: whatever is wrong with it, it is moved aside and built anew from the journal.
//!
//! What is hardly written to any more is not in sled but in files of its own beside it (`sealing`).
//!
//! Invariants: the position is written after the rows it covers, and seldom, so applying records
//! from it onwards, many of them twice, gives the same rows; every row carries a checksum; rows
//! stay small, because sled keeps large values in files that it never syncs.
//!
//! ```text
//! log.2026-11-23         event 16            -> EventRow
//!                        event 16 ordinal 2  -> DeliveryRow, with its newest attempts
//!                        … chunk 1           -> older attempts, 16 at a time
//! ref.2026-11-23.000000  reference 00 event  -> (checksum only); the first run of the day
//! idem.2026-11-23.000000 token 00 key        -> event, digest
//! audit.2026-11-23       millis 8 sequence 8 -> AuditRow
//! carried, carried.ref                       as log and ref, for events that outlived their day
//! pending                event ordinal       -> PendingRow
//! versions               webhook version     -> the webhook as it was then
//! meta                   format, position, whether there are tables (not in packs)
//! ```

mod apply;
mod audit;
mod dropping;
mod merge;
mod near;
mod opening;
mod pack;
mod query;
mod rows;
mod runs;
mod sealed;
mod sealing;
pub mod session;
mod shelf;
mod table;
mod walk;

pub use apply::Batch;
pub use audit::{AuditPage, AuditPlace, AuditQuery};
pub use opening::move_aside;
pub use query::{Found, FoundEvent, Query};
pub use rows::readable_as;
pub use walk::{Order, Page, Walk};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use sled::Tree;

use crate::domain::delivery::Delivery;
use crate::domain::event::{Event, Location};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::time::{Day, Timestamp};
use opening::{opened, remove_unfinished_snapshots};
use runs::{Kind, Runs};
use sealed::Folder;
use sealing::Tidying;
use shelf::Shelf;

/// Changes whenever rows written by an older version could be misread, or an older version could misread these.
const FORMAT: &[u8] = b"postrider index 4";

/// The same, but that all of it is in sled.
const FORMAT_WITHOUT_TABLES: &[u8] = b"postrider index 3";

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

impl From<std::io::Error> for IndexError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error.to_string()),
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
    folder: Folder,
    /// Shelves that are known to exist: asking sled for all names is slow.
    shelves: RwLock<BTreeMap<String, Shelf>>,
    meta: Tree,
    pending: Shelf,
    versions: Shelf,
    carried: Shelf,
    carried_refs: Shelf,
    runs: Runs,
    /// One writer at a time: two that change a pack would each write what the other does not know.
    writing: Mutex<Tidying>,
    /// The sequence up to which the journal is applied.
    position: AtomicU64,
    /// The same as it is written: what an index that was not closed begins from.
    saved: AtomicU64,
}

/// The folder of the tables, in the index's own: they are moved and removed with it. Also what tells in `meta` that there are some.
const TABLES: &str = "tables";

/// What the names of the days' logs begin with.
const LOG: &str = "log.";

/// The name, if it is that of a day's log.
fn log_of(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    name.strip_prefix(LOG).and_then(Day::parse).map(|_| name.to_owned())
}

/// Sequences that an index which was not closed applies again, at most: a moment's work.
const UNSAVED_MAX: u64 = 40_000;

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
            let db = opened(directory, cache_bytes)?;
            let meta = db.open_tree("meta")?;
            match meta.get("format")? {
                Some(format) if format == FORMAT => {}
                Some(format) if format == FORMAT_WITHOUT_TABLES => drop(meta.insert("format", FORMAT)?),
                Some(_) => return Err(IndexError::Damaged("it is of another format".to_owned())),
                // A file cut short opens "successfully" with nothing in it.
                None if db.was_recovered() => return Err(IndexError::Damaged("its first row is missing".to_owned())),
                None => {
                    meta.insert("format", FORMAT)?;
                }
            }
            let position = match meta.get("position")? {
                None => 0,
                Some(row) => rows::decode(b"position", &row, "the position")?,
            };
            let is_begun = meta.get(TABLES)?.is_some();
            let folder = Folder::open(directory.join(TABLES), is_begun)?;
            // A table is there at once, and its tree when sled has written that.
            for name in folder.names() {
                db.open_tree(name)?;
            }
            let names: Vec<_> = db.tree_names().iter().filter_map(|name| log_of(name)).collect();
            let open = |name: String| Ok((name.clone(), Shelf::with_tables(db.open_tree(&name)?, folder.of(&name))));
            let logs = names.into_iter().map(open).collect::<Result<BTreeMap<_, _>>>()?;
            let shelf = |name: &str| Ok::<_, IndexError>(Shelf::new(db.open_tree(name)?));
            Ok(Self {
                writing: Mutex::new(Tidying::new(logs.values())),
                shelves: RwLock::new(logs),
                meta,
                pending: shelf("pending")?,
                versions: shelf("versions")?,
                carried: shelf("carried")?,
                carried_refs: shelf("carried.ref")?,
                runs: Runs::open(&db, &folder)?,
                folder,
                position: AtomicU64::new(position),
                saved: AtomicU64::new(position),
                db,
            })
        })
    }

    /// Makes sure that damage to an index that was closed will be noticed. What sled wrote since it was opened, it reads once more
    /// when it is opened again, and passes over what does not check out as if it had never been. What it has in a snapshot it
    /// looks for, and a snapshot is written after opening.
    ///
    /// # Errors
    /// When the index can not be read or written.
    pub fn settle(directory: &Path, cache_bytes: u64) -> Result<()> {
        contained(|| opened(directory, cache_bytes).map(drop))
    }

    /// The sequence up to which the journal is applied; 0 in a new index.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    fn moved_on(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// Whether so much was applied since the position was written that it should be again.
    fn is_far_ahead(&self) -> bool {
        self.position().saturating_sub(self.saved.load(Ordering::Relaxed)) >= UNSAVED_MAX
    }

    /// Writes what was kept in memory, and then the position.
    fn save(&self) -> Result<()> {
        let position = self.position();
        if self.folder.is_begun() && self.meta.get(TABLES)?.is_none() {
            self.meta.insert(TABLES, &[])?;
        }
        self.runs.write(&self.db, &self.folder)?;
        self.meta.insert("position", rows::encode(b"position", &position))?;
        self.saved.store(position, Ordering::Relaxed);
        Ok(())
    }

    /// The next `count` of what is still to be sent, behind `after` or from the first on, in order of acceptance; for whoever takes
    /// all of it, once.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn pending_after(&self, after: Option<DeliveryId>, count: usize) -> Result<Vec<Pending>> {
        let start = after.map(DeliveryId::to_bytes);
        let start: &[u8] = start.as_ref().map_or(&[], |start| start);
        contained(|| {
            let rows = self.pending.in_passing(start)?;
            let others = rows.filter(|row| row.as_ref().map_or(true, |(key, _)| &**key != start));
            others.take(count).map(|row| row.and_then(|(key, row)| rows::pending_from(&key, &row))).collect()
        })
    }

    /// Everything that is still to be sent, in order of acceptance.
    ///
    /// # Errors
    /// When the index can not be read, or `each` says so.
    pub fn pending(&self, mut each: impl FnMut(Pending)) -> Result<()> {
        contained(|| {
            for item in self.pending.iter()? {
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
            for item in self.pending.iter()? {
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
            for item in self.pending.iter()?.take(budget) {
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

    /// Whether an idempotency key may have been used; `false` is certain, and never waits for the disk.
    #[must_use]
    pub fn may_know(&self, token: &str, key: &str, now: Timestamp) -> bool {
        let key = rows::idempotency_key(token, key);
        last_days(now).into_iter().any(|day| self.runs.may_be_used(day, &key))
    }

    /// Notes that an event's idempotency key was used, before the event is applied. Whatever its day: clocks are set back.
    pub fn note_key(&self, event: &Event) {
        if let Some(known) = &event.idempotency {
            self.runs.note_used(event.created_at().day(), &rows::idempotency_key(&event.token, &known.key));
        }
    }

    /// The event that was posted with an idempotency key, and the digest of what was posted.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn idempotency(&self, token: &str, key: &str, now: Timestamp) -> Result<Option<(EventId, [u8; 16])>> {
        contained(|| {
            let key = rows::idempotency_key(token, key);
            for day in last_days(now) {
                if let Some(row) = self.runs.get(Kind::Idempotency, day, &key)? {
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

    /// Bytes of the index on disk.
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or_default() + self.folder.bytes()
    }

    /// Writes what was kept in memory and waits until all of it has left the process.
    ///
    /// # Errors
    /// When the index can not be written.
    pub fn flush(&self) -> Result<()> {
        contained(|| {
            self.save()?;
            Ok(self.db.flush().map(|_| ())?)
        })
    }

    /// Reads every row and checks it. Returns how many there are.
    ///
    /// # Errors
    /// `Damaged` at the first that does not check out.
    pub fn verify(&self) -> Result<u64> {
        contained(|| {
            let mut checked = 0;
            for name in self.db.tree_names() {
                if &*name == b"__sled__default" || &*name == b"meta" {
                    continue;
                }
                let name = String::from_utf8_lossy(&name);
                let shelf = match self.runs.shelf_named(&name) {
                    Some(shelf) => Shelf::clone(&shelf),
                    None => self.shelf(&name)?,
                };
                for item in shelf.iter()? {
                    let (key, row) = item?;
                    if rows::unseal_keyed(&key, &row).is_none() {
                        return Err(IndexError::Damaged(format!("a row of {name} does not check out")));
                    }
                    checked += 1;
                }
            }
            Ok(checked)
        })
    }

    fn existing(&self, name: &str) -> Result<Option<Shelf>> {
        if let Some(known) = self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Some(known.clone()));
        }
        if self.db.tree_names().iter().any(|known| known == name.as_bytes()) {
            return self.shelf(name).map(Some);
        }
        Ok(None)
    }

    fn shelf(&self, name: &str) -> Result<Shelf> {
        if let Some(known) = self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(known.clone());
        }
        let tree = self.db.open_tree(name)?;
        let shelf = match log_of(name.as_bytes()) {
            Some(_) => Shelf::with_tables(tree, self.folder.of(name)),
            None => Shelf::new(tree),
        };
        self.shelves.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), shelf.clone());
        Ok(shelf)
    }
}

/// For whoever writes bit by bit, since a lock that is taken again at once keeps others waiting, or waits for sled.
fn pause_a_moment() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a millisecond; `park_timeout` counts from a clock that tests step on"
    )]
    std::thread::sleep(Duration::from_millis(1));
}

/// The days in which a key that still counts can have been used.
fn last_days(now: Timestamp) -> [Day; 2] {
    let today = now.day();
    [today, Day::from_number(today.number().saturating_sub(1))]
}
