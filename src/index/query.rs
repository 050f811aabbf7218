//! Searching: newest first, page by page, with a bound on what one page may look at.
//!
//! A filter that matches little gives short pages rather than long waits: a page ends when it is
//! full or when its budget is used up, and its cursor goes on from there either way.

use std::sync::Arc;

use sled::Tree;

use super::rows::{self, AttemptRow, DeliveryRow, EventRow};
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

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Go on before this one; `None` at the end of the list.
    pub next: Option<DeliveryId>,
}

/// How far one page may go.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Begin before this delivery; `None` for the newest.
    pub before: Option<DeliveryId>,
    /// At most so many rows.
    pub limit: usize,
    /// Look at no more than so many.
    pub budget: usize,
}

/// More events than this with one beginning of a reference in a day, and walking the day's log is cheaper.
const REFERENCES_PER_DAY_MAX: usize = 4096;

/// What a walk does after a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    On,
    Stop,
}

impl Next {
    fn is_stop(self) -> bool {
        self == Self::Stop
    }
}

/// How much a page may still look at, and where it stopped.
struct Budget {
    left: usize,
    stopped_at: Option<DeliveryId>,
}

impl Budget {
    fn new(rows: usize) -> Self {
        Self { left: rows.max(1), stopped_at: None }
    }

    /// Counts the row at `place`.
    fn spend(&mut self, place: DeliveryId) -> Next {
        self.left -= 1;
        if self.left > 0 {
            return Next::On;
        }
        self.stopped_at = Some(place);
        Next::Stop
    }
}

impl Index {
    /// Deliveries that match, newest first. `also` is asked last, for what the index can not know.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn deliveries(&self, query: &Query, walk: Walk, mut also: impl FnMut(&Found) -> bool) -> Result<Page<Found>> {
        let mut rows = Vec::new();
        let mut budget = Budget::new(walk.budget);
        self.walk_events(query, walk.before, |event, tree| {
            let id = event.event.id;
            if event.deliveries() == 0 || !query.matches_event(&event) {
                return Ok(budget.spend(DeliveryId { event: id, ordinal: 0 }));
            }
            let event = Arc::new(event);
            let end = match walk.before {
                Some(before) if before.event == id => before.to_bytes().to_vec(),
                _ => [&id.as_bytes()[..], &[0xff; 3]].concat(),
            };
            let start = DeliveryId { event: id, ordinal: 0 }.to_bytes();
            for item in tree.range(&start[..]..&end[..]).rev() {
                let (key, row) = item?;
                // Older attempts have longer keys.
                let Some(delivery) = DeliveryId::from_bytes(&key) else { continue };
                let row: DeliveryRow = rows::decode(&key, &row, "a delivery")?;
                let found = found_from(delivery, row, Arc::clone(&event))?;
                if query.matches(&found) && also(&found) {
                    rows.push(found);
                }
                if rows.len() >= walk.limit {
                    budget.left = 1;
                }
                if budget.spend(delivery).is_stop() {
                    return Ok(Next::Stop);
                }
            }
            Ok(Next::On)
        })?;
        Ok(Page { rows, next: budget.stopped_at })
    }

    /// Events that match, newest first; only the reference, the type and the times are looked at.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn events(&self, query: &Query, walk: Walk) -> Result<Page<FoundEvent>> {
        let mut rows = Vec::new();
        let mut budget = Budget::new(walk.budget);
        self.walk_events(query, walk.before, |found, _| {
            let id = DeliveryId { event: found.event.id, ordinal: 0 };
            if query.matches_event(&found) {
                rows.push(found);
            }
            if rows.len() >= walk.limit {
                budget.left = 1;
            }
            Ok(budget.spend(id))
        })?;
        Ok(Page { rows, next: budget.stopped_at })
    }

    /// One delivery with all its attempts.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Found>> {
        contained(|| {
            let Some((tree, event)) = self.find_event(id.event)? else { return Ok(None) };
            let key = id.to_bytes();
            let Some(row) = tree.get(key)? else { return Ok(None) };
            let row: DeliveryRow = rows::decode(&key, &row, "a delivery")?;
            let mut older = Vec::new();
            for chunk in 0..row.older_chunks {
                let key = rows::chunk_key(id, chunk);
                if let Some(row) = tree.get(key)? {
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
    /// deliveries (newest attempts only), oldest first. Holds one event in memory.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn each_event(&self, day: Option<Day>, mut each: impl FnMut(&Arc<FoundEvent>, &[Found])) -> Result<()> {
        contained(|| {
            let tree = match day {
                Some(day) => self.existing(&format!("log.{day}"))?,
                None => Some(self.carried.clone()),
            };
            let mut current: Option<Arc<FoundEvent>> = None;
            let mut deliveries: Vec<Found> = Vec::new();
            for item in tree.iter().flat_map(Tree::iter) {
                let (key, row) = item?;
                if let Ok(id) = <[u8; 16]>::try_from(&*key) {
                    if let Some(event) = current.take() {
                        each(&event, &deliveries);
                    }
                    deliveries.clear();
                    current = Some(Arc::new(event_from(EventId::from_bytes(id), &row)?));
                } else if let (Some(id), Some(event)) = (DeliveryId::from_bytes(&key), &current) {
                    let row: DeliveryRow = rows::decode(&key, &row, "a delivery")?;
                    deliveries.push(found_from(id, row, Arc::clone(event))?);
                }
            }
            if let Some(event) = current {
                each(&event, &deliveries);
            }
            Ok(())
        })
    }

    fn find_event(&self, id: EventId) -> Result<Option<(Tree, FoundEvent)>> {
        let day = self.existing(&format!("log.{}", id.created_at().day()))?;
        for tree in day.into_iter().chain([self.carried.clone()]) {
            if let Some(row) = tree.get(id.as_bytes())? {
                return Ok(Some((tree, event_from(id, &row)?)));
            }
        }
        Ok(None)
    }

    /// Every event that may match, newest first. The event of `before` itself is visited again,
    /// for its remaining deliveries.
    fn walk_events(
        &self,
        query: &Query,
        before: Option<DeliveryId>,
        mut each: impl FnMut(FoundEvent, &Tree) -> Result<Next>,
    ) -> Result<()> {
        contained(|| {
            let first = query.since.map_or(EventId::from_bytes([0; 16]), EventId::first_at);
            let last = query.until.map_or([0xff; 16], |until| *EventId::first_at(until).as_bytes());
            for day in self.days() {
                if day.end() <= first.created_at() || query.until.is_some_and(|until| day.start() >= until) {
                    continue;
                }
                // Nothing newer than the cursor's event is in an older tree, and the reverse.
                if before.is_some_and(|before| before.event < EventId::first_at(day.start())) {
                    continue;
                }
                let Some(log) = self.existing(&format!("log.{day}"))? else { continue };
                let refs = self.existing(&format!("ref.{day}"))?;
                let range = EventRange { first, last, before };
                if walk_tree(&log, refs.as_ref(), query, &range, &mut each)?.is_stop() {
                    return Ok(());
                }
            }
            let range = EventRange { first, last, before };
            walk_tree(&self.carried, Some(&self.carried_refs), query, &range, &mut each).map(|_| ())
        })
    }
}

struct EventRange {
    first: EventId,
    /// Exclusive.
    last: [u8; 16],
    before: Option<DeliveryId>,
}

impl EventRange {
    fn end(&self) -> Vec<u8> {
        match self.before {
            // Its own event comes again: ordinal 0 is the first that the cursor has not passed.
            Some(before) if before.ordinal > 0 => self.last.to_vec().min([&before.event.as_bytes()[..], &[0]].concat()),
            Some(before) => self.last.to_vec().min(before.event.as_bytes().to_vec()),
            None => self.last.to_vec(),
        }
    }
}

fn walk_tree(
    log: &Tree,
    refs: Option<&Tree>,
    query: &Query,
    range: &EventRange,
    each: &mut impl FnMut(FoundEvent, &Tree) -> Result<Next>,
) -> Result<Next> {
    let end = range.end();
    if let Some(reference) = &query.reference {
        let Some(refs) = refs else { return Ok(Next::On) };
        if let Some(ids) = ids_with_reference(refs, reference)? {
            for id in ids.into_iter().filter(|id| *id >= range.first && id.as_bytes()[..] < end[..]) {
                let Some(row) = log.get(id.as_bytes())? else { continue };
                if each(event_from(id, &row)?, log)?.is_stop() {
                    return Ok(Next::Stop);
                }
            }
            return Ok(Next::On);
        }
    }
    for item in log.range(&range.first.as_bytes()[..]..&end[..]).rev() {
        let (key, row) = item?;
        let Ok(id) = <[u8; 16]>::try_from(&*key) else { continue };
        if each(event_from(EventId::from_bytes(id), &row)?, log)?.is_stop() {
            return Ok(Next::Stop);
        }
    }
    Ok(Next::On)
}

/// Newest first; `None` when there are too many to sort.
fn ids_with_reference(refs: &Tree, reference: &str) -> Result<Option<Vec<EventId>>> {
    let mut ids = Vec::new();
    for item in refs.scan_prefix(reference.as_bytes()) {
        let (key, _) = item?;
        ids.extend(rows::event_of_reference(&key));
        if ids.len() > REFERENCES_PER_DAY_MAX {
            return Ok(None);
        }
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.dedup();
    Ok(Some(ids))
}

fn event_from(id: EventId, row: &[u8]) -> Result<FoundEvent> {
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
