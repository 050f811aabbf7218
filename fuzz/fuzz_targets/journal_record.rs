//! Records of the journal: whatever a frame holds, it is refused, or a record that is written and read the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use postrider::journal::{Frame, Record};

fuzz_target!(|input: (u8, u64, Vec<u8>, Vec<u8>)| {
    let (kind, sequence, meta, payload) = input;
    let _ = Frame::decode(&Bytes::from(meta.clone()));
    // As if its checksums were right: damage is for other tests, this one is about meaning.
    let frame = Frame { version: 1, kind: kind % 16, sequence, meta: meta.into(), payload: payload.into() };
    let Some(record) = Record::decode(&frame) else { return };
    let (kind, meta, payload) = record.encode();
    let again = Frame { version: 1, kind, sequence, meta: meta.into(), payload };
    assert_eq!(Record::decode(&again).as_ref(), Some(&record));
});
