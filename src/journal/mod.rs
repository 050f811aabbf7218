//! The journal: what is true.
//!
//! An append-only sequence of checksummed records in segment files, a folder per day of
//! retention. A record is *committed* when `fdatasync` has returned after it was written; nobody
//! is told of anything earlier. The journal does not know what the records mean to the rest, and
//! is never changed in place: a torn tail is cut, damage elsewhere is copied aside and skipped,
//! and a whole folder goes when its time is up.
//!
//! ```text
//! journal/2026-11-23/00000000000000000001.seg      first record: snapshot of the configuration
//!                    00000000000000048213.seg      named by the sequence of its first record
//!         2026-11-24/…
//!         quarantine/…48213-10240-311.bad          bytes that did not check out
//!
//! record, little-endian:
//!   0  magic "PRJ1"        4  version u8 · kind u8 · zero u16     8  body length u32
//!  12  meta length u32    16  sequence u64                       24  CRC32C of the body u32
//!  28  CRC32C of bytes 0..28                                     32  body: meta, then payload
//! ```
//!
//! Invariants: sequences rise over the segments in name order, without gaps within a segment (the
//! sequences of what was cut from a torn tail are not used again: the next segment begins behind
//! them); a segment begins with a snapshot, so the newest whole segment is enough to know the
//! configuration, and is never removed; after the first failed sync nothing is appended any more.

mod append;
mod committer;
mod company;
mod disk;
mod frame;
mod reader;
mod recent;
mod record;
mod recovery;
mod removal;
mod wire;

pub use append::Append;
pub use committer::{Committer, Sink};
pub use disk::{Disk, DiskEntry, RealDisk, SegmentFile};
pub use frame::{FRAME_LENGTH, Frame, RECORD_MAX};
pub use reader::{Replayed, SegmentReader};
pub use record::{
    AttemptRecord, CarriedDelivery, ChangeCause, ChangeRecord, Collection, ConfigImage, ConfigRecord, Record, Target,
};
pub use recovery::{Opened, Options, RecoveryReport};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::domain::event::Location;
use crate::domain::time::Day;
use recent::{NEIGHBOURS_BYTES, Neighbours, RecentPayloads};

/// What a caller of the journal can react to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk is full; nothing of the batch was kept. Later appends may succeed.
    #[error("the disk that holds the journal is full")]
    Full,
    /// A write or sync failed, now or earlier. Nothing is accepted until the daemon has started
    /// anew and read the journal from the disk.
    #[error("the journal failed and takes nothing more: {0}")]
    Failed(Arc<str>),
    /// More is waiting to be committed than the bound allows.
    #[error("the journal is behind: {0} bytes wait to be written")]
    Busy(usize),
    /// A record is longer than the format can hold, in bytes.
    #[error("a record of {0} bytes is too long for the journal")]
    TooLong(usize),
    /// A record did not check out.
    #[error("the record at {0:?} is damaged")]
    Damaged(Location),
    /// The record's segment is gone.
    #[error("the record at {0:?} is no longer in the journal")]
    Gone(Location),
    /// Reading failed.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
}

impl JournalError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path, error: Arc::new(error) }
    }
}

/// A record that is on stable storage.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its place in the journal's order, from 1.
    pub sequence: u64,
    /// Where it lies.
    pub location: Location,
    /// What it says.
    pub record: Arc<Record>,
}

/// A segment as the journal knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The folder it is in.
    pub day: Day,
    /// Committed bytes.
    pub length: u64,
}

/// State shared between the handle, the committer and readers.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// By first sequence.
    segments: RwLock<BTreeMap<u64, Segment>>,
    /// Days of which files may be left, though their segments are known no more.
    going: Mutex<BTreeSet<Day>>,
    /// The last committed sequence; 0 while there is none.
    committed: watch::Sender<u64>,
    waiting_bytes: AtomicUsize,
    /// Somebody waits for what was queued, or enough of it has gathered: the committer, if it lets facts gather, goes on.
    wanted: Notify,
    /// Facts wait for room on the disk.
    facts_wait: AtomicBool,
    failed: AtomicBool,
    /// Why, once it has failed.
    failure: watch::Sender<Option<Arc<str>>>,
    quarantined: AtomicU64,
    cache: Mutex<RecentPayloads>,
    neighbours: Mutex<Neighbours>,
    /// See [`Journal::turn`].
    turns: [tokio::sync::Mutex<()>; TURNS],
}

/// More than disks work on at a time, so that hardly anybody waits for what lies elsewhere.
const TURNS: usize = 64;

impl Shared {
    fn path_of(&self, segment: u64) -> Option<PathBuf> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.get(&segment).map(|known| segment_path(&self.directory, known.day, segment))
    }

    fn failure(&self) -> Option<Arc<str>> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        Some(self.failure.borrow().clone().unwrap_or_else(|| "unknown".into()))
    }

    fn fail(&self, why: &str) {
        let first = |failure: &mut Option<Arc<str>>| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| why.into());
            self.failed.store(true, Ordering::Release);
            is_first
        };
        self.failure.send_if_modified(first);
    }
}

/// The handle through which everyone but the committer uses the journal.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Append>,
}

/// Resolves when the record is on stable storage, or never will be.
pub type Ticket = oneshot::Receiver<Result<Committed, JournalError>>;

impl Journal {
    /// The most bytes that may wait for the disk before appends that can be refused are.
    pub const WAITING_BYTES_MAX: usize = 48 << 20;

    /// Queues a record from outside, which can be refused: everything an application or an
    /// operator asks for. The ticket resolves after the commit.
    ///
    /// # Errors
    /// `Busy` when too much waits, `TooLong`, `Failed` after a failed sync.
    ///
    /// # Panics
    /// When given a snapshot: those are the committer's own.
    pub fn append(&self, record: Record) -> Result<Ticket, JournalError> {
        let waiting = self.shared.waiting_bytes.load(Ordering::Relaxed);
        if waiting > Self::WAITING_BYTES_MAX {
            return Err(JournalError::Busy(waiting));
        }
        let (done, ticket) = oneshot::channel();
        self.enqueue(Append::new(record, true, Some(done)))?;
        Ok(ticket)
    }

    /// Queues a fact that has already happened, such as an attempt: it is never refused for want
    /// of room, rides on the next commit, and is tried again when the disk is full.
    ///
    /// # Errors
    /// `TooLong`, `Failed` after a failed sync.
    ///
    /// # Panics
    /// When given a snapshot: those are the committer's own.
    pub fn append_fact(&self, record: Record) -> Result<(), JournalError> {
        self.enqueue(Append::new(record, false, None))
    }

    /// Queues a fact that somebody waits for. When the disk is full the ticket resolves once there
    /// is room again.
    ///
    /// # Errors
    /// `Failed` after a failed sync.
    pub fn append_awaited_fact(&self, record: Record) -> Result<Ticket, JournalError> {
        let (done, ticket) = oneshot::channel();
        self.enqueue(Append::fact(record, done))?;
        Ok(ticket)
    }

    /// Whether facts wait for room on the disk: what is committed is then not all there is.
    #[must_use]
    pub fn facts_wait(&self) -> bool {
        self.shared.facts_wait.load(Ordering::Acquire)
    }

    /// Waits until everything queued before the call is committed, and tells the last sequence.
    ///
    /// # Errors
    /// `Failed` after a failed sync.
    pub async fn barrier(&self) -> Result<u64, JournalError> {
        let (done, ticket) = oneshot::channel();
        self.enqueue(Append::barrier(done))?;
        ticket.await.map_or_else(|_| Err(self.stopped()), |result| result.map(|committed| committed.sequence))
    }

    /// Commits what was queued before and takes nothing more.
    pub async fn close(&self) {
        let (done, ticket) = oneshot::channel();
        // A journal that failed is closed all the same, so that its thread ends.
        if self.queue.send(Append::close(done)).is_ok() {
            self.shared.wanted.notify_one();
            let _ = ticket.await;
        }
    }

    fn enqueue(&self, append: Append) -> Result<(), JournalError> {
        if let Some(why) = self.shared.failure() {
            return Err(JournalError::Failed(why));
        }
        // It could be written, but would count as damage ever after.
        if append.size() > RECORD_MAX {
            return Err(JournalError::TooLong(append.size()));
        }
        let (size, urgent) = (append.size(), append.urgent);
        let before = self.shared.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        self.queue.send(append).map_err(|_| self.stopped())?;
        let enough = Committer::FACTS_BYTES_ENOUGH;
        if urgent || (before < enough && before + size >= enough) {
            self.shared.wanted.notify_one();
        }
        Ok(())
    }

    fn stopped(&self) -> JournalError {
        JournalError::Failed(self.shared.failure().unwrap_or_else(|| "it was closed".into()))
    }

    /// Why nothing is accepted any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared.failure()
    }

    /// Waits until nothing is accepted any more, and tells why.
    pub async fn failed(&self) -> Arc<str> {
        let mut failure = self.shared.failure.subscribe();
        let known = failure.wait_for(Option::is_some).await.map(|failure| failure.clone());
        known.ok().flatten().unwrap_or_else(|| "the journal ended".into())
    }

    /// The sequence of the last record; 0 in an empty journal. The next one's may be higher by more
    /// than one.
    #[must_use]
    pub fn last_committed(&self) -> u64 {
        *self.shared.committed.borrow()
    }

    /// Changes whenever something was committed.
    #[must_use]
    pub fn watch_committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// Reads one event record back and checks it. Blocks on the disk unless it is recent.
    ///
    /// # Errors
    /// `Damaged` when it does not check out (and it is quarantined), `Gone` when its segment has
    /// expired, `Io`.
    pub fn read(&self, location: Location) -> Result<Arc<Record>, JournalError> {
        if let Some(record) = self.read_recent(location) {
            return Ok(record);
        }
        let path = self.shared.path_of(location.segment).ok_or(JournalError::Gone(location))?;
        let file = match self.shared.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::Gone(location)),
            Err(error) => return Err(JournalError::io(&path)(error)),
        };
        // Known before the read: what is not committed then may be taken back meanwhile, and other bytes committed in its place.
        let committed = self.segments_known().get(&location.segment).map_or(0, |segment| segment.length);
        let behind = usize::try_from(committed.saturating_sub(u64::from(location.offset))).unwrap_or(usize::MAX);
        let length = location.length as usize;
        let mut stretch = vec![0; behind.min(NEIGHBOURS_BYTES).max(length)];
        let read =
            disk::read_full(&*file, &mut stretch, u64::from(location.offset)).map_err(JournalError::io(&path))?;
        stretch.truncate(read);
        let bytes = Bytes::copy_from_slice(stretch.get(..length).unwrap_or(&stretch));
        if read > length {
            self.neighbours().put(location, stretch.into());
        }
        match record_of(&bytes) {
            Some(record) => Ok(Arc::new(record)),
            None => {
                self.quarantine(location.segment, u64::from(location.offset), &bytes);
                Err(JournalError::Damaged(location))
            }
        }
    }

    /// The file of a segment, for reading. Blocks on the disk.
    ///
    /// # Errors
    /// As the system says; `NotFound` when it is gone.
    pub fn open_segment(&self, name: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.shared.path_of(name).ok_or(io::ErrorKind::NotFound)?;
        self.shared.disk.open(&path)
    }

    /// The record if it is still in memory; never blocks on the disk.
    #[must_use]
    pub fn read_recent(&self, location: Location) -> Option<Arc<Record>> {
        if let Some(record) = self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner).get(location) {
            return Some(record);
        }
        // What has expired is gone, also when a neighbour was read before.
        self.day_of(location.segment)?;
        let bytes = self.neighbours().get(location)?;
        record_of(&bytes).map(Arc::new)
    }

    /// One after the other of those who read what lies close together, as deliveries of a backlog do: whoever waited finds that the
    /// record came along with what was read meanwhile.
    pub async fn turn(&self, location: Location) -> tokio::sync::MutexGuard<'_, ()> {
        let stretch = location.segment.wrapping_add(u64::from(location.offset) / NEIGHBOURS_BYTES as u64);
        self.shared.turns[usize::try_from(stretch).unwrap_or_default() % TURNS].lock().await
    }

    fn segments_known(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Segment>> {
        self.shared.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every committed record with a sequence in `from..=to`, in order. Damaged stretches are
    /// quarantined and skipped. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`; whatever `each` returns as an error ends the replay.
    pub fn replay<E: From<JournalError>>(
        &self,
        from: u64,
        to: u64,
        mut each: impl FnMut(Committed) -> Result<(), E>,
    ) -> Result<(), E> {
        if from > to {
            return Ok(());
        }
        let segments = self.segments();
        let first = segments.range(..=from).next_back().map_or(0, |(first, _)| *first);
        for (&name, segment) in segments.range(first..=to) {
            let path = segment_path(&self.shared.directory, segment.day, name);
            let file = match self.shared.disk.open(&path) {
                Ok(file) => file,
                // Expired since the list was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(JournalError::io(&path)(error).into()),
            };
            let mut reader = SegmentReader::new(&*file, name, segment.length);
            while let Some(item) = reader.next().map_err(JournalError::io(&path))? {
                match item {
                    Replayed::Record(committed) if committed.sequence > to => return Ok(()),
                    Replayed::Record(committed) if committed.sequence >= from => each(committed)?,
                    Replayed::Record(_) => {}
                    Replayed::Damaged { offset, bytes } => self.quarantine(name, offset, &bytes),
                }
            }
        }
        Ok(())
    }

    /// The segments there are, by first sequence.
    #[must_use]
    pub fn segments(&self) -> BTreeMap<u64, Segment> {
        self.segments_known().clone()
    }

    /// The folder that holds a segment.
    #[must_use]
    pub fn day_of(&self, segment: u64) -> Option<Day> {
        self.segments_known().get(&segment).map(|known| known.day)
    }

    /// Damaged stretches found so far, over all starts.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.shared.quarantined.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.shared.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Where the journal lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The days that there are segments of, and those whose removal is not over; oldest first.
    #[must_use]
    pub fn days(&self) -> Vec<Day> {
        let mut days = self.shared.going.lock().unwrap_or_else(PoisonError::into_inner).clone();
        days.extend(self.shared.segments.read().unwrap_or_else(PoisonError::into_inner).values().map(|of| of.day));
        days.into_iter().collect()
    }

    fn quarantine(&self, segment: u64, offset: u64, bytes: &[u8]) {
        recovery::quarantine(&self.shared, segment, offset, bytes);
    }
}

fn record_of(bytes: &Bytes) -> Option<Record> {
    Frame::decode(bytes).and_then(|frame| Record::decode(&frame))
}

/// `<directory>/<day>/<first sequence, 20 digits>.seg`
fn segment_path(directory: &Path, day: Day, first_sequence: u64) -> PathBuf {
    directory.join(day.to_string()).join(format!("{first_sequence:020}.seg"))
}

/// The first sequence of a segment, from the name of its file.
fn segment_name(file: &str) -> Option<u64> {
    file.strip_suffix(".seg").and_then(|digits| digits.parse().ok())
}
