//! Envelopes and plain payloads of apps: what is taken out is a piece of what was posted.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use postrider::ingest::{parse_batch, parse_envelope, references_of};

fuzz_target!(|body: &[u8]| {
    let whole = Bytes::copy_from_slice(body);
    if let Ok(parsed) = parse_envelope(&whole) {
        let payload = &parsed.payload[..];
        assert!(body.windows(payload.len().max(1)).any(|part| part == payload), "bytes that were not posted");
        serde_json::from_slice::<&serde_json::value::RawValue>(payload).expect("a payload is JSON");
        // Told by its payload alone, it has the same references or the same fault.
        let again = format!("{{\"type\":\"X\",\"payload\":{}}}", std::str::from_utf8(payload).expect("UTF-8"));
        let again = parse_envelope(&Bytes::from(again)).expect("the payload alone is an envelope's");
        assert_eq!(again.payload, payload);
    }
    if let Ok((scan_ref, references)) = references_of(body) {
        let all = references.into_vec();
        assert!(scan_ref.is_none_or(|one| one.is_empty() || !all.is_empty()));
        serde_json::from_slice::<serde::de::IgnoredAny>(body).expect("only JSON has references");
    }
    if let Ok(events) = parse_batch("application/x-ndjson", &whole, 16) {
        assert!(events.len() <= 16);
    }
});
