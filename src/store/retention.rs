//! Letting go of days: what is still wanted is carried forward, the rest goes from the disk.
//!
//! A folder of the journal holds what was last touched on its day, so everything in it has had
//! its time when the folder has. What was touched later (a retry, a resend) or still waits is
//! written again into the folder of the day it was last touched, and only when that is durable
//! and in the index is the old folder removed.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Store, StoreError, blocking};
use crate::domain::delivery::is_expired;
use crate::domain::event::Event;
use crate::domain::id::EventId;
use crate::domain::time::{Day, Timestamp};
use crate::index::{Found, FoundEvent, Index, IndexError};
use crate::journal::{CarriedDelivery, Collection, ConfigRecord, Record, Target};

/// What letting go of a day did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Events that are gone.
    pub dropped: u64,
    /// Events that were carried forward.
    pub carried: u64,
}

/// Carried events of one journal batch: so many wait in memory at most.
const CARRY_BATCH: usize = 64;

/// Events that are listed before something is done with them: so many of a day are in memory at once.
const LISTED_MAX: usize = 1024;

/// Between two files of the journal that are removed. The file system gives back what they took together with what is synced, so
/// who posts would wait for all of them at once.
const BETWEEN_FILES: Duration = Duration::from_millis(20);

impl Store {
    /// The days that the journal has folders of, oldest first; also of a removal that failed half way.
    #[must_use]
    pub fn days(&self) -> Vec<Day> {
        self.shared.journal.days()
    }

    /// The oldest day whose time is up: every instant of it is longer ago than the retention.
    #[must_use]
    pub fn expired_day(&self, retention: Duration, now: Timestamp) -> Option<Day> {
        let index = match self.index_state() {
            super::IndexState::Ready(index) => index.oldest_day(),
            _ => None,
        };
        let oldest = self.days().into_iter().chain(index).min()?;
        is_expired(oldest.end(), retention, now).then_some(oldest)
    }

    /// Lets go of a day. Everything of it that is pending or was touched within the retention is
    /// carried forward first.
    ///
    /// # Errors
    /// `Busy` while somebody reads all days; whatever stands in the way. Nothing is removed then, and it can be tried
    /// again.
    pub async fn expire(&self, day: Day, retention: Duration, now: Timestamp) -> Result<Expired, StoreError> {
        let Ok(_going) = self.shared.days_stay.try_write() else {
            return Err(StoreError::Busy);
        };
        self.begin_newer_segment(day).await?;
        let mut expired = Expired::default();
        self.let_go(Some(day), retention, now, |_| true, &mut expired).await?;
        let journal = self.shared.journal.clone();
        let in_folder = move |event: &FoundEvent| journal.day_of(event.location.segment).is_none_or(|of| of <= day);
        self.let_go(None, retention, now, in_folder, &mut expired).await?;
        // Everything carried is durable; `find` waits until it is in the index as well.
        self.find(move |index| index.drop_day(day)).await?;
        loop {
            let journal = self.shared.journal.clone();
            if blocking(move || journal.remove_some_of(day)).await?? {
                return Ok(expired);
            }
            tokio::time::sleep(BETWEEN_FILES).await;
        }
    }

    /// Carries forward what is still wanted of a day's events, or with `None` of those that were carried before; of the latter,
    /// those that are over go one by one.
    async fn let_go(
        &self,
        day: Option<Day>,
        retention: Duration,
        now: Timestamp,
        concerns: impl Fn(&FoundEvent) -> bool + Clone + Send + 'static,
        expired: &mut Expired,
    ) -> Result<(), StoreError> {
        self.freshen().await?;
        let mut from = None;
        loop {
            let concerns = concerns.clone();
            let sifted = self.read_index(move |index| sift(index, day, from, retention, now, concerns)).await?;
            expired.dropped += sifted.over_count;
            self.carry_all(sifted.wanted, expired).await?;
            let over = sifted.over;
            self.read_index(move |index| forget(index, &over)).await?;
            let Some(next) = sifted.next else { return Ok(()) };
            from = Some(next);
        }
    }

    /// The newest segment has to stay, because the configuration is in it. When nothing was written
    /// for so long that its own time is up, a new one is begun.
    async fn begin_newer_segment(&self, day: Day) -> Result<(), StoreError> {
        let newest = self.shared.journal.segments().values().next_back().map(|segment| segment.day);
        if newest.is_some_and(|newest| newest > day) {
            return Ok(());
        }
        // Removes what is not there: all it does is to be written, behind a snapshot.
        let nothing = ConfigRecord {
            collection: Collection::EventType,
            key: bytes::Bytes::new(),
            version: 0,
            at: self.shared.clock.now(),
            by: String::new(),
            body: None,
        };
        let ticket = self.shared.journal.append(Record::Config(nothing))?;
        self.settle(ticket.await).map(|_| ())
    }

    /// Drops idempotency keys that are past their window.
    ///
    /// # Errors
    /// `IndexAway`.
    pub async fn expire_idempotency(&self, now: Timestamp) -> Result<(), StoreError> {
        let yesterday = Day::from_number(now.day().number().saturating_sub(1));
        self.read_index(move |index| index.drop_idempotency_before(yesterday)).await
    }

    /// Writes events that are still wanted again, a few at a time.
    async fn carry_all(&self, wanted: Vec<FoundEvent>, expired: &mut Expired) -> Result<(), StoreError> {
        let mut tickets = Vec::new();
        for event in wanted {
            let id = event.event.id;
            let deliveries = self.read_index(move |index| index.deliveries_of(id)).await?;
            let record = match self.read(event.location).await {
                Ok(record) => record,
                // Its bytes are lost already; there is nothing to carry.
                Err(StoreError::Damaged | StoreError::Gone) => continue,
                Err(error) => return Err(error),
            };
            expired.carried += 1;
            tickets.push(self.carry(event.event, &deliveries, &record)?);
            if tickets.len() >= CARRY_BATCH {
                for ticket in tickets.drain(..) {
                    self.settle(ticket.await)?;
                }
            }
        }
        for ticket in tickets {
            self.settle(ticket.await)?;
        }
        Ok(())
    }

    fn carry(&self, event: Event, deliveries: &[Found], record: &Record) -> Result<crate::journal::Ticket, StoreError> {
        let (Record::Event { event: known, payload, .. } | Record::Carry { event: known, payload, .. }) = record else {
            return Err(StoreError::Damaged);
        };
        // What only the journal knows.
        let event = Event { trace: known.trace.clone(), ..event };
        let carried = deliveries.iter().map(|found| CarriedDelivery {
            target: Target { webhook: found.webhook, version: found.webhook_version },
            delivery: found.delivery,
            attempts: found.attempts.clone(),
        });
        let record = Record::Carry { event, deliveries: carried.collect(), payload: payload.clone() };
        Ok(self.shared.journal.append(record)?)
    }
}

fn is_wanted(deliveries: &[Found], retention: Duration, now: Timestamp) -> bool {
    deliveries
        .iter()
        .any(|found| found.delivery.due_at().is_some() || !is_expired(found.last_activity(), retention, now))
}

/// A day's events, told apart.
#[derive(Debug, Default)]
struct Sifted {
    wanted: Vec<FoundEvent>,
    /// Those that are over; listed only of the carried ones, which go one by one.
    over: Vec<Event>,
    over_count: u64,
    /// Where to go on, when there is more.
    next: Option<EventId>,
}

fn sift(
    index: &Index,
    day: Option<Day>,
    from: Option<EventId>,
    retention: Duration,
    now: Timestamp,
    concerns: impl Fn(&FoundEvent) -> bool,
) -> Result<Sifted, IndexError> {
    let mut sifted = Sifted::default();
    index.each_event(day, from, |event, deliveries| {
        if sifted.wanted.len() + sifted.over.len() >= LISTED_MAX {
            sifted.next = Some(event.event.id);
            return ControlFlow::Break(());
        }
        if !concerns(event) {
            return ControlFlow::Continue(());
        }
        if is_wanted(deliveries, retention, now) {
            sifted.wanted.push(FoundEvent::clone(event));
        } else {
            sifted.over_count += 1;
            if day.is_none() {
                sifted.over.push(event.event.clone());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(sifted)
}

/// Removes carried events.
fn forget(index: &Index, over: &[Event]) -> Result<(), IndexError> {
    for events in over.chunks(CARRY_BATCH) {
        let mut batch = index.batch(true);
        for event in events {
            batch.forget_carried(event)?;
        }
        batch.commit(None)?;
    }
    Ok(())
}
