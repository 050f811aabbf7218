//! What travels over the admin socket: whatever can be read is written and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::admin::protocol as p;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn same<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_value(&read).expect("what was read can be written");
    let again: T = serde_json::from_value(written.clone()).expect("what was written can be read");
    assert_eq!(serde_json::to_value(&again).expect("again"), written);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 12 {
        0 => same::<p::BulkRequest>(bytes),
        1 => same::<p::NewKey>(bytes),
        2 => same::<p::NewTest>(bytes),
        3 => same::<p::EventTypeDefinition>(bytes),
        4 => same::<p::EmailTest>(bytes),
        5 => same::<p::WebhookView>(bytes),
        6 => same::<p::DeliveryView>(bytes),
        7 => same::<p::EventView>(bytes),
        8 => same::<p::Status>(bytes),
        9 => same::<p::Problem>(bytes),
        10 => same::<p::AuditView>(bytes),
        _ => same::<p::ImportView>(bytes),
    }
});
