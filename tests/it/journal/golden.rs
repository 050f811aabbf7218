//! The bytes on the disk are a promise. When one of these fails, the format has changed: that
//! needs a new version beside the old, not a new golden file.

use std::fmt::Write as _;

use postrider::domain::trace_context::TraceContext;
use postrider::journal::{Disk as _, Frame};

use super::*;

const RECORDS: &str = include_str!("../golden/journal-v1.txt");
/// Kinds and forms that came later.
const LATER: &str = include_str!("../golden/journal-v1-later.txt");
const SEGMENT: &[u8] = include_bytes!("../golden/journal-v1.seg");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Bytes {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().into()
}

/// One of every kind, and of every form that its bytes can take.
fn samples() -> Vec<(&'static str, Record)> {
    let bare = Event {
        scan_ref: None,
        references: References::default(),
        token: String::new(),
        idempotency: None,
        ..event(noon(), 2)
    };
    let resent = Attempt {
        number: 7,
        trigger: Trigger::Resend,
        started_at: noon(),
        outcome: Outcome { peer: Some("[2001:db8::1]:8443".parse().unwrap()), ..Outcome::failed(ErrorKind::Damaged) },
    };
    let outcome = |attempt| {
        let delivery = Delivery::from_parts(State::Cancelled, None, None, 1, 7).unwrap();
        let id = DeliveryId { event: event_id(noon(), 4), ordinal: 300 };
        Record::Attempt(AttemptRecord { id, target: target(1), attempt, delivery })
    };
    vec![
        ("event", event_record(noon(), 4)),
        ("event-bare", Record::Event { event: bare, targets: Vec::new(), skipped: Vec::new(), payload: Bytes::new() }),
        ("attempt", record(noon(), 6)),
        ("attempt-answered", outcome(attempt(noon(), Ok(204)))),
        ("attempt-resend", outcome(resent)),
        ("change-resend", record(noon(), 1)),
        ("change-cancel", record(noon(), 7)),
        ("config-webhook", record(noon(), 2)),
        ("config-token", record(noon(), 26)),
        ("config-removed", record(noon(), 8)),
        ("config-event-type", record(noon(), 14)),
        ("carry", carry_record(noon(), 9, None)),
        ("carry-settled", carry_record(noon(), 15, Some(noon().plus(Duration::from_secs(60 * 60))))),
    ]
}

/// Each error kind has a number on the disk.
fn errors() -> Vec<Record> {
    ErrorKind::ALL
        .into_iter()
        .map(|kind| {
            Record::Attempt(AttemptRecord {
                id: DeliveryId { event: event_id(noon(), 4), ordinal: 0 },
                target: target(1),
                attempt: attempt(noon(), Err(kind)),
                delivery: Delivery::accepted(noon()),
            })
        })
        .collect()
}

/// Writes the samples, and a snapshot of what they configure, into one segment.
fn written() -> (SimDisk, Vec<(String, u64, Bytes)>) {
    let disk = new_disk();
    let mut opened = open_at(&disk, Clock::simulated(noon()), 64 << 20).unwrap();
    let mut names = vec!["snapshot-empty".to_owned()];
    let mut records = Vec::new();
    for (name, record) in samples() {
        names.push(name.to_owned());
        records.push(record);
    }
    for (kind, record) in ErrorKind::ALL.into_iter().zip(errors()) {
        names.push(format!("attempt-error-{kind}"));
        records.push(record);
    }
    for record in records {
        opened.journal.append(record).unwrap();
    }
    opened.committer.commit_waiting(&mut Ledger::default());
    // Another day, another segment: its first record is the snapshot.
    append_each(&mut opened, [event_record(noon().minus(DAY), 4)]);
    names.push("snapshot".to_owned());
    let mut found = Vec::new();
    for (one, name) in replay(&opened.journal, 0, u64::MAX).into_iter().zip(names) {
        let bytes = Bytes::from(disk.contents(&segment_path(&opened, one.location.segment)));
        let from = one.location.offset as usize;
        found.push((name, one.sequence, bytes.slice(from..from + one.location.length as usize)));
    }
    (disk, found)
}

#[tokio::test(start_paused = true)]
async fn every_kind_is_written_as_it_always_was() {
    let mut lines = String::new();
    for (name, sequence, bytes) in written().1 {
        writeln!(lines, "{name} {sequence} {}", hex(&bytes)).unwrap();
    }
    assert!(lines == RECORDS, "the journal is written differently now:\n{lines}");
}

#[tokio::test(start_paused = true)]
async fn every_kind_is_read_as_it_always_was() {
    let mut expected: Vec<Record> = samples().into_iter().map(|(_, record)| record).collect();
    expected.extend(errors());
    let mut found = Vec::new();
    let mut image = ConfigImage::default();
    for line in RECORDS.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let sequence: u64 = words.next().unwrap().parse().unwrap();
        let frame = Frame::decode(&unhex(words.next().unwrap())).unwrap();
        assert_eq!((frame.version, frame.sequence), (1, sequence), "{name}");
        match Record::decode(&frame).unwrap() {
            Record::Snapshot { at, image: stored } => {
                assert_eq!(at, noon(), "{name}");
                assert_eq!(stored, image, "{name}");
            }
            record => {
                image.apply(&record);
                found.push(record);
            }
        }
    }
    assert_eq!(found, expected);
}

/// What was skipped, the audit log, and what belongs to a trace.
fn later() -> Vec<(&'static str, Record)> {
    let id = DeliveryId { event: event_id(noon(), 4), ordinal: 1 };
    let resent = Delivery::from_parts(State::Skipped, None, Some(noon()), 0, 1).unwrap();
    let change = ChangeRecord { id, at: noon(), by: "root".to_owned(), cause: ChangeCause::Resend, delivery: resent };
    let own = AuditRecord::own(noon(), "webhook.pause", "aml-watch", "{}".to_owned());
    let all_skipped = Record::Event {
        event: event(noon(), 6),
        targets: Vec::new(),
        skipped: vec![target(1), target(2)],
        payload: Bytes::new(),
    };
    let carried = |delivery| CarriedDelivery { target: target(1), delivery, attempts: Vec::new() };
    let carry = Record::Carry {
        event: event(noon(), 7),
        deliveries: vec![carried(Delivery::accepted(noon())), carried(Delivery::skipped())],
        payload: payload(7),
    };
    let trace = TraceContext { trace: [0xa; 16], parent: [0xb; 8], flags: 1, state: "a=b".to_owned() };
    let traced = |number| Event { trace: Some(trace.clone()), ..event(noon(), number) };
    let event_traced =
        Record::Event { event: traced(8), targets: vec![target(1)], skipped: vec![target(2)], payload: payload(8) };
    let carry_traced =
        Record::Carry { event: traced(9), deliveries: vec![carried(Delivery::accepted(noon()))], payload: payload(9) };
    vec![
        ("event-skipped", skipped_record(noon(), 5)),
        ("event-all-skipped", all_skipped),
        ("change-resend-skipped", Record::Change(change)),
        ("carry-skipped", carry),
        ("audit", audit_record(noon(), 10)),
        ("audit-own", Record::Audit(own)),
        ("event-traced", event_traced),
        ("carry-traced", carry_traced),
    ]
}

#[test]
fn later_kinds_are_written_and_read_as_they_always_were() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let mut lines = String::new();
    for (name, record) in later() {
        let committed = append_each(&mut opened, [record]).remove(0);
        let bytes = disk.contents(&segment_path(&opened, committed.location.segment));
        let from = committed.location.offset as usize;
        let bytes = &bytes[from..from + committed.location.length as usize];
        writeln!(lines, "{name} {} {}", committed.sequence, hex(bytes)).unwrap();
    }
    assert!(lines == LATER, "the journal is written differently now:\n{lines}");
    for (line, (name, record)) in LATER.lines().zip(later()) {
        let frame = Frame::decode(&unhex(line.rsplit(' ').next().unwrap())).unwrap();
        assert_eq!(Record::decode(&frame), Some(record), "{name}");
    }
}

/// A whole segment as version 0.1 left it. Under paused time: its snapshot holds an instant.
#[tokio::test(start_paused = true)]
async fn an_old_segment_opens() {
    let disk = new_disk();
    let folder = Path::new(DIRECTORY).join("2026-11-23");
    disk.create_dir(Path::new(DIRECTORY)).unwrap();
    disk.create_dir(&folder).unwrap();
    let path = folder.join("00000000000000000001.seg");
    drop(disk.create(&path).unwrap());
    disk.set_contents(&path, SEGMENT);
    let mut opened = open(&disk);
    assert_eq!((opened.report.cut_bytes, opened.report.quarantined, opened.report.segments), (0, 0, 1));
    let mut expected: Vec<Record> = samples().into_iter().map(|(_, record)| record).collect();
    expected.extend(errors());
    assert_eq!(records_of(&opened.journal), expected);
    assert_eq!(opened.image.entries.len(), 3, "one of each collection");
    append_each(&mut opened, [event_record(noon(), 5)]);
    assert!(disk.contents(&path).starts_with(SEGMENT) && disk.contents(&path).len() > SEGMENT.len());
    // And today's code writes the same.
    let (again, _) = written();
    let written = again.contents(&path);
    assert!(written == SEGMENT, "the segment is written differently now:\n{}", hex(&written));
}
