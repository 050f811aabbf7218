//! The index against a plain model of what it should say, and against damage of every kind: it may
//! refuse, it may not panic, and it may never say what is not so.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use postrider::domain::attempt::{Attempt, ErrorKind, Outcome, Phases, Trigger};
use postrider::domain::audit::AuditRecord;
use postrider::domain::delivery::{Delivery, State};
use postrider::domain::event::{Event, Idempotency, Location};
use postrider::domain::id::{DeliveryId, EventId, EventIds, WebhookId};
use postrider::domain::references::References;
use postrider::domain::retry::{Backoff, RetryPlan};
use postrider::domain::time::Timestamp;
use postrider::index::{AuditQuery, Found, Index, IndexError, Order, Query, Walk};
use postrider::random::Random;

const CACHE: u64 = 4 << 20;
const PLAN: RetryPlan = RetryPlan {
    count: 60,
    interval: Duration::from_secs(1),
    backoff: Backoff::Fixed,
    interval_max: Duration::from_secs(1),
};

#[derive(Clone, Debug, PartialEq)]
struct Row {
    delivery: Delivery,
    attempts: Vec<Attempt>,
    reference: String,
}

/// What the index should say.
#[derive(Default)]
struct Model {
    rows: BTreeMap<DeliveryId, Row>,
    /// How many deliveries each event has, and how many were skipped.
    events: BTreeMap<EventId, (u16, u16)>,
    /// Oldest first.
    audit: Vec<AuditRecord>,
}

fn outcome(code: u16) -> Outcome {
    let result = if code == 0 { Err(ErrorKind::Reset) } else { Ok(code) };
    let first_byte = Some(Duration::from_micros(7));
    Outcome {
        result,
        duration: Duration::from_micros(9),
        phases: Phases { first_byte, ..Phases::default() },
        peer: Some("127.0.0.1:80".parse().unwrap()),
        retry_after: None,
    }
}

#[derive(Clone, Debug)]
enum Fact {
    Accepted(Event, Vec<(WebhookId, u32)>, Vec<(WebhookId, u32)>, Location),
    Attempted(DeliveryId, Attempt, Delivery),
    Changed(DeliveryId, Delivery),
    Audited(AuditRecord),
}

/// A few hundred random facts over three days, and what they come to.
fn facts(seed: u64, steps: u32) -> (Vec<Fact>, Model) {
    let chance = Random::seeded(seed);
    let pick = |below: usize| (chance.unit() * below as f64) as usize;
    let mut ids = EventIds::default();
    let (mut facts, mut model) = (Vec::new(), Model::default());
    for step in 0..steps {
        let now = Timestamp::from_millis(1_795_300_000_000 + u64::from(step) * 60_000);
        if step % 10 == 8 {
            // Two of the same instant now and then.
            let at = Timestamp::from_millis(now.millis() / 1_200_000 * 1_200_000);
            let by = ["alice (sudo)", "bob", "postrider"][pick(3)].to_owned();
            let (action, subject) = (["webhook.edit", "key.create"][pick(2)].to_owned(), format!("w{}", pick(3)));
            let detail = format!("{{\"id\":\"{}\",\"step\":{step}}}", WebhookId::from_bytes([pick(3) as u8; 16]));
            let record = AuditRecord { at, by, uid: Some(step), action, subject, detail };
            model.audit.push(record.clone());
            facts.push(Fact::Audited(record));
            continue;
        }
        if step % 3 == 0 || model.rows.is_empty() {
            let reference = format!("ref-{:03}", pick(50));
            let event = Event {
                id: ids.next(now, chance.bits()),
                event_type: "SOS_REPORT".to_owned(),
                content_type: "application/json".to_owned(),
                scan_ref: None,
                references: References::from(vec![reference.clone()]),
                token: "t".to_owned(),
                idempotency: Some(Idempotency { key: format!("k{step}"), digest: [7; 16] }),
                trace: None,
            };
            let mut webhooks: Vec<_> = (0..pick(4)).map(|n| (WebhookId::from_bytes([n as u8; 16]), 1)).collect();
            let skipped = webhooks.split_off(pick(webhooks.len() + 1));
            let accepted = webhooks.iter().map(|_| Delivery::accepted(event.id.created_at()));
            let all = accepted.chain(skipped.iter().map(|_| Delivery::skipped()));
            for (ordinal, delivery) in (0..).zip(all) {
                let id = DeliveryId { event: event.id, ordinal };
                model.rows.insert(id, Row { delivery, attempts: Vec::new(), reference: reference.clone() });
            }
            model.events.insert(event.id, (webhooks.len() as u16, skipped.len() as u16));
            facts.push(Fact::Accepted(event, webhooks, skipped, Location { segment: 1, offset: step, length: 100 }));
            continue;
        }
        let place = pick(model.rows.len());
        let (id, row) = model.rows.iter_mut().nth(place).map(|(id, row)| (*id, row)).unwrap();
        if row.delivery.due_at().is_none() {
            row.delivery = row.delivery.resend(now);
            facts.push(Fact::Changed(id, row.delivery));
        } else {
            let outcome = outcome([0, 500, 404, 200][pick(4)]);
            let trigger = row.delivery.trigger();
            row.delivery = row.delivery.record(&outcome, &PLAN, 0.0, now).delivery;
            let number = row.delivery.attempts_made();
            let attempt = Attempt { number, trigger, started_at: now, outcome };
            row.attempts.push(attempt.clone());
            facts.push(Fact::Attempted(id, attempt, row.delivery));
        }
    }
    (facts, model)
}

/// Applies the facts behind the index's position, in batches of some twenty.
fn apply(index: &Index, facts: &[Fact], catching_up: bool) -> Result<(), IndexError> {
    let from = index.position() as usize;
    for (place, some) in facts[from..].chunks(19).enumerate() {
        let mut batch = index.batch(catching_up);
        for fact in some {
            match fact {
                Fact::Accepted(event, targets, skipped, location) => {
                    batch.accepted(event, targets, skipped, *location, 42)
                }
                Fact::Audited(record) => batch.audited(record, u64::from(record.uid.unwrap())),
                Fact::Attempted(id, attempt, delivery) => batch.attempted(*id, 1, attempt, delivery)?,
                Fact::Changed(id, delivery) => batch.changed(*id, delivery)?,
            }
        }
        batch.commit(Some((from + place * 19 + some.len()) as u64))?;
    }
    Ok(())
}

fn fill(index: &Index, seed: u64) -> Model {
    let (facts, model) = facts(seed, 600);
    apply(index, &facts, false).unwrap();
    model
}

fn all(index: &Index, query: &Query, limit: usize) -> Result<Vec<Found>, IndexError> {
    let (mut rows, mut before) = (Vec::new(), None);
    loop {
        let page =
            index.deliveries(query, Walk { from: before, order: Order::NewestFirst, limit, budget: 37 }, |_| true)?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(rows),
        }
    }
}

/// Everything the index says agrees with the model; what it refuses to say does not count.
fn agrees(index: &Index, model: &Model) -> Result<(), IndexError> {
    let listed = all(index, &Query::default(), 10)?;
    let expected: Vec<_> = model.rows.keys().rev().copied().collect();
    assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), expected);
    for (id, row) in &model.rows {
        let found = index.delivery(*id)?.unwrap();
        assert_eq!((&found.delivery, &found.attempts), (&row.delivery, &row.attempts), "{id}");
    }
    let mut pending = Vec::new();
    index.pending(|one| pending.push((one.id, one.delivery)))?;
    let (mut in_parts, mut last) = (Vec::new(), None);
    loop {
        let part = index.pending_after(last, 3)?;
        let Some(one) = part.last() else { break };
        last = Some(one.id);
        in_parts.extend(part.iter().map(|one| (one.id, one.delivery)));
    }
    assert_eq!(in_parts, pending);
    let due: Vec<_> = model.rows.iter().filter(|(_, row)| row.delivery.due_at().is_some()).collect();
    assert_eq!(pending, due.iter().map(|(id, row)| (**id, row.delivery)).collect::<Vec<_>>());
    for reference in ["ref-007", "ref-01", "ref-"] {
        let query = Query { reference: Some(reference.to_owned()), ..Query::default() };
        let found: Vec<_> = all(index, &query, 3)?.iter().map(|found| found.id).collect();
        let with = model.rows.iter().rev().filter(|(_, row)| row.reference.starts_with(reference));
        assert_eq!(found, with.map(|(id, _)| *id).collect::<Vec<_>>(), "{reference}");
    }
    let skipped = Query { state: Some(State::Skipped), ..Query::default() };
    let found: Vec<_> = all(index, &skipped, 5)?.iter().map(|found| found.id).collect();
    let with = model.rows.iter().rev().filter(|(_, row)| row.delivery.state() == State::Skipped);
    assert_eq!(found, with.map(|(id, _)| *id).collect::<Vec<_>>());
    for (id, counts) in &model.events {
        let found = index.event(*id)?.unwrap();
        assert_eq!((found.targets, found.skipped), *counts, "{id}");
        assert_eq!(index.deliveries_of(*id)?.len(), usize::from(counts.0 + counts.1), "{id}");
    }
    agrees_on_what_was_done(index, &model.audit)
}

/// Every part of the log that can be asked for, page by page.
fn agrees_on_what_was_done(index: &Index, log: &[AuditRecord]) -> Result<(), IndexError> {
    let webhook = WebhookId::from_bytes([1; 16]);
    let (since, until) = match log {
        [] => return Ok(()),
        log => (Some(log[log.len() / 3].at), Some(log[log.len() * 2 / 3].at)),
    };
    let text = |text: &str| Some(text.to_owned());
    let queries = [
        AuditQuery::default(),
        AuditQuery { since, ..AuditQuery::default() },
        AuditQuery { until, ..AuditQuery::default() },
        AuditQuery { since, until, by: text("alice"), ..AuditQuery::default() },
        AuditQuery { action: text("webhook"), by: text("bob"), ..AuditQuery::default() },
        AuditQuery { action: text("key.create"), subject: text("w2"), ..AuditQuery::default() },
        AuditQuery { subject: text("w1"), webhook: Some(webhook), ..AuditQuery::default() },
        AuditQuery { by: text("ali"), ..AuditQuery::default() },
    ];
    for (number, query) in queries.into_iter().enumerate() {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = index.audit(&query, before, 9, 23)?;
            assert!(page.rows.len() <= 9);
            found.extend(page.rows);
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let begins = |text: &str, wanted: &str| text.split([' ', '.']).next() == Some(wanted) || text == wanted;
        let wanted = |one: &&AuditRecord| {
            query.since.is_none_or(|since| one.at >= since)
                && query.until.is_none_or(|until| one.at < until)
                && query.by.as_ref().is_none_or(|by| begins(&one.by, by))
                && query.action.as_ref().is_none_or(|action| begins(&one.action, action))
                && query.subject.as_ref().is_none_or(|subject| {
                    one.subject == *subject || query.webhook.is_some() && one.detail.contains(&webhook.to_string())
                })
        };
        let expected: Vec<_> = log.iter().rev().filter(wanted).cloned().collect();
        assert_eq!(found, expected, "query {number}");
        assert_eq!(expected.is_empty(), number == 7, "query {number}");
    }
    Ok(())
}

#[test]
fn it_says_what_happened() {
    for seed in 1..=5 {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(&folder.path().join("index"), CACHE).unwrap();
        let model = fill(&index, seed);
        agrees(&index, &model).unwrap();
        assert!(model.rows.values().any(|row| row.attempts.len() > 3));
        let (id, _) =
            index.idempotency("t", "k597", Timestamp::from_millis(1_795_300_000_000 + 597 * 60_000)).unwrap().unwrap();
        assert_eq!(id.created_at(), Timestamp::from_millis(1_795_300_000_000 + 597 * 60_000));
        // As a kill leaves it: what was kept in memory is gone, and comes again from where the position says.
        drop(index);
        let index = Index::open(&folder.path().join("index"), CACHE).unwrap();
        let (facts, _) = facts(seed, 600);
        assert!(index.position() < facts.len() as u64);
        apply(&index, &facts, true).unwrap();
        agrees(&index, &model).unwrap();
        index.flush().unwrap();
        drop(index);
        agrees(&Index::open(&folder.path().join("index"), CACHE).unwrap(), &model).unwrap();
        let blobs = std::fs::read_dir(folder.path().join("index/blobs")).map_or(0, Iterator::count);
        assert_eq!(blobs, 0, "rows are too small for files of their own");
    }
}

#[test]
fn many_attempts_of_one_delivery_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index"), CACHE).unwrap();
    let id = EventIds::default().next(Timestamp::from_millis(1_795_300_000_000), 1);
    let event = Event {
        id,
        event_type: "SOS_REPORT".to_owned(),
        content_type: "application/json".to_owned(),
        scan_ref: None,
        references: References::default(),
        token: String::new(),
        idempotency: None,
        trace: None,
    };
    let location = Location { segment: 1, offset: 0, length: 1 };
    let mut batch = index.batch(false);
    batch.accepted(&event, &[(WebhookId::from_bytes([1; 16]), 1)], &[], location, 1);
    batch.commit(Some(1)).unwrap();
    let id = DeliveryId { event: id, ordinal: 0 };
    let mut delivery = Delivery::accepted(Timestamp::from_millis(0));
    for number in 1..=150_u32 {
        let started_at = Timestamp::from_millis(u64::from(number));
        delivery = delivery.resend(started_at).record(&outcome(500), &PLAN, 0.0, started_at).delivery;
        let attempt = Attempt { number, trigger: Trigger::Resend, started_at, outcome: outcome(500) };
        let mut batch = index.batch(number % 2 == 0);
        batch.attempted(id, 1, &attempt, &delivery).unwrap();
        batch.commit(Some(u64::from(number) + 1)).unwrap();
    }
    let numbers: Vec<u32> = index.delivery(id).unwrap().unwrap().attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, (1..=150).collect::<Vec<_>>());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).map(|_| ()).unwrap()
        }
    }
}

/// Single bits of the index: a start may find it useless and make a new one; it may not believe it.
#[test]
fn a_flipped_bit_of_the_index_is_refused_or_harmless() {
    #[expect(clippy::disallowed_methods, reason = "how long to search is for whoever runs the tests to say")]
    let asked = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (flips, seed) = (asked("ROUNDS_FLIPS").unwrap_or(100), asked("SEED").unwrap_or(9));
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let index = Index::open(&whole, CACHE).unwrap();
    let (facts, model) = facts(seed, 120);
    apply(&index, &facts, false).unwrap();
    index.flush().unwrap();
    drop(index);
    Index::settle(&whole, CACHE).unwrap();
    let chance = Random::seeded(seed);
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..flips {
        let damaged = folder.path().join(format!("damaged-{round}"));
        copy(&whole, &damaged);
        let path = damaged.join(if round % 20 == 19 { "conf" } else { "db" });
        let mut bytes = std::fs::read(&path).unwrap();
        let bit = (chance.unit() * (bytes.len() * 8) as f64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        println!("SEED={seed} flip {round}: bit {bit} of {}", path.display());
        let said = Index::open(&damaged, CACHE).and_then(|index| {
            apply(&index, &facts, true)?;
            agrees(&index, &model)
        });
        if said.is_ok() {
            harmless += 1
        } else {
            refused += 1
        }
        std::fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(refused > 0, "the damage was real");
    crate::rows::covered(
        &["F9", "F13"],
        "a_flipped_bit_of_the_index_is_refused_or_harmless",
        format!("{flips} bits flipped in the index: {refused} refused, {harmless} harmless, 0 wrong answers"),
    );
}

/// sled lets go of its files a moment after it was dropped.
#[test]
fn an_index_that_is_just_being_closed_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path(), CACHE).unwrap();
    std::thread::scope(|scope| {
        let again = scope.spawn(|| Index::open(folder.path(), CACHE).map(drop));
        std::thread::park_timeout(Duration::from_millis(50));
        drop(index);
        again.join().unwrap().unwrap();
    });
}

#[test]
fn damage_is_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let index = Index::open(&whole, CACHE).unwrap();
    let (facts, model) = facts(9, 4_000);
    apply(&index, &facts, false).unwrap();
    index.flush().unwrap();
    drop(index);
    Index::settle(&whole, CACHE).unwrap();
    let length = std::fs::metadata(whole.join("db")).unwrap().len();
    let chance = Random::seeded(5);
    let (mut refused, mut harmless, mut set_back) = (0, 0, 0);
    for round in 0..80_u64 {
        let damaged = folder.path().join(format!("damaged-{round}"));
        copy(&whole, &damaged);
        let path = damaged.join("db");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (chance.unit() * length as f64) as usize;
        match round % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..(at + 4096).min(length as usize)].fill(0),
            _ => bytes[at] ^= 1 << (round % 8),
        }
        std::fs::write(&path, bytes).unwrap();
        println!("round {round}: at {at} of {length}");
        // As at a start: what the position says is missing is applied again.
        let said = Index::open(&damaged, CACHE).and_then(|index| {
            set_back += u32::from(index.position() < facts.len() as u64);
            apply(&index, &facts, true)?;
            agrees(&index, &model)
        });
        match said {
            Ok(()) => harmless += 1,
            Err(_) => refused += 1,
        }
        std::fs::remove_dir_all(&damaged).unwrap();
    }
    println!("{refused} refused, {harmless} harmless, {set_back} set back");
    // Which of the two it is depends on what sled had written where at the moment of the copy.
    assert!(refused + set_back > 0, "the damage was real");
}
