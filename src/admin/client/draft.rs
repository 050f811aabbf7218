//! A webhook as text in an editor: what can be changed of it as TOML, and what was changed.
//!
//! Pure, and the same for the command line and the UI. It checks the form only; whether a value is
//! right is for the daemon to say. Invariants: no secret is in the text; what is left alone is no change.

use serde_json::{Map, Value, json};

use crate::admin::protocol::WebhookView;

const INTRODUCTION: &str = "\
# Save and leave to apply; leave unchanged to give up.
# A secret header keeps its value unless you write one: value = \"…\"
# A new signing key: signing_key = \"…\" (the old one is replaced at once)
# Secrets in [oauth] and [tls] are kept too: token, request and client_key. Remove a block to remove the part.
";

/// The whole text that an editor is opened with.
///
/// # Errors
/// In words, if a value has no form in TOML.
pub fn text(webhook: &WebhookView) -> Result<String, String> {
    let head =
        format!("# {} ({}, version {})\n{INTRODUCTION}\n", webhook.name.escape_debug(), webhook.id, webhook.version);
    Ok(head + &as_toml(&editable(webhook))?)
}

/// What was changed in the text, as the daemon takes it; without the version it was made from.
///
/// # Errors
/// In words with line and column, if it is no TOML.
pub fn changed(webhook: &WebhookView, text: &str) -> Result<Map<String, Value>, String> {
    let edited: Map<String, Value> = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(changes(&editable(webhook), &edited))
}

/// Parts that may be absent: their blocks in the editor while they are, and what removes them.
const OPTIONAL: [(&str, &str, Value); 6] = [
    ("rate_per_second", "# rate_per_second = 50\n", Value::Null),
    ("failure_email", "\n# [failure_email]\n# to = [\"ops@example.com\"]\n# include_body = false\n", Value::Null),
    (
        "oauth",
        "\n# [oauth]\n# endpoint = \"https://auth.example.net/token\"\n# token = \"…\"\n# request = \"grant_type=client_credentials\"\n",
        Value::Null,
    ),
    ("tls", "\n# [tls]\n# ca = \"\"\"-----BEGIN CERTIFICATE-----…\"\"\"\n", Value::Null),
    ("filter", "\n# [[filter]]\n# path = \"/final\"\n# equals = true\n", Value::Array(Vec::new())),
    ("headers", "\n# [[headers]]\n# name = \"X-Env\"\n# value = \"prod\"\n", Value::Array(Vec::new())),
];

/// The fields that can be changed, as the daemon takes them; without parts that are absent.
#[must_use]
pub fn editable(webhook: &WebhookView) -> Map<String, Value> {
    let headers: Value = webhook
        .headers
        .iter()
        .map(|header| match &header.value {
            Some(value) if !header.secret => json!({"name": header.name, "value": value}),
            _ => json!({"name": header.name, "secret": true}),
        })
        .collect();
    let retry = &webhook.retry;
    let oauth = webhook.oauth.as_ref().map(|oauth| json!({"endpoint": oauth.endpoint}));
    let tls = webhook.tls.as_ref().map(|tls| json!({"ca": tls.ca, "client_certificate": tls.client_certificate}));
    let fields = [
        ("name", json!(webhook.name)),
        ("url", json!(webhook.url)),
        ("event_types", json!(webhook.event_types)),
        ("active", json!(webhook.active)),
        ("timeout_seconds", json!(webhook.timeout_seconds)),
        ("max_in_flight", json!(webhook.max_in_flight)),
        ("rate_per_second", json!(webhook.rate_per_second)),
        ("ordered", json!(webhook.ordered)),
        ("failure_email", json!(webhook.failure_email)),
        ("oauth", json!(oauth)),
        ("tls", json!(tls)),
        // TOML has no null; a filter that compares with one is left as it is.
        ("filter", if has_null(&json!(webhook.filter)) { Value::Null } else { json!(webhook.filter) }),
        (
            "retry",
            json!({"count": retry.count, "interval_seconds": retry.interval_seconds,
                "backoff": retry.backoff, "max_interval_seconds": retry.max_interval_seconds}),
        ),
        ("headers", headers),
    ];
    let absent = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let present = fields.into_iter().filter(|(_, value)| !absent(value));
    present.map(|(name, value)| (name.to_owned(), without_nulls(value))).collect()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

/// What was changed. A field that was removed is kept as it is, except the parts that may be
/// absent: their blocks are removed to remove them.
fn changes(base: &Map<String, Value>, edited: &Map<String, Value>) -> Map<String, Value> {
    let mut changes: Map<String, Value> = edited
        .iter()
        .filter(|(name, value)| base.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (name, _, none) in &OPTIONAL {
        if base.contains_key(*name) && !edited.contains_key(*name) {
            changes.insert((*name).to_owned(), none.clone());
        }
    }
    changes
}

/// The fields as TOML, simple ones first: TOML has no way back out of a table. What is absent is
/// there as a comment.
fn as_toml(fields: &Map<String, Value>) -> Result<String, String> {
    let fault = |error: toml::ser::Error| format!("not to be had as TOML: {error}");
    let is_table = |value: &Value| match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    };
    let mut text = String::new();
    for tables in [false, true] {
        for (name, value) in fields.iter().filter(|(_, value)| is_table(value) == tables) {
            if tables {
                text.push('\n');
            }
            let one = Map::from_iter([(name.clone(), value.clone())]);
            text.push_str(&toml::to_string(&one).map_err(fault)?);
        }
        for (name, block, _) in &OPTIONAL {
            if !fields.contains_key(*name) && block.starts_with('\n') == tables {
                text.push_str(block);
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::{ConditionView, FailureEmailView, HeaderView, OAuthView, TlsView};

    fn webhook() -> WebhookView {
        let open = HeaderView { name: "X-Env".to_owned(), value: Some("pr\"od".to_owned()), ..HeaderView::default() };
        let secret = HeaderView { name: "Authorization".to_owned(), secret: true, set: true, value: None };
        WebhookView {
            name: "aml".to_owned(),
            event_types: vec!["AML_MONITORING".to_owned()],
            headers: vec![open, secret],
            ..WebhookView::default()
        }
    }

    #[test]
    fn what_is_left_alone_is_not_a_change() {
        let full = WebhookView {
            rate_per_second: Some(5),
            failure_email: Some(FailureEmailView { to: vec!["ops@example.com".to_owned()], include_body: true }),
            oauth: Some(OAuthView { endpoint: "https://a/t".to_owned(), ..OAuthView::default() }),
            tls: Some(TlsView { ca: Some("-----BEGIN\n-----END\n".to_owned()), ..TlsView::default() }),
            filter: vec![ConditionView {
                path: "/a".to_owned(),
                equals: Some(json!({"b": [1]})),
                ..ConditionView::default()
            }],
            ..webhook()
        };
        for view in [webhook(), WebhookView { headers: Vec::new(), ..webhook() }, full] {
            let fields = editable(&view);
            let text = as_toml(&fields).unwrap();
            let back: Map<String, Value> = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(changes(&fields, &back).is_empty(), "{text}");
        }
    }

    #[test]
    fn only_what_was_changed_is_sent() {
        let fields = editable(&webhook());
        let text = as_toml(&fields).unwrap().replace("count = 0", "count = 3");
        let back: Map<String, Value> = toml::from_str(&("signing_key = \"k\"\n".to_owned() + &text)).unwrap();
        let changed = changes(&fields, &back);
        let names: Vec<&str> = changed.keys().map(String::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!((&changed["retry"]["count"], &changed["signing_key"]), (&json!(3), &json!("k")));
    }

    #[test]
    fn removed_headers_are_removed_and_other_removed_fields_kept() {
        let fields = editable(&webhook());
        let changed = changes(&fields, &Map::from_iter([("name".to_owned(), json!("aml"))]));
        assert_eq!(Value::Object(changed), json!({"headers": []}));
    }
}
