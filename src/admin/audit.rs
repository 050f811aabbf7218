//! What changed, in words that can be kept: the difference between two views of a webhook, and
//! details cut to what an entry of the audit log may hold. Pure.
//!
//! It works on what is shown, where no secret is, and says of a secret only that it was set,
//! replaced or cleared. Invariant: a value that is secret before or after a change is in no detail.

use serde_json::{Map, Value, json};

use crate::domain::audit::AuditRecord;

/// Fields that change with every change, or that nobody changes.
const UNTOLD: [&str; 8] = ["id", "type", "version", "created_at", "updated_at", "updated_by", "deleted_at", "lane"];

/// What differs, by field: `url` and `retry.count` with both values, a secret with `set`,
/// `replaced` or `cleared`, and headers by their names as `headers.X-Env`. `replaced` names the
/// secret headers, and as `oauth.token` the other secrets, that have another value now, which the
/// views can not tell.
pub(super) fn changes(before: &Value, after: &Value, replaced: &[String]) -> Map<String, Value> {
    let mut told = Map::new();
    for field in names(before, after).filter(|field| !UNTOLD.contains(field)) {
        let (before, after) = (&before[field], &after[field]);
        if field == "headers" {
            header_changes(before, after, replaced, &mut told);
        } else if let (Value::Object(_), Value::Object(_), None) = (before, after, secret_of(before, after)) {
            for inner in names(before, after) {
                let name = format!("{field}.{inner}");
                if replaced.contains(&name) {
                    told.insert(name, "replaced".into());
                } else {
                    tell(name, &before[inner], &after[inner], &mut told);
                }
            }
        } else {
            tell(field.to_owned(), before, after, &mut told);
        }
    }
    told
}

/// The fields of either, each once.
fn names<'a>(before: &'a Value, after: &'a Value) -> impl Iterator<Item = &'a str> {
    let [before, after] = [before, after].map(Value::as_object);
    let new =
        after.into_iter().flatten().filter(move |(name, _)| before.is_none_or(|before| !before.contains_key(*name)));
    before.into_iter().flatten().chain(new).map(|(name, _)| name.as_str())
}

fn tell(field: String, before: &Value, after: &Value, told: &mut Map<String, Value>) {
    match secret_of(before, after) {
        Some(Secret { before: false, after: true, .. }) => drop(told.insert(field, "set".into())),
        Some(Secret { before: true, after: false, .. }) => drop(told.insert(field, "cleared".into())),
        Some(Secret { before: true, changed: true, .. }) => drop(told.insert(field, "replaced".into())),
        Some(_) => {}
        None if before == after => {}
        None => drop(told.insert(field, json!([before, after]))),
    }
}

/// A secret as it is shown: whether there is one, and when that changed.
struct Secret {
    before: bool,
    after: bool,
    changed: bool,
}

fn secret_of(before: &Value, after: &Value) -> Option<Secret> {
    let set = |view: &Value| view.get("set").and_then(Value::as_bool);
    let (was, is) = (set(before), set(after));
    // What replaced a key may also stop signing beside it, which is nobody's doing.
    let changed = before.get("changed_at") != after.get("changed_at");
    was.or(is).map(|_| Secret { before: was.unwrap_or(false), after: is.unwrap_or(false), changed })
}

/// Headers are told by name. One that is secret on either side is told without its value, also
/// the one that was readable before: it was made secret for a reason.
fn header_changes(before: &Value, after: &Value, replaced: &[String], told: &mut Map<String, Value>) {
    let list = |view: &Value| view.as_array().cloned().unwrap_or_default();
    let (before, after) = (list(before), list(after));
    let name_of = |header: &Value| header["name"].as_str().unwrap_or_default().to_owned();
    let mut seen: Vec<String> = Vec::new();
    for name in before.iter().chain(&after).map(name_of) {
        if seen.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let named = |list: &[Value]| -> Vec<Value> {
            list.iter().filter(|header| name_of(header).eq_ignore_ascii_case(&name)).cloned().collect()
        };
        let (was, is) = (named(&before), named(&after));
        let secret = was.iter().chain(&is).any(|header| header["secret"] == true);
        let differs = was != is || replaced.iter().any(|one| one.eq_ignore_ascii_case(&name));
        let what = match (was.is_empty(), is.is_empty()) {
            _ if !differs => None,
            (true, _) if secret => Some("set".into()),
            (_, true) if secret => Some("cleared".into()),
            _ if secret => Some("replaced".into()),
            _ => Some(json!([values(&was), values(&is)])),
        };
        if let Some(what) = what {
            told.insert(format!("headers.{name}"), what);
        }
        seen.push(name);
    }
}

/// The value of a header that is there once, or all of one that is there several times.
fn values(headers: &[Value]) -> Value {
    match headers {
        [] => Value::Null,
        [one] => one["value"].clone(),
        several => several.iter().map(|header| header["value"].clone()).collect(),
    }
}

/// A detail as it is kept. Texts of one that is too long are cut, shorter and shorter; when that
/// is not enough, only the names of what changed are left.
pub(super) fn fitted(mut detail: Value) -> String {
    for length in [1024, 256, 64, 16] {
        let text = detail.to_string();
        if text.len() <= AuditRecord::DETAIL_MAX {
            return text;
        }
        cut(&mut detail, length);
    }
    let mut fields: Vec<String> = Vec::new();
    if let Some(changed) = detail["changed"].as_object() {
        fields.extend(changed.keys().take(64).map(|field| field.chars().take(64).collect()));
    }
    let left =
        json!({"id": detail["id"], "version": detail["version"], "changed_fields": fields, "cut": true}).to_string();
    if left.len() <= AuditRecord::DETAIL_MAX { left } else { json!({"cut": true}).to_string() }
}

fn cut(value: &mut Value, length: usize) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(length) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| cut(one, length)),
        Value::Object(fields) => fields.values_mut().for_each(|one| cut(one, length)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> Value {
        json!({
            "id": "wh_1", "version": 1, "updated_at": "a", "lane": {"pending": 1},
            "url": "https://a/", "event_types": ["A"], "active": true,
            "retry": {"count": 5, "interval_seconds": 60},
            "signing_key": {"set": true, "changed_at": "t1", "previous_until": "u"},
            "oauth": null,
            "headers": [{"name": "X-Env", "value": "prod"}, {"name": "X-Key", "secret": true, "set": true}],
        })
    }

    fn changed(change: impl FnOnce(&mut Value), replaced: &[String]) -> Value {
        let mut after = view();
        change(&mut after);
        Value::Object(changes(&view(), &after, replaced))
    }

    #[test]
    fn what_differs_is_told_by_field_with_both_values() {
        let told = changed(
            |view| {
                view["url"] = json!("https://b/");
                view["retry"]["count"] = json!(7);
                view["version"] = json!(2);
                view["updated_at"] = json!("b");
                view["lane"]["pending"] = json!(9);
                view["filter"] = json!([{"path": "/final", "equals": true}]);
                view["event_types"] = json!(["A", "B"]);
            },
            &[],
        );
        let expected = json!({
            "url": ["https://a/", "https://b/"], "retry.count": [5, 7], "event_types": [["A"], ["A", "B"]],
            "filter": [null, [{"path": "/final", "equals": true}]],
        });
        assert_eq!(told, expected);
        assert_eq!(changed(|_| {}, &[]), json!({}));
    }

    #[test]
    fn of_a_secret_only_what_became_of_it() {
        let set = |key: Value| changed(|view| view["signing_key"] = key, &[]);
        assert_eq!(set(json!({"set": true, "changed_at": "t2"})), json!({"signing_key": "replaced"}));
        assert_eq!(set(json!({"set": false, "changed_at": null})), json!({"signing_key": "cleared"}));
        assert_eq!(set(json!({"set": true, "changed_at": "t1"})), json!({}), "an old key that ran out is no change");
        let fresh = changes(&json!({"signing_key": {"set": false}}), &view(), &[]);
        assert_eq!(fresh["signing_key"], "set");
        let nested = changes(
            &json!({"oauth": {"endpoint": "a", "token": {"set": true, "changed_at": "t1"}}}),
            &json!({"oauth": {"endpoint": "b", "token": {"set": true, "changed_at": "t2"}}}),
            &[],
        );
        assert_eq!(Value::Object(nested), json!({"oauth.endpoint": ["a", "b"], "oauth.token": "replaced"}));
    }

    #[test]
    fn headers_are_told_by_name() {
        let plain = |name: &str, value: &str| json!({"name": name, "value": value});
        let secret = |name: &str| json!({"name": name, "secret": true, "set": true});
        let with = |headers: Value, replaced: &[&str]| {
            let replaced: Vec<String> = replaced.iter().map(|name| (*name).to_owned()).collect();
            changed(|view| view["headers"] = headers, &replaced)
        };
        assert_eq!(with(json!([secret("X-Key"), plain("X-Env", "prod")]), &[]), json!({}), "their order is no matter");
        assert_eq!(with(view()["headers"].clone(), &["x-key"]), json!({"headers.X-Key": "replaced"}));
        assert_eq!(
            with(json!([plain("X-Env", "test"), plain("X-New", "n"), secret("X-Other")]), &[]),
            json!({
                "headers.X-Env": ["prod", "test"], "headers.X-Key": "cleared", "headers.X-New": [null, "n"],
                "headers.X-Other": "set",
            })
        );
        assert_eq!(
            with(json!([secret("X-Env"), plain("X-Key", "open")]), &[]),
            json!({"headers.X-Env": "replaced", "headers.X-Key": "replaced"}),
            "no value of what is secret on either side"
        );
        assert_eq!(
            with(json!([plain("X-Env", "a"), plain("X-Env", "b"), secret("X-Key")]), &[]),
            json!({"headers.X-Env": ["prod", ["a", "b"]]})
        );
    }

    #[test]
    fn a_long_detail_is_cut_until_it_fits() {
        let short = json!({"a": "é".repeat(1000)});
        assert_eq!(fitted(short.clone()), short.to_string());
        let long = fitted(json!({"id": "wh_1", "changed": {"url": ["é".repeat(5000), "b"]}}));
        assert!(long.len() <= AuditRecord::DETAIL_MAX && long.contains("ééé") && long.contains('…'));
        let many: Map<String, Value> = (0..3000).map(|n| (format!("headers.{n}"), json!(["a", "b"]))).collect();
        let many: Value = serde_json::from_str(&fitted(json!({"id": "wh_1", "changed": many}))).unwrap();
        assert_eq!((&many["id"], &many["cut"]), (&json!("wh_1"), &json!(true)));
        assert_eq!(many["changed_fields"].as_array().unwrap().len(), 64);
        let hostile: Map<String, Value> = (0..64).map(|n| ("\u{1}".repeat(200) + &n.to_string(), json!("x"))).collect();
        assert!(fitted(json!({"changed": hostile})).len() <= AuditRecord::DETAIL_MAX);
    }
}
