//! Rows of the index: whatever lies there with a checksum that fits, reading it gives a row or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::index::readable_as;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (key, value) = input;
    let kinds = readable_as(&key, &value);
    assert!(kinds <= 8);
    // The same bytes are the same rows.
    assert_eq!(kinds, readable_as(&key, &value));
});
