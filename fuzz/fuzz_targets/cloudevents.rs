//! CloudEvents, structured and in batches: always with a key, and each element as if it came alone.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use postrider::ingest::{parse_batch, parse_structured};

fuzz_target!(|body: &[u8]| {
    let alone = parse_structured(&Bytes::copy_from_slice(body));
    if let Ok(parsed) = &alone {
        assert!(parsed.idempotency_key.is_some());
    }
    // A body that is one JSON value is an element of a batch.
    if serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok() {
        let batch = Bytes::from([b"[", body, b"]"].concat());
        if let Ok(events) = parse_batch("application/cloudevents-batch+json", &batch, 8) {
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].as_ref().ok(), alone.as_ref().ok());
        }
    }
});
