//! Searching: in either direction, page by page, with a bound on what one page may look at.
//!
//! A filter that matches little gives short pages rather than long waits: a page ends when it is
//! full or when its budget is used up, and its cursor goes on from there either way. In which order
//! rows come is not decided here but in `walk`.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::rows::{self, AttemptRow, DeliveryRow, EventRow};
use super::shelf::{Rows, Shelf};
use super::walk::{Budget, Events, Next, Order, Page, Walk};
use super::{Index, Result, contained};
use crate::domain::attempt::{Attempt, Class};
use crate::domain::delivery::{Delivery, State};
use crate::domain::event::{Event, Location};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::time::{Day, Timestamp};

/// What is looked for. Everything given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A whole reference or its beginning.
    pub reference: Option<String>,
    /// Deliveries to this webhook.
    pub webhook: Option<WebhookId>,
    /// Canonical name of the event type.
    pub event_type: Option<String>,
    /// Class of the last answer; deliveries without an attempt have none.
    pub classes: Vec<Class>,
    /// Exact code of the last answer.
    pub code: Option<u16>,
    /// Where the delivery stands.
    pub state: Option<State>,
    /// Webhooks whose pending deliveries count as cancelled, because they were deleted.
    pub deleted_webhooks: Vec<WebhookId>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

/// An event as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEvent {
    /// Everything but its bytes.
    pub event: Event,
    /// Where its record lies.
    pub location: Location,
    /// Bytes of its payload.
    pub payload_length: u32,
    /// How many deliveries it has, apart from the skipped ones.
    pub targets: u16,
    /// How many webhooks' filters did not let it through.
    pub skipped: u16,
}

impl FoundEvent {
    /// How many rows of deliveries it has: those with an ordinal below this.
    fn deliveries(&self) -> u16 {
        self.targets.saturating_add(self.skipped)
    }
}

/// A delivery as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: DeliveryId,
    /// Its event.
    pub event: Arc<FoundEvent>,
    /// Where it goes.
    pub webhook: WebhookId,
    /// The version of the webhook that was last used.
    pub webhook_version: u32,
    /// How it stands.
    pub delivery: Delivery,
    /// Attempts, oldest first: in a list the newest ones only, in a single look-up all that are kept.
    pub attempts: Vec<Attempt>,
}

impl Found {
    /// When anything last happened to it.
    #[must_use]
    pub fn last_activity(&self) -> Timestamp {
        self.attempts.last().map_or_else(|| self.event.event.created_at(), |last| last.started_at)
    }
}

impl Index {
    /// Deliveries that match, in the order of the walk. `also` is asked last, for what the index can
    /// not know.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn deliveries(&self, query: &Query, walk: Walk, mut also: impl FnMut(&Found) -> bool) -> Result<Page<Found>> {
        let mut rows = Vec::new();
        let mut budget = Budget::new(walk.budget);
        self.walk_events(query, &walk, |event, shelf| {
            let id = event.event.id;
            if event.deliveries() == 0 || !query.matches_event(&event) {
                return Ok(budget.spend(walk.order.behind(id), false));
            }
            let event = Arc::new(event);
            for item in rows_beyond(shelf, id, &walk)? {
                let (key, row) = item?;
                // Older attempts have longer keys.
                let Some(delivery) = DeliveryId::from_bytes(&key) else { continue };
                let row: DeliveryRow = rows::decode(&key, &row, "a delivery")?;
                let found = found_from(delivery, row, Arc::clone(&event))?;
                if query.matches(&found) && also(&found) {
                    rows.push(found);
                }
                if budget.spend(delivery, rows.len() >= walk.limit).is_stop() {
                    return Ok(Next::Stop);
                }
            }
            Ok(Next::On)
        })?;
        Ok(Page { rows, next: budget.stopped_at })
    }

    /// Events that match, in the order of the walk, beyond the whole event that it begins from; only
    /// the reference, the type and the times are looked at.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn events(&self, query: &Query, walk: Walk) -> Result<Page<FoundEvent>> {
        let walk = Walk { from: walk.from.map(|from| walk.order.behind(from.event)), ..walk };
        let mut rows = Vec::new();
        let mut budget = Budget::new(walk.budget);
        self.walk_events(query, &walk, |found, _| {
            let place = walk.order.behind(found.event.id);
            if query.matches_event(&found) {
                rows.push(found);
            }
            Ok(budget.spend(place, rows.len() >= walk.limit))
        })?;
        Ok(Page { rows, next: budget.stopped_at })
    }

    /// One delivery with all its attempts.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Found>> {
        contained(|| {
            let Some((shelf, event)) = self.find_event(id.event)? else { return Ok(None) };
            let key = id.to_bytes();
            let Some(row) = shelf.get(key)? else { return Ok(None) };
            let row: DeliveryRow = rows::decode(&key, &row, "a delivery")?;
            let mut older = Vec::new();
            for chunk in 0..row.older_chunks {
                let key = rows::chunk_key(id, chunk);
                if let Some(row) = shelf.get(key)? {
                    let attempts: Vec<AttemptRow> = rows::decode(&key, &row, "older attempts")?;
                    older.extend(attempts);
                }
            }
            let mut found = found_from(id, row, Arc::new(event))?;
            if !older.is_empty() {
                let older: Vec<Attempt> = older.into_iter().map(AttemptRow::into_domain).collect::<Result<_>>()?;
                found.attempts.splice(0..0, older);
            }
            Ok(Some(found))
        })
    }

    /// One event.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn event(&self, id: EventId) -> Result<Option<FoundEvent>> {
        contained(|| Ok(self.find_event(id)?.map(|(_, event)| event)))
    }

    /// The deliveries of one event, in their order.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn deliveries_of(&self, id: EventId) -> Result<Vec<Found>> {
        let count = self.event(id)?.map_or(0, |event| event.deliveries());
        let deliveries = (0..count).map(|ordinal| self.delivery(DeliveryId { event: id, ordinal }));
        Ok(deliveries.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Visits each event of one day's log, or with `None` of the carried ones, together with its
    /// deliveries (newest attempts only), oldest first, from one event on and until `each` breaks it off. Holds one event in
    /// memory.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn each_event(
        &self,
        day: Option<Day>,
        from: Option<EventId>,
        mut each: impl FnMut(&Arc<FoundEvent>, &[Found]) -> ControlFlow<()>,
    ) -> Result<()> {
        contained(|| {
            let shelf = match day {
                Some(day) => self.existing(&format!("log.{day}"))?,
                None => Some(self.carried.clone()),
            };
            let Some(shelf) = shelf else { return Ok(()) };
            let mut current: Option<Arc<FoundEvent>> = None;
            let mut deliveries: Vec<Found> = Vec::new();
            let start = from.as_ref().map_or(&[][..], |from| from.as_bytes());
            for item in shelf.range(start, None, Order::OldestFirst)? {
                let (key, row) = item?;
                if let Ok(id) = <[u8; 16]>::try_from(&*key) {
                    if let Some(event) = current.take()
                        && each(&event, &deliveries).is_break()
                    {
                        return Ok(());
                    }
                    deliveries.clear();
                    current = Some(Arc::new(event_from(EventId::from_bytes(id), &row)?));
                } else if let (Some(id), Some(event)) = (DeliveryId::from_bytes(&key), &current) {
                    let row: DeliveryRow = rows::decode(&key, &row, "a delivery")?;
                    deliveries.push(found_from(id, row, Arc::clone(event))?);
                }
            }
            if let Some(event) = current {
                let _ = each(&event, &deliveries);
            }
            Ok(())
        })
    }

    fn find_event(&self, id: EventId) -> Result<Option<(Shelf, FoundEvent)>> {
        let day = self.existing(&format!("log.{}", id.created_at().day()))?;
        for shelf in day.into_iter().chain([self.carried.clone()]) {
            if let Some(row) = shelf.get(id.as_bytes())? {
                return Ok(Some((shelf, event_from(id, &row)?)));
            }
        }
        Ok(None)
    }

    /// Every event that may match. The event that the walk begins from is visited again, for its
    /// remaining deliveries.
    fn walk_events(
        &self,
        query: &Query,
        walk: &Walk,
        mut each: impl FnMut(FoundEvent, &Shelf) -> Result<Next>,
    ) -> Result<()> {
        contained(|| {
            let mut events = Events::new(self, query, walk)?;
            while let Some((event, shelf)) = events.next()? {
                if each(event, &shelf)?.is_stop() {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// The rows of an event's deliveries, as far as the walk has not passed them.
fn rows_beyond(shelf: &Shelf, event: EventId, walk: &Walk) -> Result<Rows> {
    let mut start = DeliveryId { event, ordinal: 0 }.to_bytes().to_vec();
    let mut end = [&event.as_bytes()[..], &[0xff; 3]].concat();
    if let Some(from) = walk.from.filter(|from| from.event == event) {
        match walk.order {
            Order::NewestFirst => end = from.to_bytes().to_vec(),
            // Its older attempts follow the row itself, and are passed over as all of these are.
            Order::OldestFirst => start = [&from.to_bytes()[..], &[0]].concat(),
        }
    }
    shelf.range(&start, Some(&end), walk.order)
}

pub(super) fn event_from(id: EventId, row: &[u8]) -> Result<FoundEvent> {
    let row: EventRow = rows::decode(id.as_bytes(), row, "an event")?;
    Ok(FoundEvent {
        location: rows::location_from(row.location),
        payload_length: row.payload_length,
        targets: row.targets,
        skipped: row.skipped,
        event: row.into_event(id),
    })
}

fn found_from(id: DeliveryId, row: DeliveryRow, event: Arc<FoundEvent>) -> Result<Found> {
    Ok(Found {
        id,
        event,
        webhook: WebhookId::from_bytes(row.webhook),
        webhook_version: row.version,
        delivery: row.parts.into_domain()?,
        attempts: row.attempts.into_iter().map(AttemptRow::into_domain).collect::<Result<_>>()?,
    })
}

impl Query {
    fn matches_event(&self, found: &FoundEvent) -> bool {
        let event = &found.event;
        self.event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
            && self
                .reference
                .as_ref()
                .is_none_or(|wanted| event.references.as_slice().iter().any(|r| r.starts_with(wanted)))
    }

    /// Whether a delivery is one of those looked for.
    #[must_use]
    pub fn matches(&self, found: &Found) -> bool {
        let last = found.attempts.last().map(|attempt| attempt.outcome.code());
        let mut state = found.delivery.state();
        if state == State::Pending && self.deleted_webhooks.contains(&found.webhook) {
            state = State::Cancelled;
        }
        self.matches_event(&found.event)
            && self.webhook.is_none_or(|wanted| wanted == found.webhook)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.code.is_none_or(|wanted| Some(wanted) == last)
            && (self.classes.is_empty() || last.is_some_and(|code| self.classes.contains(&Class::of(code))))
    }
}
