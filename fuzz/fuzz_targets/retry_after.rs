//! `Retry-After`: a wait or nothing, and a number of seconds is that number.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postrider::domain::attempt::RetryAfter;
use postrider::egress::parse_retry_after;

fuzz_target!(|input: (&str, u64)| {
    let (text, seconds) = input;
    if let Some(RetryAfter::At(_)) = parse_retry_after(text) {
        // The library that reads dates leaves out more blanks than a header can hold.
        let date = text.trim();
        assert!(date.len() < 100 && date.is_ascii(), "{date:?}");
    }
    let told = parse_retry_after(&format!(" {seconds}\t"));
    assert!(matches!(told, Some(RetryAfter::Delay(wait)) if wait == Duration::from_secs(seconds)));
    assert!(parse_retry_after(&format!("-{seconds}")).is_none());
});
