//! Where the index stands, as those see it who search it, and the queue of what is to be applied to it.
//!
//! Holds what the applier shares with everybody else; it applies nothing. Invariant: an index is
//! found here only when what was committed before is in it, or, for its keys, noted in it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::revisions::Revisions;
use crate::index::Index;
use crate::journal::Committed;

/// How long committed records wait for more while nobody asks, so that what changes twice is written once: most events are
/// delivered before they are first written as pending.
pub(super) const GATHER: Duration = Duration::from_millis(100);

/// Where the index stands.
#[derive(Clone, Debug)]
pub enum IndexState {
    /// It is being opened.
    Opening,
    /// It is being built or caught up: sequences done, and in all.
    Rebuilding {
        /// Applied so far.
        done: u64,
        /// To apply before it is ready.
        total: u64,
    },
    /// It can be searched.
    Ready(Arc<Index>),
    /// It can not be had now, and why; it is tried again every few seconds.
    Unavailable(Arc<str>),
}

/// What the applier shares with those who search.
#[derive(Debug)]
pub(super) struct Slot {
    state: RwLock<IndexState>,
    /// An index that is not in step, but has every key that was used before anybody could find it here.
    keys: RwLock<Option<Arc<Index>>>,
    /// The sequence up to which the index is in step.
    pub(super) applied: watch::Sender<u64>,
    /// Somebody waits for what was committed to be applied.
    pub(super) hurry: Notify,
    /// Since when the applier lets records gather.
    gathering: Mutex<Option<Instant>>,
    /// A search found damage.
    damage: RwLock<Option<Arc<str>>>,
    /// How often an index was moved aside since the start.
    pub(super) rebuilt: AtomicUsize,
    pub(super) queued: AtomicUsize,
    pub(super) revisions: Arc<Revisions>,
}

impl Slot {
    pub(super) fn new(revisions: Arc<Revisions>) -> Self {
        Self {
            revisions,
            state: RwLock::new(IndexState::Opening),
            keys: RwLock::new(None),
            applied: watch::Sender::new(0),
            hurry: Notify::new(),
            gathering: Mutex::new(None),
            damage: RwLock::new(None),
            rebuilt: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
        }
    }

    pub(super) fn state(&self) -> IndexState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(*self.state.read().unwrap_or_else(PoisonError::into_inner), IndexState::Ready(_))
    }

    pub(super) fn set(&self, state: IndexState) {
        let (was_ready, is_ready) = (self.is_ready(), matches!(state, IndexState::Ready(_)));
        if !matches!(state, IndexState::Rebuilding { .. }) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.applied.send_modify(|_| {});
        if was_ready != is_ready {
            // What could not be searched can be now, or the reverse.
            self.revisions.deliveries_changed();
        }
    }

    /// This index, which is not in step, has every key that was used up to now.
    pub(super) fn keys_are_known(&self, index: &Arc<Index>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(index));
        self.applied.send_modify(|_| {});
    }

    /// The index that can tell a key which was certainly never used, except of what is newer than it.
    pub(super) fn knows_keys(&self) -> Option<Arc<Index>> {
        match self.state() {
            IndexState::Ready(index) => Some(index),
            _ => self.keys.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    pub(super) fn watch_applied(&self) -> watch::Receiver<u64> {
        self.hurry.notify_one();
        self.applied.subscribe()
    }

    pub(super) fn rebuilt(&self) -> usize {
        self.rebuilt.load(Ordering::Relaxed)
    }

    pub(super) fn report_damage(&self, why: &str) {
        *self.damage.write().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
        self.hurry.notify_one();
    }

    pub(super) fn gathering(&self) -> MutexGuard<'_, Option<Instant>> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_damage(&self) -> Option<Arc<str>> {
        self.damage.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Hands what is committed to the applier, unless it is too far behind to want it.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) slot: Arc<Slot>,
    pub(super) queue: mpsc::UnboundedSender<Vec<Committed>>,
}

impl Feed {
    /// Bytes of records that may wait in memory; beyond that they are read from the journal when
    /// their turn comes.
    const QUEUED_MAX: usize = 4 << 20;

    pub(super) fn send(&self, records: &[Committed]) {
        let bytes: usize = records.iter().map(|one| one.location.length as usize).sum();
        let queued = self.slot.queued.fetch_add(bytes, Ordering::Relaxed);
        // The applier does not look at the queue while it lets records gather: to be woken for each commit costs more than to
        // apply it. Its own timer can be late, or, where the clock is stepped under a waiting thread, never end.
        let over = self.slot.gathering().is_some_and(|since| since.elapsed() >= GATHER);
        if over || queued + bytes > Self::QUEUED_MAX / 2 {
            self.slot.hurry.notify_one();
        }
        // An empty message still wakes the applier, which then sees the gap.
        let records = if queued > Self::QUEUED_MAX { Vec::new() } else { records.to_vec() };
        let _ = self.queue.send(records);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Nothing more comes: whoever waits for more can stop.
        self.slot.hurry.notify_one();
    }
}
