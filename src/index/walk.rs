//! Walking through a list in either direction, page by page, with a bound on what one page may
//! look at.
//!
//! It knows in which trees events lie and in which order they come; which of them are wanted is the
//! query's to say. Invariant: both directions pass the same rows, one in the reverse order of the
//! other, and going on from any row passes exactly those beyond it.

use super::query::{FoundEvent, Query, event_from};
use super::rows;
use super::runs::Kind;
use super::shelf::{Rows, Shelf};
use super::{Index, Result};
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::time::Day;

/// Which way a list is walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From newer to older.
    #[default]
    NewestFirst,
    /// From older to newer.
    OldestFirst,
}

impl Order {
    /// The place behind everything of an event, in this order.
    #[must_use]
    pub const fn behind(self, event: EventId) -> DeliveryId {
        match self {
            Self::NewestFirst => DeliveryId { event, ordinal: 0 },
            // An event has at most 65,535 deliveries, so this is the ordinal of none.
            Self::OldestFirst => DeliveryId { event, ordinal: u16::MAX },
        }
    }

    /// Whether the first comes before the second.
    fn is_before(self, first: EventId, second: EventId) -> bool {
        match self {
            Self::NewestFirst => first > second,
            Self::OldestFirst => first < second,
        }
    }
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the walk.
    pub rows: Vec<T>,
    /// Go on beyond this one; `None` at the end of the list.
    pub next: Option<DeliveryId>,
}

/// How far one page may go.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Begin beyond this delivery, as the order goes; `None` for the beginning of the list.
    pub from: Option<DeliveryId>,
    /// Which way.
    pub order: Order,
    /// At most so many rows.
    pub limit: usize,
    /// Look at no more than so many.
    pub budget: usize,
}

/// More events than this with one beginning of a reference in a day, and walking the day's log is cheaper.
const REFERENCES_PER_DAY_MAX: usize = 4096;

/// What a walk does after a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    On,
    Stop,
}

impl Next {
    pub(super) fn is_stop(self) -> bool {
        self == Self::Stop
    }
}

/// How much a page may still look at, and where it stopped.
pub(super) struct Budget {
    left: usize,
    pub(super) stopped_at: Option<DeliveryId>,
}

impl Budget {
    pub(super) fn new(rows: usize) -> Self {
        Self { left: rows.max(1), stopped_at: None }
    }

    /// Counts the row at `place`, which is the last when the page is full.
    pub(super) fn spend(&mut self, place: DeliveryId, is_full: bool) -> Next {
        self.left -= 1;
        if self.left > 0 && !is_full {
            return Next::On;
        }
        self.stopped_at = Some(place);
        Next::Stop
    }
}

/// Which keys of events are passed: from the first, inclusive, to the second, exclusive.
struct Range {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Range {
    /// The event of the walk's `from` is passed again when it may have deliveries beyond that.
    fn new(query: &Query, walk: &Walk) -> Self {
        let mut start = query.since.map_or(vec![0; 16], |since| EventId::first_at(since).as_bytes().to_vec());
        let mut end = query.until.map_or(vec![0xff; 17], |until| EventId::first_at(until).as_bytes().to_vec());
        if let Some(from) = walk.from {
            let event = &from.event.as_bytes()[..];
            let again = from != walk.order.behind(from.event);
            match walk.order {
                Order::NewestFirst if again => end = end.min([event, &[0]].concat()),
                Order::NewestFirst => end = end.min(event.to_vec()),
                Order::OldestFirst if again => start = start.max(event.to_vec()),
                Order::OldestFirst => start = start.max([event, &[0]].concat()),
            }
        }
        Self { start, end }
    }

    fn has(&self, id: EventId) -> bool {
        self.start[..] <= id.as_bytes()[..] && id.as_bytes()[..] < self.end[..]
    }

    /// Whether anything of the day can be in it.
    fn touches(&self, day: Day) -> bool {
        let [start, end] = [day.start(), day.end()].map(EventId::first_at);
        self.start[..] < end.as_bytes()[..] && start.as_bytes()[..] < self.end[..]
    }
}

/// The events of one shelf that may match, in order.
struct Candidates {
    shelf: Shelf,
    from: From,
}

enum From {
    /// All rows of the shelf, those of deliveries among them.
    Rows(Box<Rows>),
    /// The events with a reference.
    Ids(std::vec::IntoIter<EventId>),
}

impl Candidates {
    /// `ids` are those with the reference that is asked for, `None` when all of the shelf has to be looked at.
    fn new(shelf: Shelf, ids: Option<Vec<EventId>>, range: &Range, order: Order) -> Result<Self> {
        let from = match ids {
            Some(mut ids) => {
                ids.retain(|id| range.has(*id));
                if order == Order::NewestFirst {
                    ids.reverse();
                }
                From::Ids(ids.into_iter())
            }
            None => From::Rows(Box::new(shelf.range(&range.start, Some(&range.end), order)?)),
        };
        Ok(Self { shelf, from })
    }

    fn next(&mut self) -> Result<Option<FoundEvent>> {
        match &mut self.from {
            From::Ids(ids) => {
                for id in ids {
                    if let Some(row) = self.shelf.get(id.as_bytes())? {
                        return event_from(id, &row).map(Some);
                    }
                }
            }
            From::Rows(rows) => {
                for item in rows {
                    let (key, row) = item?;
                    if let Ok(id) = <[u8; 16]>::try_from(&*key) {
                        return event_from(EventId::from_bytes(id), &row).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }
}

/// An event and the shelf that its deliveries are on.
type Placed = (FoundEvent, Shelf);

/// Every event that may match, in order: those of the days, one day after the other, and among them
/// the carried ones where their ids belong.
pub(super) struct Events<'a> {
    index: &'a Index,
    query: &'a Query,
    order: Order,
    range: Range,
    days: std::vec::IntoIter<Day>,
    of_day: Option<Candidates>,
    carried: Candidates,
    next_of_days: Option<Placed>,
    next_carried: Option<Placed>,
}

impl<'a> Events<'a> {
    pub(super) fn new(index: &'a Index, query: &'a Query, walk: &Walk) -> Result<Self> {
        let (order, range) = (walk.order, Range::new(query, walk));
        let mut days = index.days();
        days.retain(|day| range.touches(*day));
        if order == Order::OldestFirst {
            days.reverse();
        }
        let wanted = query.reference.as_deref();
        let with_reference = wanted.map(|reference| carried_with_reference(index, reference)).transpose()?.flatten();
        let carried = Candidates::new(index.carried.clone(), with_reference, &range, order)?;
        let (days, of_day) = (days.into_iter(), None);
        let mut events =
            Self { index, query, order, range, days, of_day, carried, next_of_days: None, next_carried: None };
        events.next_of_days = events.of_days()?;
        events.next_carried = events.of_carried()?;
        Ok(events)
    }

    fn of_days(&mut self) -> Result<Option<Placed>> {
        loop {
            if let Some(of_day) = &mut self.of_day
                && let Some(event) = of_day.next()?
            {
                return Ok(Some((event, of_day.shelf.clone())));
            }
            let Some(day) = self.days.next() else { return Ok(None) };
            let Some(log) = self.index.existing(&format!("log.{day}"))? else { continue };
            let wanted = self.query.reference.as_deref();
            let ids = wanted.map(|reference| day_with_reference(self.index, day, reference)).transpose()?.flatten();
            self.of_day = Some(Candidates::new(log, ids, &self.range, self.order)?);
        }
    }

    fn of_carried(&mut self) -> Result<Option<Placed>> {
        Ok(self.carried.next()?.map(|event| (event, self.carried.shelf.clone())))
    }

    pub(super) fn next(&mut self) -> Result<Option<Placed>> {
        let of_days = self.next_of_days.as_ref().map(|(event, _)| event.event.id);
        let carried = self.next_carried.as_ref().map(|(event, _)| event.event.id);
        let is_carried = match (of_days, carried) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(of_days), Some(carried)) => {
                if of_days == carried {
                    // It is on its way from one to the other, and is shown once.
                    self.next_carried = self.of_carried()?;
                }
                self.order.is_before(carried, of_days)
            }
        };
        if is_carried {
            let following = self.of_carried()?;
            return Ok(std::mem::replace(&mut self.next_carried, following));
        }
        let following = if of_days.is_some() { self.of_days()? } else { None };
        Ok(std::mem::replace(&mut self.next_of_days, following))
    }
}

/// Oldest first; `None` when there are too many to sort.
fn day_with_reference(index: &Index, day: Day, reference: &str) -> Result<Option<Vec<EventId>>> {
    let keys = index.runs.keys(Kind::Reference, day, reference.as_bytes(), REFERENCES_PER_DAY_MAX)?;
    Ok(keys.map(|keys| in_order(keys.iter().filter_map(|key| rows::event_of_reference(key)).collect())))
}

/// Oldest first; `None` when there are too many to sort.
fn carried_with_reference(index: &Index, reference: &str) -> Result<Option<Vec<EventId>>> {
    let mut ids = Vec::new();
    for item in index.carried_refs.prefixed(reference.as_bytes())? {
        let (key, _) = item?;
        ids.extend(rows::event_of_reference(&key));
        if ids.len() > REFERENCES_PER_DAY_MAX {
            return Ok(None);
        }
    }
    Ok(Some(in_order(ids)))
}

fn in_order(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
