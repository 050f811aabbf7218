//! Group commit: everything that waits is written together and made durable with one sync.
//!
//! There is one committer, on a thread of its own (in simulations: a task). It alone writes. A
//! full disk undoes the batch and is told to those who asked; any other failed write, and any
//! failed sync, ends the journal for good, because nobody can know any more what is on the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::append::{Append, Encoded};
use super::company::Company;
use super::disk::SegmentFile;
use super::frame::{FrameHeader, VERSION};
use super::recovery::Options;
use super::{Committed, ConfigImage, JournalError, Record, Segment, Shared, segment_path};
use crate::clock::Clock;
use crate::domain::event::Location;
use crate::domain::time::Day;

/// Told of every commit, on the committer's thread, before those who wait for it.
pub trait Sink: Send {
    /// The records are on stable storage.
    fn committed(&mut self, records: &[Committed]);
}

#[derive(Debug)]
struct Open {
    name: u64,
    segment: Segment,
    file: Box<dyn SegmentFile>,
}

/// The one writer.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedReceiver<Append>,
    clock: Clock,
    options: Options,
    next_sequence: u64,
    image: ConfigImage,
    open: Option<Open>,
    buffer: Vec<u8>,
    /// Facts that found the disk full and wait for room.
    overdue: VecDeque<Append>,
    /// Where those who asked are told; `None` is here, and then this shares its thread with others.
    answers: Option<Handle>,
    company: Company,
}

impl Committer {
    /// The longest a fact waits for company.
    pub const FACT_WAIT_MAX: Duration = Duration::from_millis(50);
    /// The most records of one batch.
    const BATCH_MAX: usize = 1024;
    /// Facts that have reached this many bytes wait no longer: at most a batch, however fast they come.
    pub(super) const FACTS_BYTES_ENOUGH: usize = 96 << 10;
    /// A batch that has reached this many bytes is closed.
    const BATCH_BYTES_MAX: usize = 4 << 20;
    /// How long facts that found the disk full wait until they are tried again.
    const FULL_WAIT: Duration = Duration::from_secs(1);

    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::UnboundedReceiver<Append>,
        clock: Clock,
        options: Options,
        next_sequence: u64,
        image: ConfigImage,
        open: Option<(u64, Segment, Box<dyn SegmentFile>)>,
    ) -> Self {
        let open = open.map(|(name, segment, file)| Open { name, segment, file });
        Self {
            shared,
            queue,
            clock,
            options,
            next_sequence,
            image,
            open,
            buffer: Vec::new(),
            overdue: VecDeque::new(),
            answers: None,
            company: Company::default(),
        }
    }

    /// Tells those who asked from a task of this runtime, where they are. From a thread outside of it each of them would have to be
    /// woken by itself.
    #[must_use]
    pub fn answering_on(self, answers: Option<Handle>) -> Self {
        Self { answers, ..self }
    }

    /// Commits until the journal is closed, or every handle is gone.
    pub async fn run(mut self, mut sink: impl Sink) {
        let mut closing = false;
        while !closing && let Some(first) = self.first().await {
            let mut batch = vec![first];
            self.gather(&mut batch).await;
            closing = batch.iter().any(|append| append.close);
            self.commit(batch, &mut sink);
        }
        let overdue: Vec<Append> = self.overdue.drain(..).collect();
        if !overdue.is_empty() {
            self.commit(overdue, &mut sink);
        }
        if !self.overdue.is_empty() {
            tracing::error!(records = self.overdue.len(), "the disk stayed full; facts of the last moments are lost");
        }
    }

    async fn first(&mut self) -> Option<Append> {
        if self.overdue.is_empty() {
            self.shared.facts_wait.store(false, Ordering::Release);
            return self.queue.recv().await;
        }
        match tokio::time::timeout(Self::FULL_WAIT, self.queue.recv()).await {
            Ok(None) => return None,
            // Facts keep their order: what waited for room goes before what came since.
            Ok(Some(newer)) => self.overdue.push_back(newer),
            Err(_) => {}
        }
        self.overdue.pop_front()
    }

    /// Takes what waits. A batch of facts alone waits a little for an urgent record.
    async fn gather(&mut self, batch: &mut Vec<Append>) {
        let deadline = tokio::time::Instant::now() + Self::FACT_WAIT_MAX;
        let mut bytes: usize = batch.iter().map(Append::size).sum();
        let mut urgent = asked(batch);
        let mut waits_since = None;
        let mut is_over = false;
        while batch.len() < Self::BATCH_MAX && bytes < Self::BATCH_BYTES_MAX {
            let next = match self.overdue.pop_front().map_or_else(|| self.queue.try_recv(), Ok) {
                Err(mpsc::error::TryRecvError::Empty) if urgent > 0 => {
                    if self.waits_for_company(urgent, &mut waits_since) {
                        continue;
                    }
                    break;
                }
                Err(mpsc::error::TryRecvError::Empty) if !is_over && bytes < Self::FACTS_BYTES_ENOUGH => {
                    // Not on the queue: to be woken for each fact costs more than to write it.
                    is_over = tokio::time::timeout_at(deadline, self.shared.wanted.notified()).await.is_err();
                    continue;
                }
                Err(_) => break,
                Ok(next) => next,
            };
            bytes += next.size();
            urgent += usize::from(next.urgent);
            batch.push(next);
        }
    }

    /// Waits a little, when more than these few are expected. Only on a thread of its own.
    fn waits_for_company(&self, urgent: usize, since: &mut Option<Duration>) -> bool {
        if self.answers.is_none() || urgent >= self.company.enough() {
            return false;
        }
        let now = self.clock.elapsed();
        let waits = now.saturating_sub(*since.get_or_insert(now)) < self.company.patience();
        if waits {
            #[expect(
                clippy::disallowed_methods,
                reason = "a tenth of a millisecond; `park_timeout` counts from a clock that tests step on"
            )]
            std::thread::sleep(Company::LOOK_EVERY);
        }
        waits
    }

    /// Commits what waits at this moment, as one batch, without waiting for company: for those who
    /// drive the journal step by step. Tells whether anything waited.
    pub fn commit_waiting(&mut self, sink: &mut impl Sink) -> bool {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < Self::BATCH_MAX && bytes < Self::BATCH_BYTES_MAX {
            let Some(next) = self.overdue.pop_front().or_else(|| self.queue.try_recv().ok()) else { break };
            bytes += next.size();
            batch.push(next);
        }
        let waited = !batch.is_empty();
        if waited {
            self.commit(batch, sink);
        }
        waited
    }

    /// Writes a batch and makes it durable, or tells everyone why not.
    fn commit(&mut self, mut batch: Vec<Append>, sink: &mut impl Sink) {
        for append in &batch {
            self.shared.waiting_bytes.fetch_sub(append.size(), Ordering::Relaxed);
        }
        if let Some(why) = self.shared.failure() {
            return refuse(batch, &JournalError::Failed(why));
        }
        let today = self.clock.now().day();
        // Each folder's records together, and today's last, so that the open segment is today's.
        batch.sort_by_key(|append| {
            let day = append.record.as_ref().and_then(|record| record.day).unwrap_or(today);
            (day == today, day)
        });
        let mut pass = Pass::default();
        let (begun, since) = (self.next_sequence, self.clock.elapsed());
        let result = self.write(&batch, today, &mut pass);
        // Outcomes come in crowds of their own; who posts alone to ten webhooks is alone.
        match asked(&batch) {
            0 => {}
            urgent => self.company.note(urgent, self.clock.elapsed().saturating_sub(since)),
        }
        let rest = batch.split_off(if result.is_ok() { batch.len() } else { pass.durable_appends });
        pass.committed.truncate(pass.durable_records);
        if let Err(error) = &result
            && !is_full(error)
        {
            self.shared.fail(&error.to_string());
            tracing::error!(%error, "writing the journal failed; nothing is accepted any more");
            self.abandon();
        }
        // Sequences given to what was not kept are used again.
        self.next_sequence = begun;
        self.conclude(batch, &pass.committed, sink);
        if result.is_err() {
            match self.shared.failure() {
                Some(why) => refuse(rest, &JournalError::Failed(why)),
                None => self.undo(rest),
            }
        }
    }

    fn write(&mut self, batch: &[Append], today: Day, pass: &mut Pass) -> io::Result<()> {
        self.buffer.clear();
        for (place, append) in batch.iter().enumerate() {
            let Some(encoded) = &append.record else { continue };
            let day = encoded.day.unwrap_or(today);
            let fits = self.open.as_ref().is_some_and(|open| {
                open.segment.day == day
                    // An empty one lacks the snapshot that every segment begins with.
                    && open.segment.length + (self.buffer.len() as u64) > 0
                    && open.segment.length + (self.buffer.len() as u64) < self.options.segment_bytes_max
            });
            if !fits {
                self.flush(place, pass)?;
                let snapshot = self.rotate(day)?;
                pass.committed.push(snapshot);
            }
            pass.committed.push(self.put(encoded));
        }
        self.flush(batch.len(), pass)
    }

    /// Encodes a record behind what is in the buffer.
    fn put(&mut self, encoded: &Encoded) -> Committed {
        let open = self.open.as_ref();
        let (name, length) = open.map_or((0, 0), |open| (open.name, open.segment.length));
        let location = Location {
            segment: name,
            offset: u32::try_from(length + self.buffer.len() as u64).unwrap_or(u32::MAX),
            length: u32::try_from(encoded.size()).unwrap_or(u32::MAX),
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let body_length = encoded.meta.len() + encoded.payload.len();
        let header = FrameHeader {
            version: VERSION,
            kind: encoded.kind,
            body_length: u32::try_from(body_length).unwrap_or(u32::MAX),
            meta_length: u32::try_from(encoded.meta.len()).unwrap_or(u32::MAX),
            sequence,
            body_crc: encoded.body_crc,
        };
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(&encoded.meta);
        self.buffer.extend_from_slice(&encoded.payload);
        Committed { sequence, location, record: Arc::clone(&encoded.record) }
    }

    /// Writes the buffer and makes it durable, which settles the first `appends` of the batch.
    /// The one place that syncs contents.
    fn flush(&mut self, appends: usize, pass: &mut Pass) -> io::Result<()> {
        if let Some(open) = self.open.as_mut().filter(|_| !self.buffer.is_empty()) {
            open.file.write_at(&self.buffer, open.segment.length)?;
            open.file.sync().map_err(not_full)?;
            open.segment.length += self.buffer.len() as u64;
            let mut segments = self.shared.segments.write().unwrap_or_else(PoisonError::into_inner);
            segments.insert(open.name, open.segment);
            self.buffer.clear();
        }
        for committed in &pass.committed[pass.durable_records..] {
            // Only what is durable counts for the next snapshot.
            if !matches!(*committed.record, Record::Snapshot { .. }) {
                self.image.apply(&committed.record);
            }
        }
        pass.durable_records = pass.committed.len();
        pass.durable_appends = appends;
        Ok(())
    }

    /// Begins a new segment in a day's folder, with a snapshot of the configuration.
    fn rotate(&mut self, day: Day) -> io::Result<Committed> {
        let name = self.next_sequence;
        let folder = self.shared.directory.join(day.to_string());
        let path = segment_path(&self.shared.directory, day, name);
        self.shared.disk.create_dir(&folder)?;
        let file = match self.shared.disk.create(&path) {
            // Left by a batch that found the disk full.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut file = self.shared.disk.open_to_append(&path)?;
                file.truncate(0)?;
                // Old bytes must not come back among the new ones.
                file.sync().map_err(not_full)?;
                file
            }
            created => created?,
        };
        self.shared.disk.sync_dir(&folder).map_err(not_full)?;
        self.shared.disk.sync_dir(&self.shared.directory).map_err(not_full)?;
        self.open = Some(Open { name, segment: Segment { day, length: 0 }, file });
        let snapshot = Record::Snapshot { at: self.clock.now(), image: self.image.clone() };
        Ok(self.put(&Encoded::new(snapshot)))
    }

    /// Tells everyone of what is durable now.
    fn conclude(&mut self, batch: Vec<Append>, committed: &[Committed], sink: &mut impl Sink) {
        let mut gone = Vec::new();
        if let Some(last) = committed.last() {
            let mut cache = self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner);
            for one in committed {
                if matches!(*one.record, Record::Event { .. }) {
                    cache.put(one.location, Arc::clone(&one.record), &mut gone);
                }
            }
            drop(cache);
            self.next_sequence = last.sequence + 1;
            sink.committed(committed);
            self.shared.committed.send_replace(last.sequence);
        }
        // Snapshots are the committer's own; nobody waits for them.
        let mut asked = committed.iter().filter(|one| !matches!(*one.record, Record::Snapshot { .. }));
        // Not the one before the next: after a cut some were skipped.
        let last = *self.shared.committed.borrow();
        let results = batch.into_iter().filter_map(|append| {
            let result = if append.record.is_some() { asked.next().cloned() } else { Some(marker(last)) };
            result.filter(|_| append.done.is_some()).map(|result| (append, result))
        });
        let answers: Vec<(Append, Committed)> = results.collect();
        match &self.answers {
            Some(runtime) if !answers.is_empty() => {
                drop(runtime.spawn(async move {
                    tell(answers);
                    // Memory goes back where it came from, and the next batch does not wait for that.
                    drop(gone);
                }));
            }
            _ => tell(answers),
        }
    }

    /// The disk is full: takes back what was written of `rest`. Facts are kept for later.
    fn undo(&mut self, rest: Vec<Append>) {
        self.buffer.clear();
        if let Err(error) = self.cut_back() {
            self.shared.fail(&format!("the disk is full, and the journal could not be cut back: {error}"));
        }
        let (facts, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|append| append.fact);
        let (asked, barriers): (Vec<_>, Vec<_>) = others.into_iter().partition(|append| append.record.is_some());
        // Those who only read must still be able to.
        let last = *self.shared.committed.borrow();
        barriers.into_iter().for_each(|barrier| barrier.finish(Ok(marker(last))));
        for fact in facts.into_iter().rev() {
            self.shared.waiting_bytes.fetch_add(fact.size(), Ordering::Relaxed);
            self.overdue.push_front(fact);
        }
        self.shared.facts_wait.store(!self.overdue.is_empty(), Ordering::Release);
        refuse(asked, &JournalError::Full);
    }

    /// Takes what was refused out of the file, so that a restart does not find it in the page cache
    /// and believe it, although the disk may never have had it. Nothing is promised of the result.
    fn abandon(&mut self) {
        self.buffer.clear();
        if let Some(mut open) = self.open.take()
            && let Err(error) = open.file.truncate(open.segment.length)
        {
            tracing::warn!(%error, "the failed batch could not be taken back");
        }
    }

    fn cut_back(&mut self) -> io::Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if open.segment.length == 0 {
            // A segment without its snapshot is begun anew, perhaps in another folder. Emptied
            // first: should its name come back after a power cut, it must not hide the new one.
            open.file.truncate(0)?;
            open.file.sync()?;
            drop(open.file);
            return self.shared.disk.remove_file(&segment_path(&self.shared.directory, open.segment.day, open.name));
        }
        open.file.truncate(open.segment.length)?;
        open.file.sync()?;
        self.open = Some(open);
        Ok(())
    }
}

/// How far a batch got.
#[derive(Debug, Default)]
struct Pass {
    /// Records written so far, snapshots among them.
    committed: Vec<Committed>,
    /// How many of them are durable.
    durable_records: usize,
    /// How many of the batch's appends that settles.
    durable_appends: usize,
}

/// What a barrier resolves to: only the sequence means something.
fn marker(sequence: u64) -> Committed {
    let location = Location { segment: 0, offset: 0, length: 0 };
    let record = Record::Snapshot { at: crate::domain::time::Timestamp::default(), image: ConfigImage::default() };
    Committed { sequence, location, record: Arc::new(record) }
}

/// How many of a batch somebody waits for.
fn asked(batch: &[Append]) -> usize {
    batch.iter().filter(|append| append.urgent).count()
}

fn tell(answers: Vec<(Append, Committed)>) {
    for (append, result) in answers {
        append.finish(Ok(result));
    }
}

fn refuse(batch: Vec<Append>, error: &JournalError) {
    for append in batch {
        append.finish(Err(error.clone()));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A sync that fails is final whatever the reason, so its error must not pass for a full disk.
fn not_full(error: io::Error) -> io::Error {
    io::Error::other(format!("sync failed: {error}"))
}
