//! Letting go of days: what is still wanted is carried forward, the rest goes from the disk.
//!
//! A folder of the journal holds what was last touched on its day, so everything in it has had
//! its time when the folder has. What was touched later (a retry, a resend) or still waits is
//! written again into the folder of the day it was last touched, and only when that is durable
//! and in the index is the old folder removed.

use std::time::Duration;

use super::{Store, StoreError, blocking};
use crate::domain::delivery::is_expired;
use crate::domain::event::Event;
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

impl Store {
    /// The days that the journal has folders of, oldest first.
    #[must_use]
    pub fn days(&self) -> Vec<Day> {
        let mut days: Vec<Day> = self.shared.journal.segments().values().map(|segment| segment.day).collect();
        days.sort_unstable();
        days.dedup();
        days
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
        let of_day = self.find(move |index| sift(index, Some(day), retention, now, |_| true)).await?;
        expired.dropped += of_day.over_count;
        self.carry_all(of_day.wanted, &mut expired).await?;
        let journal = self.shared.journal.clone();
        let in_folder = move |event: &FoundEvent| journal.day_of(event.location.segment).is_none_or(|of| of <= day);
        let carried = self.find(move |index| sift(index, None, retention, now, in_folder)).await?;
        expired.dropped += carried.over_count;
        self.carry_all(carried.wanted, &mut expired).await?;
        let over = carried.over;
        // Everything carried is durable; `find` waits until it is in the index as well.
        self.find(move |index| {
            for events in over.chunks(CARRY_BATCH) {
                let mut batch = index.batch(true);
                for event in events {
                    batch.forget_carried(event)?;
                }
                batch.commit(None)?;
            }
            index.drop_day(day)
        })
        .await?;
        let journal = self.shared.journal.clone();
        blocking(move || journal.remove_day(day)).await??;
        Ok(expired)
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
}

fn sift(
    index: &Index,
    day: Option<Day>,
    retention: Duration,
    now: Timestamp,
    concerns: impl Fn(&FoundEvent) -> bool,
) -> Result<Sifted, IndexError> {
    let mut sifted = Sifted::default();
    index.each_event(day, |event, deliveries| {
        if !concerns(event) {
            return;
        }
        if is_wanted(deliveries, retention, now) {
            sifted.wanted.push(FoundEvent::clone(event));
        } else {
            sifted.over_count += 1;
            if day.is_none() {
                sifted.over.push(event.event.clone());
            }
        }
    })?;
    Ok(sifted)
}
