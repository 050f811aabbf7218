//! Rows of the index: whatever lies there with a checksum that fits, reading it gives a row or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::index::readable_as;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (key, value) = input;
    // What can be read as a pending row is written and read the same; what cannot is refused without a panic.
    readable_as(&key, &value).expect("a row that was read is written and read the same");
});
