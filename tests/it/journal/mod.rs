//! The journal on a disk that crashes, fails and fills up.

mod arbitrary;
mod crash;
mod damage;
mod days;
mod faults;
mod golden;
mod group;
mod real_disk;
mod rot;
mod round_trip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider::clock::Clock;
use postrider::domain::attempt::{Attempt, ErrorKind, Outcome, Phases, Trigger};
use postrider::domain::audit::AuditRecord;
use postrider::domain::delivery::{Delivery, State};
use postrider::domain::event::{Event, Idempotency};
use postrider::domain::id::{DeliveryId, EventId, WebhookId};
use postrider::domain::references::References;
use postrider::domain::time::{Day, Timestamp};
use postrider::journal::{
    AttemptRecord, CarriedDelivery, ChangeCause, ChangeRecord, Collection, Committed, ConfigImage, ConfigRecord,
    Journal, JournalError, Opened, Options, Record, Sink, Target,
};

use crate::support::sim_disk::SimDisk;

const DIRECTORY: &str = "/data/journal";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Noon of 2026-11-23.
fn noon() -> Timestamp {
    Timestamp::from_millis(1_795_435_200_000)
}

fn new_disk() -> SimDisk {
    SimDisk::with_folder("data")
}

fn open_at(disk: &SimDisk, clock: Clock, segment_bytes_max: u64) -> Result<Opened, JournalError> {
    Journal::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY), clock, Options { segment_bytes_max })
}

fn open(disk: &SimDisk) -> Opened {
    open_at(disk, Clock::simulated(noon()), 64 << 20).unwrap()
}

fn segment_path(opened: &Opened, name: u64) -> PathBuf {
    let day = opened.journal.day_of(name).unwrap();
    Path::new(DIRECTORY).join(day.to_string()).join(format!("{name:020}.seg"))
}

/// Everything that was told to be committed.
#[derive(Default)]
struct Ledger(Vec<Committed>);

impl Sink for Ledger {
    fn committed(&mut self, records: &[Committed]) {
        self.0.extend_from_slice(records);
    }
}

/// Everything of a day that goes.
fn remove_day(journal: &Journal, day: Day) -> Result<(), JournalError> {
    while !journal.remove_some_of(day)? {}
    Ok(())
}

/// Appends each in a batch of its own and tells what became of them.
fn append_each(opened: &mut Opened, records: impl IntoIterator<Item = Record>) -> Vec<Committed> {
    let mut ledger = Ledger::default();
    let mut answers = Vec::new();
    for record in records {
        let mut ticket = opened.journal.append(record).unwrap();
        assert!(opened.committer.commit_waiting(&mut ledger));
        answers.push(ticket.try_recv().unwrap().unwrap());
    }
    answers
}

fn replay(journal: &Journal, from: u64, to: u64) -> Vec<Committed> {
    let mut found = Vec::new();
    journal
        .replay(from, to, |committed| {
            found.push(committed);
            Ok::<(), JournalError>(())
        })
        .unwrap();
    found
}

fn is_snapshot(record: &Record) -> bool {
    matches!(record, Record::Snapshot { .. })
}

/// All but the snapshots.
fn records_of(journal: &Journal) -> Vec<Record> {
    let all = replay(journal, 0, u64::MAX);
    all.into_iter().map(|one| (*one.record).clone()).filter(|record| !is_snapshot(record)).collect()
}

/// The configuration, from the first record on.
fn image_of(journal: &Journal) -> ConfigImage {
    let mut image = ConfigImage::default();
    replay(journal, 0, u64::MAX).iter().for_each(|one| image.apply(&one.record));
    image
}

fn event_id(at: Timestamp, number: u64) -> EventId {
    let mut bytes = *EventId::first_at(at).as_bytes();
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    EventId::from_bytes(bytes)
}

fn event(at: Timestamp, number: u64) -> Event {
    let mut references = References::default();
    references.add("reference");
    references.add(&number.to_string());
    Event {
        id: event_id(at, number),
        event_type: "AML_MONITORING".to_owned(),
        content_type: "application/json".to_owned(),
        scan_ref: Some(format!("scan-{number}")),
        references,
        token: "billing".to_owned(),
        idempotency: Some(Idempotency { key: format!("key-{number}"), digest: [7; 16] }),
        trace: None,
    }
}

fn target(number: u64) -> Target {
    Target { webhook: WebhookId::new(noon(), u128::from(number)), version: 3 }
}

fn attempt(at: Timestamp, result: Result<u16, ErrorKind>) -> Attempt {
    let phases = Phases {
        dns: Some(Duration::from_micros(1_500)),
        connect: Some(Duration::from_micros(20_000)),
        tls: None,
        first_byte: Some(Duration::from_millis(81)),
    };
    let peer: SocketAddr = "192.0.2.7:443".parse().unwrap();
    let outcome = Outcome { result, duration: Duration::from_millis(103), phases, peer: Some(peer), retry_after: None };
    Attempt { number: 2, trigger: Trigger::Automatic, started_at: at, outcome }
}

fn payload(number: u64) -> Bytes {
    let length = usize::try_from(number * 7 % 700).unwrap();
    Bytes::from(number.to_string().bytes().cycle().take(length).collect::<Vec<u8>>())
}

fn event_record(at: Timestamp, number: u64) -> Record {
    let targets = vec![target(1), target(2)];
    Record::Event { event: event(at, number), targets, skipped: Vec::new(), payload: payload(number) }
}

/// The filter of one webhook did not let it through.
fn skipped_record(at: Timestamp, number: u64) -> Record {
    let (targets, skipped) = (vec![target(1)], vec![target(2)]);
    Record::Event { event: event(at, number), targets, skipped, payload: payload(number) }
}

fn audit_record(at: Timestamp, number: u64) -> Record {
    Record::Audit(AuditRecord {
        at,
        by: "alice (sudo)".to_owned(),
        uid: Some(0),
        action: "webhook.edit".to_owned(),
        subject: number.to_string(),
        detail: "{\"changed\":{\"retry.count\":[5,7],\"signing_key\":\"replaced\"}}".to_owned(),
    })
}

/// Settled at the last attempt, or still waiting.
fn carry_record(at: Timestamp, number: u64, last_attempt: Option<Timestamp>) -> Record {
    let delivery = match last_attempt {
        Some(_) => Delivery::from_parts(State::Failed, None, None, 1, 1).unwrap(),
        None => Delivery::accepted(at),
    };
    let attempts = last_attempt.map(|started_at| attempt(started_at, Err(ErrorKind::Tls))).into_iter().collect();
    let deliveries = vec![CarriedDelivery { target: target(1), delivery, attempts }];
    Record::Carry { event: event(at, number), deliveries, payload: payload(number) }
}

/// A record of a kind that the number chooses, and from which [`number_of`] can tell it again.
fn record(at: Timestamp, number: u64) -> Record {
    let id = DeliveryId { event: event_id(at, number), ordinal: 1 };
    match number % 6 {
        0 => Record::Attempt(AttemptRecord {
            id,
            target: target(1),
            attempt: attempt(at, Ok(503)),
            delivery: Delivery::accepted(at.plus(DAY)),
        }),
        1 => Record::Change(ChangeRecord {
            id,
            at,
            by: "root".to_owned(),
            cause: if number % 4 == 1 { ChangeCause::Resend } else { ChangeCause::Cancel },
            delivery: Delivery::from_parts(State::Delivered, None, Some(at), 1, 1).unwrap(),
        }),
        2 => Record::Config(ConfigRecord {
            collection: [Collection::Webhook, Collection::Token, Collection::EventType][(number / 6 % 3) as usize],
            key: Bytes::from(format!("key-{}", number % 5)),
            version: u32::try_from(number).unwrap(),
            at,
            by: "root".to_owned(),
            body: (!number.is_multiple_of(4)).then(|| Bytes::from(format!("{{\"version\":{number}}}"))),
        }),
        3 => carry_record(at, number, (number % 4 == 3).then(|| at.minus(DAY))),
        4 if number % 12 == 10 => audit_record(at, number),
        5 if number % 12 == 5 => skipped_record(at, number),
        _ => event_record(at, number),
    }
}

fn number_of(record: &Record) -> Option<u64> {
    let id = match record {
        Record::Event { event, .. } | Record::Carry { event, .. } => event.id,
        Record::Attempt(attempt) => attempt.id.event,
        Record::Change(change) => change.id.event,
        Record::Config(config) => return Some(u64::from(config.version)),
        Record::Audit(audit) => return audit.subject.parse().ok(),
        Record::Snapshot { .. } => return None,
    };
    Some(u64::from_be_bytes(id.as_bytes()[8..].try_into().unwrap()))
}

/// What a test has given to the journal, and what the journal has promised.
#[derive(Clone, Default)]
struct Promises {
    appended: BTreeMap<u64, Record>,
    /// By sequence.
    committed: BTreeMap<u64, Committed>,
    /// Answered with `Full`: must never be seen again.
    taken_back: BTreeSet<u64>,
}

impl Promises {
    fn next(&mut self, at: Timestamp) -> (u64, Record) {
        let number = self.appended.len() as u64;
        let record = record(at, number);
        self.appended.insert(number, record.clone());
        (number, record)
    }

    fn keep(&mut self, committed: impl IntoIterator<Item = Committed>) {
        for one in committed {
            let earlier = self.committed.insert(one.sequence, one.clone());
            assert!(
                earlier.as_ref().is_none_or(|earlier| earlier.record == one.record),
                "sequence {} was used twice",
                one.sequence
            );
        }
    }

    /// Opens the journal and holds it against what was promised.
    fn verify(&self, disk: &SimDisk, clock: Clock, segment_bytes_max: u64) -> (Opened, Vec<Committed>) {
        let opened = open_at(disk, clock, segment_bytes_max).unwrap();
        let found = replay(&opened.journal, 0, u64::MAX);
        assert!(found.is_sorted_by(|a, b| a.sequence < b.sequence), "sequences do not rise");
        assert_eq!(found.last().map_or(0, |last| last.sequence), opened.journal.last_committed());
        let by_sequence: BTreeMap<u64, &Committed> = found.iter().map(|one| (one.sequence, one)).collect();
        for (sequence, promised) in &self.committed {
            let kept = by_sequence.get(sequence).unwrap_or_else(|| panic!("{sequence} is lost: {promised:?}"));
            assert_eq!((&kept.record, kept.location), (&promised.record, promised.location));
        }
        let mut seen = BTreeSet::new();
        let mut image = ConfigImage::default();
        let mut segment = 0;
        for one in &found {
            if one.location.segment != segment {
                segment = one.location.segment;
                // A torn write may have kept records of a batch and lost the snapshot before them.
                if opened.journal.quarantined() == 0 {
                    assert_eq!(one.sequence, segment, "named by its first record");
                    assert!(is_snapshot(&one.record), "a segment begins with a snapshot");
                }
            }
            if let Some(number) = number_of(&one.record) {
                assert_eq!(self.appended.get(&number), Some(&*one.record));
                assert!(seen.insert(number), "{number} is there twice");
                assert!(!self.taken_back.contains(&number), "{number} was refused for want of room");
            }
            if let Record::Snapshot { image: stored, .. } = &*one.record {
                assert_eq!(stored, &image, "the snapshot of segment {segment}");
            }
            image.apply(&one.record);
        }
        assert_eq!(opened.image, image);
        (opened, found)
    }
}
