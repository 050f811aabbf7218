//! What a schema says about one field: where it is in a payload, of what type, and what it means.
//!
//! It reads schemas as they are written for event types and judges no payload. References within the
//! schema are followed a bounded number of times, so that one that refers to itself comes to an end.

use serde_json::Value;

/// How often a reference is followed.
const HOPS_MAX: usize = 16;

/// About one field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its name.
    pub(super) name: String,
    /// Where it is in a payload, as a filter takes it.
    pub(super) path: String,
    /// What may stand there.
    pub(super) kind: String,
    /// What it means.
    pub(super) meaning: String,
}

/// About the field at a place: of the schema, or of an example that fits it.
pub(super) fn of(schema: &Value, pointer: &str, in_example: bool) -> Option<Facts> {
    let steps: Vec<String> =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let (root, names) = if in_example { (String::new(), steps) } else { names(&steps) };
    let name = names.last()?.clone();
    let begin = if root.is_empty() { schema } else { schema.get("$defs")?.get(&root)? };
    let (mut parent, mut node) = (begin, begin);
    for name in &names {
        parent = inner(schema, node);
        node = parent.get("properties")?.get(name)?;
    }
    let required = parent.get("required").and_then(Value::as_array);
    let required = required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(&name)));
    let path: String = names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
    let path = if root.is_empty() { path } else { format!("{path}  (in every {root})") };
    let kind = kind(schema, node, 0);
    let kind = format!("{kind}, {}", if required { "required" } else { "may be left out" });
    let meaning = ["description", "title", "$comment"]
        .into_iter()
        .find_map(|field| node.get(field).or_else(|| follow(schema, node).get(field)).and_then(Value::as_str));
    Some(Facts { name, path, kind, meaning: meaning.unwrap_or("not described in the schema").to_owned() })
}

/// Names of fields on the way through a schema, and the definition that they are within.
fn names(steps: &[String]) -> (String, Vec<String>) {
    let mut root = String::new();
    let mut names = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        match (steps[at].as_str(), steps.get(at + 1)) {
            ("$defs", Some(name)) if at == 0 => {
                name.clone_into(&mut root);
                at += 1;
            }
            ("properties", Some(name)) => {
                names.push(name.clone());
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    (root, names)
}

/// What a reference leads to.
fn follow<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    let mut node = node;
    for _ in 0..HOPS_MAX {
        let target = node.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        match target.and_then(|target| schema.pointer(target)) {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

/// The object in a node: behind references, in the items of a list, in one of several choices.
fn inner<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    let mut node = follow(schema, node);
    for _ in 0..HOPS_MAX {
        if node.get("properties").is_some() {
            break;
        }
        let choices = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|word| node.get(word)).and_then(Value::as_array);
        let holds = |choice: &&Value| {
            let choice = follow(schema, choice);
            choice.get("properties").is_some() || choice.get("items").is_some()
        };
        let next = node.get("items").or_else(|| choices?.iter().find(holds));
        match next {
            Some(next) => node = follow(schema, next),
            None => break,
        }
    }
    node
}

/// What may stand there, in words.
fn kind(schema: &Value, node: &Value, depth: usize) -> String {
    let node = follow(schema, node);
    if depth > 4 {
        return "anything".to_owned();
    }
    if let Some(value) = node.get("const") {
        return format!("always {value}");
    }
    if let Some(values) = node.get("enum").and_then(Value::as_array) {
        let values: Vec<String> =
            values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
        return format!("one of {}", values.join(", "));
    }
    if let Some(choices) = ["anyOf", "oneOf"].into_iter().find_map(|word| node.get(word)).and_then(Value::as_array) {
        let mut kinds: Vec<String> = choices.iter().map(|choice| kind(schema, choice, depth + 1)).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    let kinds: Vec<&str> = match node.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    let of = match node.get("items") {
        Some(items) if kinds.contains(&"array") => format!(" of {}", kind(schema, items, depth + 1)),
        _ => String::new(),
    };
    let format = node.get("format").and_then(Value::as_str).map_or(String::new(), |format| format!(" ({format})"));
    format!("{}{of}{format}", kinds.join(" or "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["scanRef"],
            "properties": {
                "scanRef": {"type": "string", "format": "uuid", "description": "Identification reference"},
                "status": {"enum": ["CHECKED", "DECLINED"]},
                "hits": {"type": "array", "items": {"$ref": "#/$defs/hit"}},
                "person": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/hit"}]},
                "loop": {"$ref": "#/$defs/loop"},
            },
            "$defs": {
                "hit": {"type": "object", "properties": {"name": {"type": ["string", "null"]}}, "required": ["name"]},
                "loop": {"$ref": "#/$defs/loop"},
            },
        })
    }

    fn told(pointer: &str, in_example: bool) -> Option<(String, String)> {
        of(&schema(), pointer, in_example).map(|facts| (facts.path, facts.kind))
    }

    #[test]
    fn a_field_is_found_in_the_schema_and_in_the_example() {
        let some = |path: &str, kind: &str| Some((path.to_owned(), kind.to_owned()));
        assert_eq!(told("/properties/scanRef/format", false), some("/scanRef", "string (uuid), required"));
        assert_eq!(told("/scanRef", true), some("/scanRef", "string (uuid), required"));
        assert_eq!(told("/properties/status", false), some("/status", "one of CHECKED, DECLINED, may be left out"));
        assert_eq!(told("/hits/name", true), some("/hits/name", "string or null, required"));
        assert_eq!(told("/person/name", true), some("/person/name", "string or null, required"));
        let within = some("/name  (in every hit)", "string or null, required");
        assert_eq!(told("/$defs/hit/properties/name/type", false), within);
        assert_eq!(told("/hits", true), some("/hits", "array of object, may be left out"));
        assert_eq!(of(&schema(), "/properties/scanRef", false).unwrap().meaning, "Identification reference");
        assert_eq!(told("", false), None);
        assert_eq!(told("/required", false), None);
        assert_eq!(told("/nowhere", true), None);
        assert!(told("/loop", true).is_some(), "a reference to itself comes to an end");
    }
}
