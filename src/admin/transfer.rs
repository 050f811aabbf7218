//! What an export holds, and what an import would change. The document is what people keep in
//! version control: everything that is configured, nothing that only happens to be so now, and the
//! same text every time as long as nothing was changed.
//!
//! Stores nothing and asks nobody; sealing and opening are handed in. Invariant: no secret leaves
//! but sealed.

use serde_json::{Map, Value, json};

use super::protocol::WebhookView;
use super::views;
use super::writes::Author;
use crate::domain::event_type::{self, CustomType, Group, KnownType};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{FieldProblem, HeaderValue, Webhook};

/// The key that says what the document is, and its version.
pub(super) const MARK: &str = "postrider_export";
/// The version that is written, and the only one that is read.
pub(super) const VERSION: u64 = 1;

/// Fields of a webhook as shown that are not configuration: identity, history and how it is doing.
/// Whether it is paused belongs to the hour, not to the configuration.
const LEFT_OUT: [&str; 10] =
    ["id", "version", "type", "paused", "signing_key", "created_at", "updated_at", "updated_by", "deleted_at", "lane"];

/// Seals a secret for a kind of field.
pub(super) type Seal<'a> = &'a dyn Fn(&str, &Secret) -> String;
/// Opens what was sealed for a kind of field; the error says what to do.
pub(super) type Open<'a> = &'a dyn Fn(&str, &str) -> Result<Secret, String>;

/// A webhook as it stands in an export.
pub(super) fn exported(webhook: &Webhook, seal: Seal<'_>) -> Value {
    let view: WebhookView = views::webhook(webhook, None, Timestamp::default());
    let Ok(Value::Object(mut fields)) = serde_json::to_value(view) else { return Value::Null };
    fields.retain(|name, value| !LEFT_OUT.contains(&name.as_str()) && !is_nothing(value));
    let sealed = |kind: &str, secret: Option<&Secret>| secret.map(|secret| json!({"sealed": seal(kind, secret)}));
    fields.extend(
        sealed("signing_key", webhook.signing_key.as_ref().map(|key| &key.current))
            .map(|value| ("signing_key".to_owned(), value)),
    );
    if let Some(headers) = fields.get_mut("headers").and_then(Value::as_array_mut) {
        for (shown, header) in headers.iter_mut().zip(&webhook.headers) {
            if let HeaderValue::Secret(value) = &header.value {
                *shown = json!({"name": header.name, "secret": true, "value": {"sealed": seal("header", value)}});
            }
        }
    }
    let mut replace = |part: &str, kind: &str, field: &str, secret: Option<&Secret>| {
        if let Some(Value::Object(part)) = fields.get_mut(part) {
            part.remove(field);
            part.extend(sealed(kind, secret).map(|value| (field.to_owned(), value)));
            part.retain(|_, value| !value.is_null());
        }
    };
    let oauth = webhook.oauth.as_ref();
    replace("oauth", "oauth.token", "token", oauth.and_then(|oauth| oauth.token.as_ref()));
    replace("oauth", "oauth.request", "request", oauth.and_then(|oauth| oauth.request.as_ref()));
    replace("tls", "tls.client_key", "client_key", webhook.tls.client_key.as_ref());
    Value::Object(fields)
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// An event type of the operator's own as it stands in an export. Schema and example are texts, so
/// that they come back as they were given.
pub(super) fn exported_type(custom: &CustomType) -> Value {
    let mut fields = json!({
        "name": custom.name, "label": custom.label, "group": custom.group.as_str(), "meaning": custom.meaning,
    });
    for (name, text) in [("schema", &custom.schema), ("example", &custom.example)] {
        if let Some(text) = text {
            fields[name] = text.as_str().into();
        }
    }
    fields
}

/// The event type a document stands for; what it leaves out has its default.
pub(super) fn imported_type(document: &Map<String, Value>, author: &Author) -> Result<CustomType, Vec<FieldProblem>> {
    const FIELDS: [&str; 6] = ["name", "label", "group", "meaning", "schema", "example"];
    let mut problems = Vec::new();
    for unknown in document.keys().filter(|key| !FIELDS.contains(&key.as_str())) {
        problems.push(FieldProblem::new(unknown.clone(), "there is no such field"));
    }
    let mut text = |field: &str| match document.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        // JSON may stand there as it is.
        Some(value) if matches!(field, "schema" | "example") => Some(value.to_string()),
        Some(_) => {
            problems.push(FieldProblem::new(field, "must be a text"));
            None
        }
    };
    let written = text("name").unwrap_or_default();
    let (label, group, meaning) = (text("label"), text("group"), text("meaning"));
    let (schema, example) = (text("schema"), text("example"));
    let group = group.map_or(Some(Group::Other), |group| Group::parse(&group));
    if group.is_none() {
        problems.push(FieldProblem::new("group", "must be KYC, AML, KYB or Other"));
    }
    if KnownType::find(&written).is_some() {
        problems.push(FieldProblem::new("name", "is a type that is built in"));
    }
    match group {
        Some(group) if problems.is_empty() => Ok(CustomType {
            name: event_type::canonical(&written),
            label: label.unwrap_or_else(|| written.trim().to_owned()),
            group,
            meaning: meaning.unwrap_or_default(),
            schema,
            example,
            version: 1,
            created_at: author.now,
            created_by: author.name.clone(),
            updated_at: author.now,
            updated_by: author.name.clone(),
        }),
        _ => Err(problems),
    }
}

/// The fields in which two states of an event type differ.
pub(super) fn type_differences(before: &CustomType, after: &CustomType) -> Vec<String> {
    let fields = [
        (before.label != after.label, "label"),
        (before.group != after.group, "group"),
        (before.meaning != after.meaning, "meaning"),
        (before.schema != after.schema, "schema"),
        (before.example != after.example, "example"),
    ];
    fields.iter().filter(|(differs, _)| *differs).map(|(_, name)| (*name).to_owned()).collect()
}

/// Opens the sealed secrets of a webhook's document in place. What is not sealed stays. A new webhook
/// has no secret that could be kept.
pub(super) fn open_secrets(document: &mut Map<String, Value>, is_new: bool, open: Open<'_>) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let mut visit = |name: String, kind: &str, value: Option<&mut Value>| {
        let Some(value) = value else { return };
        let Some(fields) = value.as_object() else { return };
        let sealed = fields.get("sealed").and_then(Value::as_str).map(ToOwned::to_owned);
        match sealed {
            Some(sealed) if fields.len() == 1 => match open(kind, &sealed) {
                Ok(secret) => return *value = Value::from(secret.expose()),
                Err(detail) => problems.push(FieldProblem::new(name, detail)),
            },
            _ if fields.get("set") == Some(&Value::Bool(true)) && is_new => {
                let detail = "says only that there is a secret, and there is none to keep: write the secret itself";
                problems.push(FieldProblem::new(name, detail));
            }
            _ if fields.contains_key("set") => return,
            _ => problems.push(FieldProblem::new(name, "is neither a text nor {\"sealed\": \"…\"}")),
        }
        // It is refused already; what stands there is not also told to be no text.
        *value = Value::from("-");
    };
    visit("signing_key".to_owned(), "signing_key", document.get_mut("signing_key"));
    for (part, field) in [("oauth", "token"), ("oauth", "request"), ("tls", "client_key")] {
        let name = format!("{part}.{field}");
        let value = document.get_mut(part).and_then(|part| part.get_mut(field));
        visit(name.clone(), &name, value);
    }
    let headers = document.get_mut("headers").and_then(Value::as_array_mut);
    let mut readable = Vec::new();
    for (place, header) in headers.into_iter().flatten().enumerate() {
        let name = format!("headers[{place}].value");
        let is_secret = header.get("secret") == Some(&Value::Bool(true));
        if header.get("value").is_some_and(Value::is_object) && !is_secret {
            // Opening it would make a secret readable to everybody who may look.
            let detail = "is sealed, so the header has to be \"secret\": true";
            readable.push(FieldProblem::new(name, detail));
            header["value"] = Value::from("-");
        } else {
            visit(name, "header", header.get_mut("value"));
        }
    }
    problems.extend(readable);
    problems
}

/// The fields in which two states of a webhook differ, secrets among them, by name.
pub(super) fn differences(before: &Webhook, after: &Webhook) -> Vec<String> {
    let mut names = Vec::new();
    let mut note = |differs: bool, name: &str| {
        if differs {
            names.push(name.to_owned());
        }
    };
    let key = |webhook: &Webhook| webhook.signing_key.as_ref().map(|key| key.current.clone());
    note(before.name != after.name, "name");
    note(before.url != after.url, "url");
    note(before.event_types != after.event_types, "event_types");
    note(before.active != after.active, "active");
    note(before.headers != after.headers, "headers");
    note(key(before) != key(after), "signing_key");
    note(before.failure_email != after.failure_email, "failure_email");
    note(before.oauth != after.oauth, "oauth");
    note(before.tls != after.tls, "tls");
    note(before.retry != after.retry, "retry");
    note(before.timeout != after.timeout, "timeout_seconds");
    note(before.max_in_flight != after.max_in_flight, "max_in_flight");
    note(before.rate_per_second != after.rate_per_second, "rate_per_second");
    note(before.ordered != after.ordered, "ordered");
    note(before.filter != after.filter, "filter");
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::writes::{self, Author, Defaults};
    use crate::domain::credentials::{ClientTls, OAuth};
    use crate::domain::email::FailureEmail;
    use crate::domain::filter::{Condition, Filter, Test};
    use crate::domain::signature::SigningKey;
    use crate::domain::webhook::Header;
    use crate::domain::webhook::tests::sample;

    fn full() -> Webhook {
        let secret = |text: &str| Secret::new(format!("canary-{text}"));
        let mut webhook = sample();
        webhook.headers = vec![
            Header { name: "X-Env".to_owned(), value: HeaderValue::Plain("prod".to_owned()) },
            Header { name: "X-Key".to_owned(), value: HeaderValue::Secret(secret("header")) },
        ];
        webhook.signing_key =
            Some(SigningKey { current: secret("key"), changed_at: Timestamp::default(), previous: None });
        webhook.oauth = Some(OAuth {
            endpoint: "https://auth.example.net/token".to_owned(),
            token: Some(secret("token")),
            request: Some(secret("request")),
        });
        webhook.tls = ClientTls {
            ca: Some("-----BEGIN CERTIFICATE-----".to_owned()),
            client_certificate: Some("-----BEGIN CERTIFICATE-----".to_owned()),
            client_key: Some(secret("pem")),
        };
        webhook.failure_email = Some(FailureEmail { to: vec!["ops@example.com".to_owned()], include_body: true });
        webhook.filter = Filter(vec![Condition { path: "/final".to_owned(), test: Test::Equals(json!(true)) }]);
        webhook.rate_per_second = Some(7);
        webhook.ordered = true;
        webhook.active = false;
        webhook.timeout = Duration::from_secs(33);
        webhook
    }

    fn reversed(kind: &str, secret: &Secret) -> String {
        format!("{kind}:{}", secret.expose().chars().rev().collect::<String>())
    }

    fn opened(kind: &str, sealed: &str) -> Result<Secret, String> {
        let text =
            sealed.strip_prefix(kind).and_then(|text| text.strip_prefix(':')).ok_or("sealed for another field")?;
        Ok(Secret::new(text.chars().rev().collect()))
    }

    #[test]
    fn what_is_exported_comes_back_and_no_secret_is_in_it() {
        for webhook in [full(), sample()] {
            let mut document = exported(&webhook, &reversed);
            let text = document.to_string();
            assert!(!text.contains("canary"), "{text}");
            let problems = open_secrets(document.as_object_mut().unwrap(), true, &opened);
            assert_eq!(problems, []);
            let author = Author { name: "alice".to_owned(), uid: None, now: Timestamp::default() };
            let other = sample();
            let defaults = Defaults {
                retry: other.retry,
                timeout: other.timeout,
                max_in_flight: other.max_in_flight,
                accept_unknown_types: false,
            };
            let mut back = writes::blank(webhook.id, &author, &defaults);
            assert_eq!(writes::merge(&mut back, &document, &author, &defaults, &writes::OwnTypes::new()), []);
            assert_eq!(differences(&webhook, &back), [""; 0]);
        }
    }

    #[test]
    fn every_difference_is_named() {
        let names = differences(&sample(), &full());
        let expected = [
            "active",
            "headers",
            "signing_key",
            "failure_email",
            "oauth",
            "tls",
            "timeout_seconds",
            "rate_per_second",
            "ordered",
            "filter",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_secret_sealed_for_another_field_is_not_opened() {
        let mut document = exported(&full(), &reversed);
        let sealed = document["signing_key"].clone();
        document["oauth"]["token"] = sealed;
        document["headers"][1]["value"] = json!({"file": "/etc/shadow"});
        document["headers"][0]["value"] = json!({"sealed": "header:x"});
        document["oauth"]["request"] = json!({"set": true});
        let problems = open_secrets(document.as_object_mut().unwrap(), true, &opened);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["oauth.token", "oauth.request", "headers[1].value", "headers[0].value"]);
    }
}
