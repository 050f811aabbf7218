//! Turns facts into rows. Facts are collected, what changes twice is written once, and the
//! position goes last.
//!
//! Does not decide anything: a fact says how a delivery stands after it.

use std::collections::hash_map::Entry;
use std::sync::PoisonError;

use foldhash::{HashMap, HashMapExt as _};

use super::near::Near;
use super::rows::{self, ATTEMPTS_INLINE, AttemptRow, DeliveryParts, DeliveryRow, EventRow};
use super::runs::{Kind, Runs};
use super::shelf::Change;
use super::{Index, LOG, Pending, Result, contained};
use crate::domain::attempt::Attempt;
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::{Delivery, State};
use crate::domain::event::{Event, Location};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::time::Day;

/// Which tree an event's rows are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Home {
    Day(Day),
    Carried,
}

#[derive(Debug)]
struct Changed {
    home: Home,
    row: DeliveryRow,
    location: Location,
    /// Made within this batch, so there is no older pending row to remove.
    is_new: bool,
}

/// An event's row, as it will be written.
#[derive(Debug)]
struct Made {
    home: Home,
    location: Location,
    row: Vec<u8>,
}

/// Where a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Log(Home),
    CarriedReferences,
    Pending,
    Versions,
    Audit(Day),
}

/// Facts on their way into the index.
#[derive(Debug)]
pub struct Batch<'a> {
    index: &'a Index,
    /// Facts may have been applied before, wholly or in part.
    catching_up: bool,
    events: HashMap<EventId, Made>,
    deliveries: HashMap<DeliveryId, Changed>,
    /// Inserts (and removals) of other rows.
    others: HashMap<Place, Vec<Change>>,
    /// What its events are found by.
    found_by: Vec<(Kind, Day, Vec<u8>, Vec<u8>)>,
    /// What was read of days for it. Only this batch writes there, and not before it is complete.
    near: HashMap<Day, Near>,
    facts: usize,
}

impl Index {
    /// Begins a batch. `catching_up` when facts may have been applied before.
    #[must_use]
    pub fn batch(&self, catching_up: bool) -> Batch<'_> {
        Batch {
            index: self,
            catching_up,
            events: HashMap::new(),
            deliveries: HashMap::new(),
            others: HashMap::new(),
            found_by: Vec::new(),
            near: HashMap::new(),
            facts: 0,
        }
    }
}

impl Batch<'_> {
    /// Facts collected so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.facts
    }

    /// Whether nothing was collected.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts == 0
    }

    /// An event was accepted for these webhooks, each with its version; the filters of `skipped`
    /// did not let it through, and their deliveries are there to be seen only.
    pub fn accepted(
        &mut self,
        event: &Event,
        targets: &[(WebhookId, u32)],
        skipped: &[(WebhookId, u32)],
        location: Location,
        payload_length: usize,
    ) {
        self.facts += 1;
        let home = Home::Day(event.created_at().day());
        self.put_event(home, &EventRow::new(event, location, payload_length, targets.len(), skipped.len()), event);
        if let Some(known) = &event.idempotency {
            let key = rows::idempotency_key(&event.token, &known.key);
            let row = rows::idempotency_row(&key, event.id, known.digest);
            self.found_by.push((Kind::Idempotency, event.created_at().day(), key, row));
        }
        let targets = targets.iter().map(|target| (target, Delivery::accepted(event.created_at())));
        let skipped = skipped.iter().map(|target| (target, Delivery::skipped()));
        for (ordinal, ((webhook, version), delivery)) in (0..).zip(targets.chain(skipped)) {
            let row = DeliveryRow {
                webhook: *webhook.as_bytes(),
                version: *version,
                parts: DeliveryParts::from(&delivery),
                older_chunks: 0,
                attempts: Vec::new(),
            };
            let id = DeliveryId { event: event.id, ordinal };
            self.deliveries.insert(id, Changed { home, row, location, is_new: !self.catching_up });
        }
    }

    /// An attempt was made. One of an event that is gone changes nothing.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn attempted(&mut self, id: DeliveryId, version: u32, attempt: &Attempt, delivery: &Delivery) -> Result<()> {
        self.facts += 1;
        let mut overflow = None;
        if let Some(changed) = self.change(id)? {
            let row = &mut changed.row;
            row.version = version;
            row.parts = DeliveryParts::from(delivery);
            if row.attempts.last().is_none_or(|last| last.number < attempt.number) {
                row.attempts.push(AttemptRow::from(attempt));
            }
            if row.attempts.len() > ATTEMPTS_INLINE * 2 && row.older_chunks < u8::MAX {
                let older: Vec<AttemptRow> = row.attempts.drain(..ATTEMPTS_INLINE).collect();
                overflow = Some((changed.home, rows::chunk_key(id, row.older_chunks), older));
                row.older_chunks += 1;
            }
        }
        self.drop_pending_of_nothing(id);
        if let Some((home, key, older)) = overflow {
            let row = rows::encode(&key, &older);
            self.other(Place::Log(home), key.to_vec(), Some(row));
        }
        Ok(())
    }

    /// A delivery changed without an attempt.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn changed(&mut self, id: DeliveryId, delivery: &Delivery) -> Result<()> {
        self.facts += 1;
        if let Some(changed) = self.change(id)? {
            changed.row.parts = DeliveryParts::from(delivery);
        }
        self.drop_pending_of_nothing(id);
        Ok(())
    }

    /// A delivery whose row is gone, with its day or by damage, is not pending either.
    fn drop_pending_of_nothing(&mut self, id: DeliveryId) {
        if !self.deliveries.contains_key(&id) {
            self.other(Place::Pending, id.to_bytes().to_vec(), None);
        }
    }

    /// An event was carried forward, with everything known of it; its old rows go.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn carried(
        &mut self,
        event: &Event,
        deliveries: &[((WebhookId, u32), Delivery, &[Attempt])],
        location: Location,
        payload_length: usize,
    ) -> Result<()> {
        self.facts += 1;
        let old_home = Home::Day(event.created_at().day());
        // What it was found by there goes with the day: without its row, it finds nothing.
        if let Some(shelf) = contained(|| self.index.existing(&log_name(old_home)))? {
            for item in contained(|| shelf.prefixed(event.id.as_bytes())?.collect::<Result<Vec<_>>>())? {
                self.other(Place::Log(old_home), item.0.to_vec(), None);
            }
        }
        // What was skipped and then taken by its receiver after all counts as a delivery from now on.
        let skipped = deliveries.iter().filter(|(_, delivery, _)| delivery.settled() == State::Skipped).count();
        let row = EventRow::new(event, location, payload_length, deliveries.len() - skipped, skipped);
        self.put_event(Home::Carried, &row, event);
        for (ordinal, ((webhook, version), delivery, attempts)) in (0..).zip(deliveries) {
            let id = DeliveryId { event: event.id, ordinal };
            if let Some(newer) = self.newer_than(id, delivery)? {
                // An attempt ended while its event was being carried; what it came to stands.
                let row = DeliveryRow { older_chunks: 0, ..newer };
                self.deliveries.insert(id, Changed { home: Home::Carried, row, location, is_new: false });
                continue;
            }
            let mut attempts: Vec<AttemptRow> = attempts.iter().map(AttemptRow::from).collect();
            let mut older_chunks = 0;
            while attempts.len() > ATTEMPTS_INLINE * 2 {
                let older: Vec<AttemptRow> = attempts.drain(..ATTEMPTS_INLINE).collect();
                let key = rows::chunk_key(id, older_chunks);
                self.other(Place::Log(Home::Carried), key.to_vec(), Some(rows::encode(&key, &older)));
                older_chunks += 1;
            }
            let parts = DeliveryParts::from(delivery);
            let row = DeliveryRow { webhook: *webhook.as_bytes(), version: *version, parts, older_chunks, attempts };
            self.deliveries.insert(id, Changed { home: Home::Carried, row, location, is_new: false });
        }
        Ok(())
    }

    /// A webhook got a new version; older ones stay readable for the deliveries made with them.
    pub fn webhook_version(&mut self, webhook: WebhookId, version: u32, body: &[u8]) {
        self.facts += 1;
        let key = rows::version_key(webhook, version);
        let row = rows::seal_keyed(&key, body.to_vec());
        self.other(Place::Versions, key, Some(row));
    }

    /// Somebody did something; `sequence` tells entries of the same instant apart.
    pub fn audited(&mut self, record: &AuditRecord, sequence: u64) {
        self.facts += 1;
        let key = rows::audit_key(record.at, sequence);
        let row = rows::audit_row(&key, record);
        self.other(Place::Audit(record.at.day()), key.to_vec(), Some(row));
    }

    /// Removes a carried event whose time is up.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn forget_carried(&mut self, event: &Event) -> Result<()> {
        self.facts += 1;
        for item in contained(|| self.index.carried.prefixed(event.id.as_bytes())?.collect::<Result<Vec<_>>>())? {
            self.other(Place::Log(Home::Carried), item.0.to_vec(), None);
        }
        for reference in event.references.as_slice() {
            self.other(Place::CarriedReferences, rows::reference_key(reference, event.id), None);
        }
        Ok(())
    }

    /// Writes everything, then the position when one is given.
    ///
    /// # Errors
    /// When the index can not be written; the position is then as it was.
    pub fn commit(mut self, position: Option<u64>) -> Result<()> {
        let index = self.index;
        let events: Vec<_> = self.events.drain().collect();
        for (id, Made { home, row, .. }) in events {
            self.other(Place::Log(home), id.as_bytes().to_vec(), Some(row));
        }
        let deliveries: Vec<_> = self.deliveries.drain().collect();
        for (id, changed) in deliveries {
            let key = id.to_bytes();
            let delivery = changed.row.parts.into_domain()?;
            let webhook = WebhookId::from_bytes(changed.row.webhook);
            if delivery.due_at().is_some() {
                let pending = Pending { id, webhook, location: changed.location, delivery };
                self.other(Place::Pending, key.to_vec(), Some(rows::pending_row(&key, &pending)));
            } else if !changed.is_new {
                self.other(Place::Pending, key.to_vec(), None);
            }
            self.other(Place::Log(changed.home), key.to_vec(), Some(rows::encode(&key, &changed.row)));
        }
        contained(|| {
            let mut writing = index.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut written = 0;
            for (place, rows) in std::mem::take(&mut self.others) {
                written += match place {
                    Place::Log(Home::Carried) => index.carried.apply(rows)?,
                    Place::Log(home) => index.shelf(&log_name(home))?.apply(rows)?,
                    Place::CarriedReferences => index.carried_refs.apply(rows)?,
                    Place::Pending => index.pending.apply(rows)?,
                    Place::Versions => index.versions.apply(rows)?,
                    Place::Audit(day) => index.shelf(&format!("audit.{day}"))?.apply(rows)?,
                };
            }
            let recent = index.runs.add(std::mem::take(&mut self.found_by));
            if let Some(position) = position {
                index.moved_on(position);
                if Runs::is_much(recent) || index.is_far_ahead() {
                    index.save()?;
                }
            }
            if self.catching_up {
                // Most of it changes again in a moment, and somebody waits for the end.
                return Ok(());
            }
            {
                let shelves = index.shelves.read().unwrap_or_else(PoisonError::into_inner);
                let logs = shelves.iter().filter(|(name, _)| name.starts_with(LOG));
                writing.choose(logs.map(|(name, shelf)| (name.as_str(), shelf)), &index.pending)?;
            }
            writing.step(&index.db, written)
        })
    }

    fn put_event(&mut self, home: Home, row: &EventRow, event: &Event) {
        for reference in event.references.as_slice() {
            let key = rows::reference_key(reference, event.id);
            let row = rows::seal_keyed(&key, Vec::new());
            match home {
                Home::Day(day) => self.found_by.push((Kind::Reference, day, key, row)),
                Home::Carried => self.other(Place::CarriedReferences, key, Some(row)),
            }
        }
        let location = rows::location_from(row.location);
        // Encoded here, where its strings are at hand: a table of whole rows is copied each time that it grows.
        let row = rows::encode(event.id.as_bytes(), row);
        self.events.insert(event.id, Made { home, location, row });
    }

    /// The delivery's row when more attempts were made than are being carried.
    fn newer_than(&mut self, id: DeliveryId, carried: &Delivery) -> Result<Option<DeliveryRow>> {
        let Some(known) = self.change(id)? else { return Ok(None) };
        let row = known.row.clone();
        Ok((row.parts.into_domain()?.attempts_made() > carried.attempts_made()).then_some(row))
    }

    /// The delivery's row, from this batch or from the index.
    fn change(&mut self, id: DeliveryId) -> Result<Option<&mut Changed>> {
        match self.deliveries.entry(id) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(vacant) => {
                let index = self.index;
                let near = self.near.entry(id.event.created_at().day()).or_default();
                let Some((home, row)) = contained(|| stored_delivery(index, id, near))? else { return Ok(None) };
                let location = match self.events.get(&id.event) {
                    Some(made) => made.location,
                    None => match contained(|| stored_location(index, home, id.event, near))? {
                        Some(location) => rows::location_from(location),
                        None => return Ok(None),
                    },
                };
                Ok(Some(vacant.insert(Changed { home, row, location, is_new: false })))
            }
        }
    }

    fn other(&mut self, place: Place, key: Vec<u8>, row: Option<Vec<u8>>) {
        self.others.entry(place).or_default().push((key, row));
    }
}

fn stored_delivery(index: &Index, id: DeliveryId, near: &mut Near) -> Result<Option<(Home, DeliveryRow)>> {
    let key = id.to_bytes();
    let day = Home::Day(id.event.created_at().day());
    if let Some(row) = index.existing(&log_name(day))?.map(|shelf| shelf.get_near(key, near)).transpose()?.flatten() {
        return Ok(Some((day, rows::decode(&key, &row, "a delivery")?)));
    }
    match index.carried.get(key)? {
        Some(row) => Ok(Some((Home::Carried, rows::decode(&key, &row, "a carried delivery")?))),
        None => Ok(None),
    }
}

fn stored_location(index: &Index, home: Home, event: EventId, near: &mut Near) -> Result<Option<(u64, u32, u32)>> {
    let key = event.as_bytes();
    let row = match home {
        Home::Day(_) => index.shelf(&log_name(home))?.get_near(key, near)?,
        Home::Carried => index.carried.get(key)?,
    };
    match row {
        Some(row) => Ok(Some(rows::decode::<EventRow>(key, &row, "an event")?.location)),
        None => Ok(None),
    }
}

fn log_name(home: Home) -> String {
    match home {
        Home::Day(day) => format!("log.{day}"),
        Home::Carried => "carried".to_owned(),
    }
}
