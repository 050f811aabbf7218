//! Schemas of operators and payloads of apps: a schema that compiles judges every payload, and tells nothing of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::catalog::Schema;
use postrider::domain::text::misleads;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, payload) = input;
    match Schema::compile(text) {
        Ok(schema) => {
            let misfits = schema.check(payload);
            assert_eq!(misfits.is_empty(), schema.check(payload).is_empty());
            assert_eq!(misfits.is_empty(), schema.first(payload).is_none());
        }
        Err(problem) => assert!(!problem.is_empty() && !problem.contains(misleads), "{problem:?}"),
    }
});
