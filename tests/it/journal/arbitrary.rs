//! Whatever the bytes and whatever the records.

use postrider::domain::trace_context::TraceContext;
use postrider::journal::{Disk as _, Frame, Replayed, SegmentReader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn timestamps() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..80).prop_map(Bytes::from)
}

fn targets() -> impl Strategy<Value = Target> {
    (any::<[u8; 16]>(), any::<u32>()).prop_map(|(id, version)| Target { webhook: WebhookId::from_bytes(id), version })
}

fn events() -> impl Strategy<Value = Event> {
    let texts = (".{0,20}", ".{0,20}", option::of(".{0,20}"), vec(".{0,9}", 0..40), ".{0,9}");
    let idempotency = option::of((".{0,20}", any::<[u8; 16]>()));
    let trace = option::of((any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>(), ".{0,20}"));
    (any::<[u8; 16]>(), texts, idempotency, trace).prop_map(|(id, texts, idempotency, trace)| {
        let (event_type, content_type, scan_ref, references, token) = texts;
        Event {
            id: EventId::from_bytes(id),
            event_type,
            content_type,
            scan_ref,
            references: references.into(),
            token,
            idempotency: idempotency.map(|(key, digest)| Idempotency { key, digest }),
            trace: trace.map(|(trace, parent, flags, state)| TraceContext { trace, parent, flags, state }),
        }
    })
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    let states =
        prop::sample::select(vec![State::Pending, State::Delivered, State::Failed, State::Cancelled, State::Skipped]);
    (states, timestamps(), option::of(timestamps()), any::<u16>(), any::<u16>()).prop_map(
        |(settled, due, resend_due, automatic_made, resends)| {
            let due = (settled == State::Pending).then_some(due);
            let automatic_made = if settled == State::Skipped { 0 } else { automatic_made };
            let made = u32::from(automatic_made) + u32::from(resends);
            Delivery::from_parts(settled, due, resend_due, automatic_made, made).unwrap()
        },
    )
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let micros = || any::<u32>().prop_map(|micros| Duration::from_micros(micros.into()));
    let phases = [(); 4].map(|()| option::of(micros()));
    let results = prop_oneof![any::<u16>().prop_map(Ok), prop::sample::select(ErrorKind::ALL.to_vec()).prop_map(Err)];
    let peers = option::of((any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from));
    (any::<u32>(), any::<bool>(), timestamps(), results, micros(), phases, peers).prop_map(
        |(number, resend, started_at, result, duration, [dns, connect, tls, first_byte], peer)| {
            let phases = Phases { dns, connect, tls, first_byte };
            let outcome = Outcome { result, duration, phases, peer, retry_after: None };
            let trigger = if resend { Trigger::Resend } else { Trigger::Automatic };
            Attempt { number, trigger, started_at, outcome }
        },
    )
}

fn delivery_ids() -> impl Strategy<Value = DeliveryId> {
    (any::<[u8; 16]>(), any::<u16>())
        .prop_map(|(event, ordinal)| DeliveryId { event: EventId::from_bytes(event), ordinal })
}

fn records() -> impl Strategy<Value = Record> {
    let carried = (targets(), deliveries(), vec(attempts(), 0..4))
        .prop_map(|(target, delivery, attempts)| CarriedDelivery { target, delivery, attempts });
    let collections = prop::sample::select(vec![Collection::Webhook, Collection::Token, Collection::EventType]);
    let causes = prop::sample::select(vec![ChangeCause::Resend, ChangeCause::Cancel]);
    prop_oneof![
        (events(), vec(targets(), 0..5), vec(targets(), 0..3), some_bytes())
            .prop_map(|(event, targets, skipped, payload)| Record::Event { event, targets, skipped, payload }),
        (timestamps(), ".{0,9}", option::of(any::<u32>()), ".{0,9}", ".{0,9}", ".{0,40}").prop_map(
            |(at, by, uid, action, subject, detail)| {
                Record::Audit(AuditRecord { at, by, uid, action, subject, detail })
            }
        ),
        (delivery_ids(), targets(), attempts(), deliveries()).prop_map(|(id, target, attempt, delivery)| {
            Record::Attempt(AttemptRecord { id, target, attempt, delivery })
        }),
        (delivery_ids(), timestamps(), ".{0,9}", causes, deliveries())
            .prop_map(|(id, at, by, cause, delivery)| Record::Change(ChangeRecord { id, at, by, cause, delivery })),
        (collections, some_bytes(), any::<u32>(), timestamps(), ".{0,9}", option::of(some_bytes())).prop_map(
            |(collection, key, version, at, by, body)| {
                Record::Config(ConfigRecord { collection, key, version, at, by, body })
            }
        ),
        (events(), vec(carried, 0..4), some_bytes()).prop_map(|(event, deliveries, payload)| Record::Carry {
            event,
            deliveries,
            payload
        }),
    ]
}

/// Reads everything, and checks that each byte is accounted for once.
fn read_all(bytes: &[u8]) {
    let disk = new_disk();
    let path = Path::new("/data/segment");
    drop(disk.create(path).unwrap());
    disk.set_contents(path, bytes);
    let file = disk.open(path).unwrap();
    let mut reader = SegmentReader::new(&*file, 1, bytes.len() as u64);
    let mut at = 0;
    while let Some(item) = reader.next().unwrap() {
        let (offset, length) = match item {
            Replayed::Record(committed) => (u64::from(committed.location.offset), u64::from(committed.location.length)),
            Replayed::Damaged { offset, bytes } => (offset, bytes.len() as u64),
        };
        assert_eq!((offset, offset + length), (at, reader.offset()));
        at = reader.offset();
    }
    assert_eq!(at, bytes.len() as u64);
}

/// A few records as bytes, to be damaged.
fn stored(numbers: &[u64]) -> Vec<u8> {
    let disk = new_disk();
    let mut opened = open(&disk);
    append_each(&mut opened, numbers.iter().map(|number| event_record(noon(), *number)));
    disk.contents(&segment_path(&opened, 1))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_record_comes_back_as_it_was(several in vec(records(), 1..8)) {
        let disk = new_disk();
        let mut opened = open(&disk);
        let mut tickets: Vec<_> =
            several.iter().map(|record| (record, opened.journal.append(record.clone()).unwrap())).collect();
        opened.committer.commit_waiting(&mut Ledger::default());
        let again = open(&disk);
        for (record, ticket) in &mut tickets {
            let committed = ticket.try_recv().unwrap().unwrap();
            prop_assert_eq!(&*committed.record, *record);
            prop_assert_eq!(&*again.journal.read(committed.location).unwrap(), *record);
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in vec(any::<u8>(), 0..3_000)) {
        drop(Frame::decode(&Bytes::from(bytes.clone())));
        read_all(&bytes);
    }

    #[test]
    fn any_damage_is_read_to_its_end(
        edits in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3, 0_usize..200), 1..6)
    ) {
        let mut bytes = stored(&[4, 5, 10, 11]);
        for (place, value, kind, length) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => drop(bytes.drain(at..(at + length).min(bytes.len() - 1).max(at))),
                _ => {
                    let again = bytes[at..(at + length).min(bytes.len())].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        read_all(&bytes);
    }

    /// Right checksums around contents that are not: decoding must refuse, not panic.
    #[test]
    fn any_contents_in_a_right_frame_are_decoded_or_refused(
        kind in 0_u8..11, meta in vec(any::<u8>(), 0..200), payload in some_bytes()
    ) {
        let frame = Frame { version: 1, kind, sequence: 1, meta: meta.into(), payload };
        if let Some(record) = Record::decode(&frame) {
            prop_assert!((1..=8).contains(&kind), "{:?}", record);
        }
    }
}
