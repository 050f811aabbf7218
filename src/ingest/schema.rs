//! Whether payloads fit the schemas of their types: refuses what does not, or counts it.
//!
//! To take a payload apart and check it costs tens of microseconds, so what is only counted is
//! checked beside the request, by one thread with a bounded queue. When the queue is full the
//! check is left out, and that is counted. It does not change what is stored or delivered, and
//! keeps nothing over a restart.
//!
//! Invariant: nothing of a payload stays here but how often, when, and which rule of the schema.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::catalog::{self, Misfit, Schema};
use crate::domain::event_type::CustomType;
use crate::domain::time::Timestamp;
use crate::store::Config;

/// What happens to a payload that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaMode {
    /// Nothing; it is not looked at.
    Off,
    /// It is taken, and counted.
    Warn,
    /// It is refused, and counted.
    Reject,
}

/// What did not fit of one type since the start, or since its schema was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Payloads that did not fit.
    pub count: u64,
    /// Payloads that were not checked because too many waited.
    pub unchecked: u64,
    /// The last that did not fit: when, and the first thing wrong with it.
    pub last: Option<(Timestamp, Misfit)>,
}

/// A type, as far as its schema is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// It has no schema.
    None,
    /// Its schema is in the catalog.
    BuiltIn,
    /// The operator has given its schema.
    Own(Arc<CustomType>),
}

impl Subject {
    pub(super) fn own(custom: &Arc<CustomType>) -> Self {
        if custom.schema.is_some() { Self::Own(Arc::clone(custom)) } else { Self::None }
    }

    /// Whether it is the same schema; a type that was changed is another one.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(one), Self::Own(other)) => Arc::ptr_eq(one, other),
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

/// Payloads that wait for the check.
const QUEUE_MAX: usize = 4096;
/// How long they gather while they come one after the other: to wake a thread for each costs its poster more than the check costs.
const GATHER: Duration = Duration::from_millis(10);
/// Their bytes in all.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Checks, and what they found.
#[derive(Debug)]
pub(super) struct Checks {
    ledger: Arc<Ledger>,
    /// `None`: there is no thread, so nothing can be checked beside the requests.
    queue: Option<SyncSender<Job>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A payload that was accepted and may not fit.
struct Job {
    name: String,
    subject: Subject,
    payload: Vec<u8>,
    at: Timestamp,
}

#[derive(Debug, Default)]
struct Ledger(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    subject: Subject,
    /// Of a type of the operator's own; made when it is first needed.
    schema: Arc<OnceLock<Option<Schema>>>,
    drift: Drift,
}

impl Checks {
    /// Begins the thread. It ends when this is dropped.
    pub(super) fn start() -> Self {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let ledger = Arc::new(Ledger::default());
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let (of_thread, bytes) = (Arc::clone(&ledger), Arc::clone(&waiting_bytes));
        let thread = std::thread::Builder::new().name("postrider-schema".to_owned());
        let queue = match thread.spawn(move || of_thread.work(&jobs, &bytes)) {
            Ok(_) => Some(queue),
            Err(error) => {
                tracing::warn!(%error, "there is no thread for schema checks; payloads are not checked");
                None
            }
        };
        Self { ledger, queue, waiting_bytes }
    }

    /// What is wrong with a payload that may be refused for it.
    pub(super) fn misfits(&self, name: &str, subject: &Subject, payload: &[u8], at: Timestamp) -> Vec<Misfit> {
        self.ledger.check(name, subject, payload, at, Schema::check)
    }

    /// Has an accepted payload checked some time soon.
    pub(super) fn note(&self, name: &str, subject: &Subject, payload: &[u8], at: Timestamp) {
        if matches!(subject, Subject::None) {
            return;
        }
        let length = payload.len();
        let waiting = self.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        let queue = self.queue.as_ref().filter(|_| waiting.saturating_add(length) <= QUEUE_BYTES_MAX);
        // A copy: the payload as it came may keep the whole request it was cut out of in memory.
        let job = || Job { name: name.to_owned(), subject: subject.clone(), payload: payload.to_vec(), at };
        if queue.is_none_or(|queue| queue.try_send(job()).is_err()) {
            self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            self.ledger.entry(name, subject, |entry| entry.drift.unchecked += 1);
        }
    }

    /// What was found of a type.
    pub(super) fn drift(&self, name: &str, subject: &Subject) -> Drift {
        let entries = self.ledger.lock();
        entries.get(name).filter(|entry| entry.subject.is(subject)).map(|entry| entry.drift.clone()).unwrap_or_default()
    }

    /// Lets go of types that are no more.
    pub(super) fn forget_others(&self, config: &Config) {
        self.ledger.lock().retain(|name, entry| match &entry.subject {
            Subject::Own(own) => config.event_types.get(name).is_some_and(|now| Arc::ptr_eq(own, now)),
            Subject::BuiltIn | Subject::None => true,
        });
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes or reads what is known of a type; begins anew when its schema is another.
    fn entry<T>(&self, name: &str, subject: &Subject, with: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = self.lock();
        let fresh = || Entry { subject: subject.clone(), schema: Arc::default(), drift: Drift::default() };
        let entry = entries.entry(name.to_owned()).or_insert_with(fresh);
        if !entry.subject.is(subject) {
            *entry = fresh();
        }
        with(entry)
    }

    fn work(&self, jobs: &Receiver<Job>, waiting_bytes: &AtomicUsize) {
        while let Ok(first) = jobs.recv() {
            for job in std::iter::once(first).chain(jobs.try_iter()) {
                // Only counted, with one example.
                let one = |schema: &Schema, payload: &[u8]| schema.first(payload).into_iter().collect();
                self.check(&job.name, &job.subject, &job.payload, job.at, one);
                waiting_bytes.fetch_sub(job.payload.len(), Ordering::Relaxed);
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a hundredth of a second; `park_timeout` counts from a clock that tests step on"
            )]
            std::thread::sleep(GATHER);
        }
    }

    fn check(
        &self,
        name: &str,
        subject: &Subject,
        payload: &[u8],
        at: Timestamp,
        with: impl Fn(&Schema, &[u8]) -> Vec<Misfit>,
    ) -> Vec<Misfit> {
        let judge = || match subject {
            Subject::None => Some(Vec::new()),
            Subject::BuiltIn => catalog::validator(name).map(|schema| with(schema, payload)),
            Subject::Own(custom) => {
                let schema = self.entry(name, subject, |entry| Arc::clone(&entry.schema));
                schema.get_or_init(|| compile(custom)).as_ref().map(|schema| with(schema, payload))
            }
        };
        // A panic of the library is no more than a payload that was not checked: it ends neither the
        // thread for all types nor the request.
        let Some(misfits) = catch_unwind(AssertUnwindSafe(judge)).ok().flatten() else {
            self.entry(name, subject, |entry| entry.drift.unchecked += 1);
            return Vec::new();
        };
        if let Some(first) = misfits.first() {
            let count = self.entry(name, subject, |entry| {
                entry.drift.count += 1;
                entry.drift.last = Some((at, first.clone()));
                entry.drift.count
            });
            // Once is enough to look; the rest is in the counter.
            if count == 1 {
                tracing::warn!(
                    "a payload of {name} does not fit its schema: {first}; `postrider event types` counts them"
                );
            }
        }
        misfits
    }
}

/// It was made ready once before it was stored; another version may see it differently.
fn compile(custom: &CustomType) -> Option<Schema> {
    let made = Schema::compile(custom.schema.as_deref()?);
    made.map_err(|error| tracing::warn!("the schema of {} {error}; its payloads are not checked", custom.name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event_type::Group;

    const NOW: Timestamp = Timestamp::from_millis(5);

    fn custom(schema: Option<&str>) -> Subject {
        let now = Timestamp::from_millis(1);
        Subject::own(&Arc::new(CustomType {
            name: "ORDER".to_owned(),
            label: "Order".to_owned(),
            group: Group::Other,
            meaning: String::new(),
            schema: schema.map(ToOwned::to_owned),
            example: None,
            version: 1,
            created_at: now,
            created_by: String::new(),
            updated_at: now,
            updated_by: String::new(),
        }))
    }

    #[test]
    fn what_does_not_fit_is_counted_with_its_last_reason() {
        let checks = Checks::start();
        let own = custom(Some("{\"required\":[\"a\"]}"));
        assert_eq!(checks.misfits("ORDER", &own, b"{\"a\":1}", NOW), []);
        assert_eq!(checks.drift("ORDER", &own), Drift::default());
        let found = checks.misfits("ORDER", &own, b"{}", NOW);
        assert_eq!(found[0].to_string(), "/a is required");
        assert_eq!(checks.drift("ORDER", &own), Drift { count: 1, unchecked: 0, last: Some((NOW, found[0].clone())) });
        // A changed schema begins at nothing, and is the one that counts.
        let other = custom(Some("{\"required\":[\"b\"]}"));
        assert_eq!(checks.drift("ORDER", &other), Drift::default());
        assert_eq!(checks.misfits("ORDER", &other, b"{}", NOW)[0].to_string(), "/b is required");
        assert_eq!(checks.drift("ORDER", &own), Drift::default());
        assert_eq!(checks.misfits("ORDER", &custom(None), b"{}", NOW), []);
        checks.forget_others(&Config::default());
        assert_eq!(checks.ledger.lock().len(), 0);
    }

    #[test]
    fn what_waits_too_long_is_left_out_and_counted() {
        // Nobody takes anything out of this queue.
        let (queue, jobs) = sync_channel(2);
        let checks = Checks { ledger: Arc::default(), queue: Some(queue), waiting_bytes: Arc::default() };
        let note = |payload: &[u8]| checks.note("SOS_REPORT", &Subject::BuiltIn, payload, NOW);
        note(&vec![b' '; QUEUE_BYTES_MAX + 1]);
        assert_eq!(checks.drift("SOS_REPORT", &Subject::BuiltIn).unchecked, 1, "too many bytes");
        for _ in 0..4 {
            note(b"[]");
        }
        assert_eq!(checks.drift("SOS_REPORT", &Subject::BuiltIn).unchecked, 3, "too many payloads");
        assert_eq!(checks.waiting_bytes.load(Ordering::Relaxed), 4);
        // What did wait is checked when somebody comes.
        let Checks { ledger, queue, waiting_bytes } = checks;
        drop(queue);
        ledger.work(&jobs, &waiting_bytes);
        assert_eq!(waiting_bytes.load(Ordering::Relaxed), 0);
        let drift = ledger.entry("SOS_REPORT", &Subject::BuiltIn, |entry| entry.drift.clone());
        assert_eq!((drift.count, drift.unchecked), (2, 3));
        assert_eq!(drift.last.unwrap().1.to_string(), "the payload must be an object");
    }

    #[test]
    fn a_schema_that_can_not_be_used_checks_nothing() {
        let checks = Checks::start();
        let odd = custom(Some("{\"type\":\"strin\"}"));
        assert_eq!(checks.misfits("ORDER", &odd, b"{}", NOW), []);
        assert_eq!(checks.drift("ORDER", &odd), Drift { unchecked: 1, ..Drift::default() });
    }
}
