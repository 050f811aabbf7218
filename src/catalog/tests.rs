//! The catalog against itself: schemas, examples, and what is said of payloads that do not fit.

use serde_json::{Value, json};

use super::*;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn misfits(name: &str, payload: &Value) -> Vec<String> {
    validator(name).unwrap().check(payload.to_string().as_bytes()).iter().map(ToString::to_string).collect()
}

fn custom(schema: &Value, payload: &Value) -> Vec<String> {
    let schema = Schema::compile(&schema.to_string()).unwrap();
    schema.check(payload.to_string().as_bytes()).iter().map(ToString::to_string).collect()
}

#[test]
fn the_entries_are_the_known_types() {
    for (known, entry) in KNOWN.iter().zip(&ENTRIES) {
        assert_eq!(known.name, entry.name);
    }
}

#[test]
fn every_schema_is_a_schema_and_fits_its_example() {
    for known in &KNOWN {
        let document = parsed(&schema(known.name).unwrap());
        let problem = jsonschema::draft202012::meta::validate(&document).err().map(|error| error.to_string());
        assert_eq!(problem, None, "{}", known.name);
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(misfits(known.name, &parsed(example(known.name).unwrap())), [""; 0], "{}", known.name);
    }
    assert!(schema("ORDER").is_none() && example("ORDER").is_none() && validator("ORDER").is_none());
}

#[test]
fn the_shared_schema_is_each_types_own() {
    let shared = parsed(&schema(LEGACY).unwrap());
    for known in KNOWN.iter().filter(|known| known.name.starts_with(LEGACY)) {
        let mut own = parsed(&schema(known.name).unwrap());
        assert_eq!(own["title"], known.wire_name);
        assert_eq!(own["$id"], format!("urn:postrider:event-type:{}", known.wire_name));
        assert_eq!(own["x-dashboard-label"], known.label);
        assert_eq!(own["x-idenfy-event-type-header"], known.wire_name);
        let is_manual = known.name == MANUAL;
        let of_final = if is_manual { json!({"const": true}) } else { json!({"type": "boolean"}) };
        assert_eq!(own["properties"]["final"], of_final, "{}", known.name);
        for field in ["title", "$id", "x-dashboard-label", "x-idenfy-event-type-header"] {
            own[field] = shared[field].clone();
        }
        own["properties"]["final"] = shared["properties"]["final"].clone();
        assert_eq!(own, shared, "nothing else differs: {}", known.name);
    }
    assert!(std::ptr::eq(validator(LEGACY).unwrap(), validator("ID_VERIFICATION_EXPIRED").unwrap()));
    let mut interim = parsed(example(MANUAL).unwrap());
    interim["final"] = json!(false);
    assert_eq!(misfits(MANUAL, &interim), ["/final must be true"]);
    assert_eq!(misfits(LEGACY, &interim), [""; 0]);
}

#[test]
fn what_is_missing_or_of_the_wrong_type_is_named_in_every_type() {
    for known in &KNOWN {
        let document = parsed(&schema(known.name).unwrap());
        let good = parsed(example(known.name).unwrap());
        let required = document["required"].as_array().unwrap();
        assert!(!required.is_empty(), "{}", known.name);
        for field in required.iter().map(|field| field.as_str().unwrap()) {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(field).unwrap();
            assert_eq!(misfits(known.name, &without), [format!("/{field} is required")], "{}", known.name);
            let mut odd = good.clone();
            odd[field] = json!({"canary-name": ["canary-value"]});
            let found = misfits(known.name, &odd);
            assert!(found.iter().all(|one| one.starts_with(&format!("/{field}"))), "{}: {found:?}", known.name);
            // Those that may hold any object.
            let is_open = ["additionalSteps", "companyCheck"].contains(&field);
            assert_eq!(found.is_empty(), is_open, "{} {field}", known.name);
            assert!(!format!("{found:?}").contains("canary"), "{}: {found:?}", known.name);
        }
        assert_eq!(misfits(known.name, &json!("canary")), ["the payload must be an object"], "{}", known.name);
    }
    let mut deep = parsed(example("ID_VERIFICATION").unwrap());
    deep["status"]["overall"] = json!(7);
    let found = misfits("ID_VERIFICATION", &deep);
    assert!(found[0].starts_with("/status/overall must be one of APPROVED, DENIED, "), "{found:?}");
    let mut hit = parsed(example("AML_MONITORING").unwrap());
    hit["monitoringId"] = json!(5);
    assert_eq!(misfits("AML_MONITORING", &hit), ["/monitoringId must be a string"]);
}

#[test]
fn nothing_of_the_payload_is_repeated() {
    let schema = json!({
        "properties": {
            "email": {"type": "string", "pattern": "^[^@]+@[^@]+$", "maxLength": 20},
            "kind": {"enum": ["a", "b"]}, "one": {"const": 1}, "age": {"maximum": 150, "multipleOf": 2},
            "people": {"additionalProperties": {"type": "integer"}},
            "tags": {"uniqueItems": true, "items": {"type": "string"}, "maxItems": 1},
            "closed": {"additionalProperties": false, "properties": {"known": true}},
            "sealed": {"unevaluatedProperties": false},
            "named": {"propertyNames": {"pattern": "^x"}},
            "other": {"not": {"const": "canary-other"}},
            "shape": {"anyOf": [{"type": "object", "required": ["x"]}, {"type": "null"}]},
            "either": {"oneOf": [{"required": ["canary"]}, {"required": ["z"]}]},
            "never": false,
        },
        "patternProperties": {"^p-": {"type": "null"}},
    });
    let cases = [
        (json!({"email": "canary-email"}), "/email must match ^[^@]+@[^@]+$"),
        (json!({"email": "canary-email@canary-host"}), "/email must have at most 20 characters"),
        (json!({"kind": "canary"}), "/kind must be one of a, b"),
        (json!({"one": "canary"}), "/one must be 1"),
        (json!({"age": 4242}), "/age must be at most 150"),
        (json!({"age": 41}), "/age must be a multiple of 2"),
        (json!({"people": {"canary/name": "canary-age"}}), "/people/* must be an integer"),
        (json!({"people": {"49001010001": "canary-age"}}), "/people/* must be an integer"),
        (json!({"tags": ["canary", 5]}), "/tags/1 must be a string"),
        (json!({"tags": ["canary", "canary"]}), "/tags must not hold an item twice"),
        (json!({"closed": {"canary": 1}}), "/closed has a property that the schema does not allow"),
        (json!({"sealed": {"canary": 1}}), "/sealed has a property that the schema does not allow"),
        (json!({"named": {"canary": 1}}), "/named has a property whose name the schema does not allow"),
        (json!({"other": "canary-other"}), "/other must not fit what the schema excludes"),
        (json!({"shape": {"canary": 1}}), "/shape/x is required"),
        (json!({"shape": "canary"}), "/shape must fit one of the alternatives in the schema"),
        (json!({"either": {"y": 1}}), "/either must fit exactly one of the alternatives in the schema"),
        (json!({"never": "canary"}), "/never must not be there"),
        (json!({"p-canary": "canary"}), "/* must be null"),
    ];
    for (payload, expected) in cases {
        let found = custom(&schema, &payload);
        assert!(found.contains(&expected.to_owned()), "{payload}: {found:?}");
        for secret in ["canary", "4242", "41", "4900"] {
            assert!(!format!("{found:?}").contains(secret), "{payload}: {found:?}");
        }
    }
}

#[test]
fn a_schema_that_is_none_is_told_in_characters_that_can_be_shown() {
    let problem = Schema::compile("{\"type\":\"\\u007f\\u202e\"}").unwrap_err();
    assert!(problem.contains("\\u{7f}\\u{202e}"), "{problem}");
}

#[test]
fn what_is_told_is_bounded() {
    let long = "x".repeat(1_000);
    let properties: serde_json::Map<String, Value> =
        (0..20).map(|number| (format!("{long}{number}"), json!({"enum": [long, number]}))).collect();
    let payload: serde_json::Map<String, Value> = properties.keys().map(|name| (name.clone(), json!(false))).collect();
    let schema = Schema::compile(&json!({"properties": properties}).to_string()).unwrap();
    let found = schema.check(Value::Object(payload).to_string().as_bytes());
    assert!(!found.is_empty() && found.len() <= 5);
    assert!(found.iter().all(|one| one.path.chars().count() == 200 && one.reason.chars().count() == 200));
    let numbers = Schema::compile("{\"items\":{\"type\":\"string\"}}").unwrap();
    assert_eq!(numbers.check(format!("[{}1]", "1,".repeat(100)).as_bytes()).len(), 5);
    let large = numbers.check(format!("[{}1]", "1,".repeat(200_000)).as_bytes());
    assert_eq!(large[0].to_string(), "the payload does not fit the schema, and is too large to say where");
    assert_eq!(numbers.check(b"{]")[0].to_string(), "the payload is not JSON");
}

#[test]
fn the_first_misfit_is_one_of_all() {
    for known in &KNOWN {
        let schema = validator(known.name).unwrap();
        let Value::Object(example) = parsed(example(known.name).unwrap()) else { panic!("{}", known.name) };
        assert_eq!(schema.first(Value::Object(example.clone()).to_string().as_bytes()), None);
        // Each field in turn is of a type that hardly anything is, or away.
        for field in example.keys() {
            let (mut odd, mut without) = (example.clone(), example.clone());
            odd.insert(field.clone(), json!([[[]]]));
            without.remove(field);
            for payload in [odd, without, serde_json::Map::new()] {
                let payload = Value::Object(payload).to_string();
                let (all, first) = (schema.check(payload.as_bytes()), schema.first(payload.as_bytes()));
                assert_eq!(all.is_empty(), first.is_none(), "{} {field}", known.name);
                assert!(first.is_none_or(|first| all.len() == 5 || all.contains(&first)), "{} {field}", known.name);
            }
        }
        assert_eq!(schema.first(b"{]").unwrap().to_string(), "the payload is not JSON");
    }
}

#[test]
fn a_schema_that_can_not_be_used_says_why() {
    for (text, words) in [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ("{\"type\":\"strin\"}", "at /type"),
        ("{\"$ref\":\"#/nowhere\"}", "/nowhere"),
        ("{\"$ref\":\"http://127.0.0.1:9/schema\"}", "lead out of the schema"),
        ("{\"$ref\":\"file:///etc/passwd\"}", "lead out of the schema"),
        ("{\"pattern\":\"(?=a)b\"}", "regex"),
        ("{\"pattern\":\"(a{1000}){1000}\"}", "regex"),
    ] {
        let error = Schema::compile(text).unwrap_err();
        assert!(error.contains(words) && error.chars().count() <= 200, "{text}: {error}");
    }
    // Schemas that refer to themselves are allowed, and end.
    for text in
        ["{\"$ref\":\"#\"}", "{\"anyOf\":[{\"$ref\":\"#\"}]}", "{\"$dynamicRef\":\"#x\",\"$dynamicAnchor\":\"x\"}"]
    {
        assert!(Schema::compile(text).unwrap().check(b"{}").is_empty(), "{text}");
    }
}
