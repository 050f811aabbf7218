//! Makes `docs/openapi.json`: the calls are written by hand in `calls.json`, what travels in them is taken from the structs of
//! this module, so that it cannot be wrong about them. Whether the daemon answers like that is not known here.

use std::path::Path;

use serde_json::{Map, Value};
use utoipa::{PartialSchema, ToSchema};

use super::*;

fn add<T: ToSchema + PartialSchema>(schemas: &mut Map<String, Value>) {
    let mut inner = Vec::new();
    T::schemas(&mut inner);
    inner.push((T::name().into_owned(), T::schema()));
    for (name, schema) in inner {
        schemas.insert(name, serde_json::to_value(schema).unwrap());
    }
}

fn document() -> Value {
    let mut document: Value = serde_json::from_str(include_str!("calls.json")).unwrap();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    add::<Problem>(schemas);
    add::<Status>(schemas);
    add::<StatsView>(schemas);
    add::<ChangesView>(schemas);
    add::<WebhookView>(schemas);
    add::<TestView>(schemas);
    add::<PlanView>(schemas);
    add::<RevealView>(schemas);
    add::<EventTypeView>(schemas);
    add::<EventTypeDefinition>(schemas);
    add::<DeliveryView>(schemas);
    add::<EventView>(schemas);
    add::<BulkRequest>(schemas);
    add::<BulkCount>(schemas);
    add::<JobView>(schemas);
    add::<Resent>(schemas);
    add::<KeyView>(schemas);
    add::<NewKey>(schemas);
    add::<EmailTest>(schemas);
    add::<EmailTested>(schemas);
    add::<AuditView>(schemas);
    add::<ImportView>(schemas);
    add::<VerifyReport>(schemas);
    add::<Done>(schemas);
    document
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's knob, read where it is used")]
fn the_description_of_the_calls_is_what_travels() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let wanted = serde_json::to_string_pretty(&document()).unwrap().replace("  ", " ") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(file == wanted, "docs/openapi.json is out of date; run: UPDATE=1 cargo test --lib description");
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "$ref" => found.push(text),
                value => references(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let place = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(place.is_some(), "{reference}");
    }
}
