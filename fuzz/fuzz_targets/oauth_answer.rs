//! Answers of authorization servers: a token that comes out can stand in a header, and lives for a bounded time.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postrider::dispatch::read_answer;

fuzz_target!(|body: &[u8]| {
    let Ok((token, life)) = read_answer(body) else { return };
    let value = http::HeaderValue::from_str(token.expose()).expect("it can stand in a header");
    assert!(value.as_bytes().starts_with(b"Bearer ") && value.len() > "Bearer ".len());
    assert!(life <= Duration::from_secs(24 * 3600));
});
