//! A day that is over, most of which is in tables: it says what it said before, changes as it did, is found damaged like all else,
//! and goes as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postrider::domain::attempt::{Attempt, Outcome, Phases, Trigger};
use postrider::domain::delivery::{Delivery, State};
use postrider::domain::event::{Event, Location};
use postrider::domain::id::{DeliveryId, EventId, EventIds, WebhookId};
use postrider::domain::references::References;
use postrider::domain::retry::{Backoff, RetryPlan};
use postrider::domain::time::Timestamp;
use postrider::index::{Index, IndexError, Order, Query, Walk};

const CACHE: u64 = 4 << 20;
const START: Timestamp = Timestamp::from_millis(1_795_305_600_000);
/// Enough for a file of the log; of references there are several runs.
const EVENTS: u32 = 40_000;
const WEBHOOK: WebhookId = WebhookId::from_bytes([7; 16]);
const PLAN: RetryPlan = RetryPlan {
    count: 3,
    interval: Duration::from_secs(1),
    backoff: Backoff::Fixed,
    interval_max: Duration::from_secs(1),
};

fn event(ids: &mut EventIds, at: Timestamp, number: u32) -> Event {
    Event {
        id: ids.next(at, u128::from(number)),
        event_type: "SOS_REPORT".to_owned(),
        content_type: "application/json".to_owned(),
        scan_ref: Some(format!("scan-{number:06}")),
        references: References::from(vec![format!("scan-{number:06}")]),
        token: "t".to_owned(),
        idempotency: None,
        trace: None,
    }
}

fn accept(index: &Index, events: &[Event]) {
    let mut batch = index.batch(false);
    for event in events {
        batch.accepted(event, &[(WEBHOOK, 1)], &[], Location { segment: 1, offset: 0, length: 9 }, 9);
    }
    batch.commit(Some(index.position() + events.len() as u64)).unwrap();
}

/// The first attempt of deliveries.
fn attempt(index: &Index, ids: &[EventId], code: u16) {
    let mut batch = index.batch(true);
    for event in ids {
        let id = DeliveryId { event: *event, ordinal: 0 };
        let outcome = Outcome {
            result: Ok(code),
            duration: Duration::from_millis(1),
            phases: Phases::default(),
            peer: None,
            retry_after: None,
        };
        let known = index.delivery(id).unwrap().unwrap();
        let delivery = known.delivery.record(&outcome, &PLAN, 0.0, event.created_at()).delivery;
        let number = delivery.attempts_made();
        let attempt = Attempt { number, trigger: Trigger::Automatic, started_at: event.created_at(), outcome };
        batch.attempted(id, 1, &attempt, &delivery).unwrap();
    }
    batch.commit(Some(index.position() + ids.len() as u64)).unwrap();
}

fn files(index: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(index.join("tables")).map_or_else(|_| Vec::new(), |found| found.collect());
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn has(files: &[PathBuf], begins: &str) -> bool {
    let names = files.iter().filter_map(|file| file.file_name()?.to_str());
    let mut finished = names.filter(|name| !name.ends_with(".unfinished"));
    finished.any(|name| name.starts_with(begins))
}

/// What is listed, in both orders, of one state or of all.
fn listed(index: &Index, state: Option<State>) -> Vec<EventId> {
    let query = Query { state, ..Query::default() };
    let walk = |order| {
        let (mut ids, mut from) = (Vec::new(), None);
        loop {
            let page = index.deliveries(&query, Walk { from, order, limit: 700, budget: 20_000 }, |_| true).unwrap();
            ids.extend(page.rows.iter().map(|found| found.id.event));
            from = page.next;
            if from.is_none() {
                return ids;
            }
        }
    };
    let mut backwards = walk(Order::NewestFirst);
    backwards.reverse();
    assert_eq!(walk(Order::OldestFirst), backwards);
    backwards
}

#[test]
fn a_day_that_is_over_says_what_it_said_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let mut index = Index::open(&path, CACHE).unwrap();
    let mut ids = EventIds::default();
    let events: Vec<Event> =
        (0..EVENTS).map(|n| event(&mut ids, START.plus(Duration::from_secs(n.into())), n)).collect();
    for some in events.chunks(1_000) {
        accept(&index, some);
        attempt(&index, &some.iter().map(|event| event.id).collect::<Vec<_>>(), 200);
    }
    let mut all: Vec<EventId> = events.iter().map(|event| event.id).collect();
    assert_eq!(listed(&index, None), all);
    let first = START.day();
    let references =
        || files(&path).iter().filter(|file| has(std::slice::from_ref(file), &format!("ref.{first}"))).count();
    assert!(!has(&files(&path), "log.") && references() > 1, "{:?}", files(&path));
    index.flush().unwrap();
    let rows = index.verify().unwrap();

    // The next day begins, and its writes move the one before it on.
    let later = START.plus(Duration::from_hours(24));
    let mut number = EVENTS;
    while !(has(&files(&path), &format!("log.{first}")) && references() == 1) {
        number += 400;
        assert!(number < 400 * EVENTS, "{:?}", files(&path));
        let some: Vec<_> = (number..number + 400).map(|n| event(&mut ids, later, n)).collect();
        accept(&index, &some);
        all.extend(some.iter().map(|event| event.id));
    }
    let new = all.len() - events.len();
    assert_eq!(listed(&index, None), all);
    assert_eq!(
        index.verify().unwrap(),
        rows + 4 * new as u64,
        "event, delivery, pending and reference of each new one"
    );
    let find = |index: &Index, reference: &str| {
        let query = Query { reference: Some(reference.to_owned()), ..Query::default() };
        let walk = Walk { from: None, order: Order::NewestFirst, limit: 100, budget: 20_000 };
        index.deliveries(&query, walk, |_| true).unwrap().rows.iter().map(|found| found.id.event).collect::<Vec<_>>()
    };
    for event in events.iter().step_by(997) {
        assert_eq!(find(&index, event.scan_ref.as_deref().unwrap()), [event.id]);
    }
    assert_eq!(find(&index, "scan-01234").len(), 10);

    // It changes as any other day does, and all of that is there again after a kill.
    let some: Vec<EventId> = all.iter().copied().step_by(101).take(300).collect();
    let mut batch = index.batch(false);
    for event in &some {
        let delivery = Delivery::accepted(later).resend(later);
        batch.changed(DeliveryId { event: *event, ordinal: 0 }, &delivery).unwrap();
    }
    batch.commit(Some(index.position() + 300)).unwrap();
    for reopened in [false, true] {
        if reopened {
            index.flush().unwrap();
            drop(index);
            index = Index::open(&path, CACHE).unwrap();
        }
        let mut pending = listed(&index, Some(State::Pending));
        pending.retain(|id| id.created_at() < later);
        assert_eq!((pending, listed(&index, None)), (some.clone(), all.clone()), "reopened: {reopened}");
    }
    assert!(index.size_on_disk() > files(&path).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum());

    // And it goes with all of its files.
    index.drop_day(first).unwrap();
    assert!(!has(&files(&path), &format!("log.{first}")) && references() == 0);
    assert_eq!((listed(&index, None), index.days()), (all.split_off(events.len()), vec![later.day()]));
}

#[test]
fn damage_to_a_table_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let mut ids = EventIds::default();
    {
        let index = Index::open(&path, CACHE).unwrap();
        for some in (0..EVENTS).collect::<Vec<_>>().chunks(1_000) {
            let at = |n: &u32| START.plus(Duration::from_secs((*n).into()));
            accept(&index, &some.iter().map(|n| event(&mut ids, at(n), *n)).collect::<Vec<_>>());
        }
        let (mut number, mut more) = (EVENTS, 200);
        // Also until sled has let go of what is there.
        while more > 0 {
            more -= u32::from(has(&files(&path), "log."));
            number += 1;
            accept(&index, &[event(&mut ids, START.plus(Duration::from_hours(24)), number)]);
        }
        index.flush().unwrap();
    }
    let table = files(&path).into_iter().find(|file| has(std::slice::from_ref(file), "log.")).unwrap();
    let whole = std::fs::read(&table).unwrap();
    for round in 0..40_usize {
        let mut bytes = whole.clone();
        let at = bytes.len() / 40 * round + round;
        bytes[at] ^= 1 << (round % 8);
        std::fs::write(&table, bytes).unwrap();
        let said = Index::open(&path, CACHE).and_then(|index| index.verify());
        assert!(matches!(said, Err(IndexError::Damaged(_))), "byte {at} of {}: {said:?}", whole.len());
    }
    crate::rows::covered(
        &["F9"],
        "damage_to_a_table_is_not_believed",
        "40 bits flipped in a table of the index, each found; cut short and missing are found at the start".to_owned(),
    );
    std::fs::write(&table, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(Index::open(&path, CACHE), Err(IndexError::Damaged(_))));
    std::fs::remove_file(&table).unwrap();
    assert!(matches!(Index::open(&path, CACHE), Err(IndexError::Damaged(_))));
    std::fs::write(&table, &whole).unwrap();
    Index::open(&path, CACHE).unwrap().verify().unwrap();
}
