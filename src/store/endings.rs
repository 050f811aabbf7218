//! How deliveries end, for whoever tells people: given up, or taken again after that.
//!
//! Nothing here waits or reads the disk: it is called on the committer's path, for every commit.
//! What nobody fetches in time is not held but left to the journal, which can be replayed.
//! Invariant: an ending that matters and is at or below a committed sequence is either waiting
//! here, or below what [`Endings::missed`] tells, before that sequence can be read.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Store, StoreError, blocking};
use crate::domain::attempt::{ErrorKind, Trigger};
use crate::domain::delivery::State;
use crate::domain::id::{DeliveryId, WebhookId};
use crate::domain::time::Timestamp;
use crate::journal::{Committed, JournalError, Record};

/// An attempt after which somebody may have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its place in the journal.
    pub sequence: u64,
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its webhook.
    pub webhook: WebhookId,
    /// When the attempt ended.
    pub at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// The code, or why there was none.
    pub result: Result<u16, ErrorKind>,
    /// The delivery was given up with it; otherwise the receiver took it.
    pub gave_up: bool,
}

impl Ended {
    /// `None` when it tells nothing: an attempt that is tried again, or an operator's resend that
    /// failed, which leaves the delivery as it was.
    fn of(committed: &Committed) -> Option<Self> {
        let Record::Attempt(record) = &*committed.record else { return None };
        let (attempt, outcome) = (&record.attempt, &record.attempt.outcome);
        let gave_up = record.delivery.settled() == State::Failed && attempt.trigger == Trigger::Automatic;
        (gave_up || outcome.is_success()).then(|| Self {
            sequence: committed.sequence,
            delivery: record.id,
            webhook: record.target.webhook,
            at: attempt.started_at.plus(outcome.duration),
            attempts: record.delivery.attempts_made(),
            result: outcome.result,
            gave_up,
        })
    }
}

/// Failures, and the first success of a webhook after them.
#[derive(Debug, Default)]
pub struct Endings {
    inner: Mutex<Inner>,
    /// The highest sequence of one that was not held.
    missed: AtomicU64,
    /// Something waits.
    pub wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Ended>,
    /// Webhooks whose next success matters.
    failing: HashSet<WebhookId>,
}

impl Inner {
    fn wants(&mut self, one: &Ended) -> bool {
        if one.gave_up {
            self.failing.insert(one.webhook);
            true
        } else {
            self.failing.remove(&one.webhook)
        }
    }
}

impl Endings {
    /// The most that are held.
    pub const WAITING_MAX: usize = 4096;

    pub(super) fn note(&self, records: &[Committed]) {
        let mut ended = records.iter().filter_map(Ended::of).peekable();
        if ended.peek().is_none() {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut noted = false;
        for one in ended {
            if !inner.wants(&one) {
                continue;
            }
            noted = true;
            if inner.waiting.len() < Self::WAITING_MAX {
                inner.waiting.push_back(one);
            } else {
                self.skipped(one.sequence);
            }
        }
        drop(inner);
        if noted {
            self.wake.notify_one();
        }
    }

    /// Takes everything that waits, in the journal's order.
    #[must_use]
    pub fn take(&self) -> Vec<Ended> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waiting.drain(..).collect()
    }

    /// Up to here the journal knows more than was held.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Acquire)
    }

    /// What was taken up to here could not be used and has to be read from the journal.
    pub fn skipped(&self, sequence: u64) {
        self.missed.fetch_max(sequence, Ordering::AcqRel);
    }

    /// The next success of this webhook matters. `false` when that was known.
    pub fn watch(&self, webhook: WebhookId) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).failing.insert(webhook)
    }
}

impl Store {
    /// How deliveries end.
    #[must_use]
    pub fn endings(&self) -> &Endings {
        &self.shared.endings
    }

    /// The endings with a sequence in `from..=to`, read from the journal. `failing` are webhooks
    /// whose next success matters.
    ///
    /// # Errors
    /// `Io`.
    pub async fn endings_between(
        &self,
        from: u64,
        to: u64,
        failing: HashSet<WebhookId>,
    ) -> Result<Vec<Ended>, StoreError> {
        let journal = self.shared.journal.clone();
        let work = move || {
            let mut inner = Inner { waiting: VecDeque::new(), failing };
            journal.replay(from, to, |committed| {
                if let Some(one) = Ended::of(&committed).filter(|one| inner.wants(one)) {
                    inner.waiting.push_back(one);
                }
                Ok::<_, JournalError>(())
            })?;
            Ok(inner.waiting.into())
        };
        blocking(work).await?.map_err(|error: JournalError| error.into())
    }
}
