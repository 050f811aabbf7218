//! Text from outside, as it is shown to people: nothing in it may steer a terminal or mislead the eye.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::domain::text::{misleads, printable};

fuzz_target!(|text: &str| {
    let shown = printable(text);
    assert!(!shown.contains(misleads) && !shown.contains(char::is_control));
    assert_eq!(printable(&shown), shown, "shown twice, it is the same");
});
