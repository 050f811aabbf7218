//! What happens to the journal at the start: which segments there are, where the last one ends,
//! and what the configuration is.
//!
//! Only the newest segments are read; the others were synced before the next one was begun, and
//! are checked whenever they are read. A stretch that does not check out at the very end of the
//! last segment is a torn tail: it was never acknowledged, and is cut, though not without a copy.
//! Anywhere else it is damage: copied to `quarantine/`, counted and skipped, because what stands behind it may have been acknowledged.
//! So is a whole record that can not be understood: perhaps a newer version wrote it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{Notify, mpsc, watch};

use super::committer::Committer;
use super::disk::{Disk, SegmentFile};
use super::frame::{FRAME_LENGTH, Frame};
use super::reader::{Replayed, SegmentReader};
use super::{ConfigImage, Journal, JournalError, Record, Segment, Shared, segment_name, segment_path};
use crate::clock::Clock;
use crate::domain::time::Day;

/// How the journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that has reached this many bytes is followed by a new one.
    pub segment_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20 }
    }
}

/// What the start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// Damaged stretches that were newly quarantined.
    pub quarantined: u64,
    /// Segments there are.
    pub segments: usize,
}

/// An open journal.
#[derive(Debug)]
pub struct Opened {
    /// The handle to share.
    pub journal: Journal,
    /// Does the writing; has to be run.
    pub committer: Committer,
    /// The configuration as of the last record.
    pub image: ConfigImage,
    /// What was found.
    pub report: RecoveryReport,
}

impl Journal {
    /// Opens the journal in `directory`, which must exist, and mends its tail.
    ///
    /// # Errors
    /// `Io` when the disk can not be read, or the tail can not be cut or synced.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        clock: Clock,
        options: Options,
    ) -> Result<Opened, JournalError> {
        disk.create_dir(&directory).map_err(JournalError::io(&directory))?;
        let quarantine_dir = directory.join(QUARANTINE);
        disk.create_dir(&quarantine_dir).map_err(JournalError::io(&quarantine_dir))?;
        let parent = directory.parent().unwrap_or(&directory).to_owned();
        for folder in [&directory, &parent] {
            disk.sync_dir(folder).map_err(JournalError::io(folder))?;
        }
        let set_aside = disk.list(&quarantine_dir).map_err(JournalError::io(&quarantine_dir))?;
        let quarantined = set_aside.iter().filter(|entry| entry.name.ends_with(".bad")).count() as u64;
        let segments = list_segments(&*disk, &directory)?;
        let shared = Arc::new(Shared {
            disk,
            directory,
            segments: RwLock::new(segments),
            going: Mutex::default(),
            committed: watch::Sender::new(0),
            waiting_bytes: AtomicUsize::new(0),
            wanted: Notify::new(),
            facts_wait: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failure: watch::Sender::new(None),
            quarantined: AtomicU64::new(quarantined),
            cache: Mutex::default(),
            neighbours: Mutex::default(),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        });
        let recovered = recover(&shared)?;
        let report = RecoveryReport {
            cut_bytes: recovered.cut_bytes,
            quarantined: shared.quarantined.load(Ordering::Relaxed) - quarantined,
            segments: shared.segments.read().map_or(0, |segments| segments.len()),
        };
        shared.committed.send_replace(recovered.last_sequence);
        let (queue, receiver) = mpsc::unbounded_channel();
        let journal = Self { shared: Arc::clone(&shared), queue };
        let committer = Committer::new(
            shared,
            receiver,
            clock,
            options,
            recovered.next_sequence,
            recovered.image.clone(),
            recovered.open,
        );
        Ok(Opened { journal, committer, image: recovered.image, report })
    }
}

pub(super) const QUARANTINE: &str = "quarantine";

fn list_segments(disk: &dyn Disk, directory: &Path) -> Result<BTreeMap<u64, Segment>, JournalError> {
    let mut segments = BTreeMap::new();
    for folder in disk.list(directory).map_err(JournalError::io(directory))? {
        let Some(day) = Day::parse(&folder.name).filter(|_| folder.is_dir) else { continue };
        let path = directory.join(&folder.name);
        for file in disk.list(&path).map_err(JournalError::io(&path))? {
            if let Some(name) = segment_name(&file.name).filter(|_| !file.is_dir) {
                let found = Segment { day, length: file.length };
                let known = segments.entry(name).or_insert(found);
                // An empty one may be left of a batch that found the disk full.
                if found.length > known.length {
                    *known = found;
                }
            }
        }
    }
    Ok(segments)
}

struct Recovered {
    /// Of the last record that is there.
    last_sequence: u64,
    /// Higher than any that was ever used, whatever became of its record.
    next_sequence: u64,
    image: ConfigImage,
    cut_bytes: u64,
    /// The segment to go on writing in, with its length. `None`: a new one is to be begun.
    open: Option<(u64, Segment, Box<dyn SegmentFile>)>,
}

/// Reads backwards to the newest segment that begins with a whole snapshot, then forwards.
fn recover(shared: &Arc<Shared>) -> Result<Recovered, JournalError> {
    let segments: Vec<(u64, Segment)> = {
        let segments = shared.segments.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        segments.iter().map(|(name, segment)| (*name, *segment)).collect()
    };
    let mut start = segments.len();
    while start > 0 {
        start -= 1;
        if begins_with_snapshot(shared, segments[start])? {
            break;
        }
    }
    let mut recovered =
        Recovered { last_sequence: 0, next_sequence: 1, image: ConfigImage::default(), cut_bytes: 0, open: None };
    for (place, &(name, segment)) in segments.iter().enumerate().skip(start) {
        let is_last = place + 1 == segments.len();
        read_segment(shared, name, segment, is_last, &mut recovered)?;
    }
    Ok(recovered)
}

fn begins_with_snapshot(shared: &Shared, (name, segment): (u64, Segment)) -> Result<bool, JournalError> {
    let path = segment_path(&shared.directory, segment.day, name);
    let file = shared.disk.open(&path).map_err(JournalError::io(&path))?;
    let first = SegmentReader::new(&*file, name, segment.length).next().map_err(JournalError::io(&path))?;
    Ok(matches!(first, Some(Replayed::Record(committed)) if matches!(*committed.record, Record::Snapshot { .. })))
}

fn read_segment(
    shared: &Arc<Shared>,
    name: u64,
    segment: Segment,
    is_last: bool,
    recovered: &mut Recovered,
) -> Result<(), JournalError> {
    let path = segment_path(&shared.directory, segment.day, name);
    let mut file = if is_last { shared.disk.open_to_append(&path) } else { shared.disk.open(&path) }
        .map_err(JournalError::io(&path))?;
    let mut end = segment.length;
    let mut damage = Vec::new();
    {
        let mut reader = SegmentReader::new(&*file, name, segment.length);
        while let Some(item) = reader.next().map_err(JournalError::io(&path))? {
            match item {
                Replayed::Record(committed) => {
                    recovered.last_sequence = recovered.last_sequence.max(committed.sequence);
                    recovered.image.apply(&committed.record);
                }
                Replayed::Damaged { offset, bytes } => damage.push((offset, bytes, reader.offset())),
            }
        }
        // A segment without one good record still used up the sequences before its name.
        recovered.next_sequence = recovered.next_sequence.max(reader.next_sequence());
        // Only a stretch that reaches the end of the last segment can be a torn write, and only
        // one whose checksums are wrong.
        if is_last
            && let Some((offset, bytes, reach)) = damage.last()
            && *reach >= reader.offset()
            && Frame::decode(bytes).is_none()
        {
            end = *offset;
            // It may be rot in the very last record all the same: nothing goes without a copy.
            // Like this it is not counted as damage, because after a crash it is no surprise.
            if let Err(error) = set_aside(shared, name, *offset, bytes, "cut") {
                tracing::warn!(%error, "the torn tail of the journal could not be copied aside");
            }
            damage.pop();
        }
    }
    let is_whole = damage.is_empty();
    for (offset, bytes, _) in damage {
        quarantine(shared, name, offset, &bytes);
    }
    if is_last {
        recovered.cut_bytes = segment.length - end;
        // What was cut may have been acknowledged once, if it is rot and not a torn write. Its
        // sequences are not given to others, who would pass for it.
        recovered.next_sequence += recovered.cut_bytes.div_ceil(FRAME_LENGTH as u64);
        let segment = Segment { length: end, ..segment };
        settle_last(shared, &path, (name, segment), &mut *file, recovered.cut_bytes)?;
        // Behind a cut a new segment begins, so that sequences have no gaps within one; behind
        // damage as well, because it may have been the snapshot.
        if recovered.cut_bytes == 0 && is_whole && end > 0 {
            recovered.open = Some((name, segment, file));
        }
    }
    Ok(())
}

/// Cuts the last segment to its length and makes what is left durable.
fn settle_last(
    shared: &Shared,
    path: &Path,
    (name, segment): (u64, Segment),
    file: &mut dyn SegmentFile,
    cut_bytes: u64,
) -> Result<(), JournalError> {
    if cut_bytes > 0 {
        file.truncate(segment.length).map_err(JournalError::io(path))?;
    }
    // What a killed daemon had written may be in the page cache only. It counts from now on, so
    // it must be durable from now on; so must the names of its file and folder.
    file.sync().map_err(JournalError::io(path))?;
    if segment.length == 0 {
        // Its durable length is 0: should the name come back, it hides nothing.
        shared.disk.remove_file(path).map_err(JournalError::io(path))?;
    }
    let folder = shared.directory.join(segment.day.to_string());
    shared.disk.sync_dir(&folder).map_err(JournalError::io(&folder))?;
    let mut segments = shared.segments.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    if segment.length == 0 {
        segments.remove(&name);
    } else {
        segments.insert(name, segment);
    }
    Ok(())
}

/// Copies damaged bytes aside, once for each place. That can fail as everything on a failing disk
/// can; the damage is skipped all the same.
pub(super) fn quarantine(shared: &Shared, segment: u64, offset: u64, bytes: &[u8]) {
    match set_aside(shared, segment, offset, bytes, "bad") {
        Ok(()) => {
            shared.quarantined.fetch_add(1, Ordering::Relaxed);
            tracing::error!(segment, offset, bytes = bytes.len(), "damage in the journal, copied to quarantine");
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            shared.quarantined.fetch_add(1, Ordering::Relaxed);
            tracing::error!(segment, offset, %error, "damage in the journal could not be copied aside");
        }
    }
}

/// Copies bytes of a segment to a file of their own; one that is there already stays.
fn set_aside(shared: &Shared, segment: u64, offset: u64, bytes: &[u8], suffix: &str) -> std::io::Result<()> {
    let name = format!("{segment:020}-{offset:010}-{}.{suffix}", bytes.len());
    let mut file = shared.disk.create(&shared.directory.join(QUARANTINE).join(name))?;
    file.write_at(bytes, 0)?;
    file.sync()
}
