//! `postrider webhook edit`: a webhook as TOML in the operator's editor.
//!
//! It checks the form only; whether a value is right is for the daemon to say.
//!
//! Invariants: only what was changed is sent, with the version that was edited, so that nobody
//! else's change is undone; what was written is never lost, whatever goes wrong.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::{Ended, ExitCode, Failure, Session, process_id, webhook};
use crate::admin::client::{Client, ClientError};
use crate::admin::protocol::{Problem, WebhookView};

const INTRODUCTION: &str = "\
# Save and leave to apply; leave unchanged to give up.
# A secret header keeps its value unless you write one: value = \"…\"
# A new signing key: signing_key = \"…\" (the old one is replaced at once)
# Secrets in [oauth] and [tls] are kept too: token, request and client_key. Remove a block to remove the part.
";

/// What happens after an attempt to save.
enum Next {
    Saved(Box<WebhookView>),
    Unchanged,
    Again,
}

pub(super) async fn run(session: &mut Session<'_>, name: &str) -> Ended {
    let client = session.client().await?;
    let mut base = client.webhook(name).await?;
    let draft = Draft::create(session, &base)?;
    loop {
        open_editor(session, &draft.path)?;
        match save(session, &client, &mut base, &draft).await {
            Ok(Next::Saved(saved)) => {
                draft.discard();
                return webhook::report(session, &saved, "Changed");
            }
            Ok(Next::Unchanged) => {
                draft.discard();
                session.output.note("nothing was changed");
                return Ok(ExitCode::Done);
            }
            Ok(Next::Again) => {}
            Err(failure) => {
                session.output.remark(&format!("your text is kept in {}", draft.path.display()));
                return Err(failure);
            }
        }
    }
}

async fn save(
    session: &mut Session<'_>,
    client: &Client,
    base: &mut WebhookView,
    draft: &Draft,
) -> Result<Next, Failure> {
    let text = fs::read_to_string(&draft.path).map_err(|error| Failure::input(&draft.path, &error))?;
    let edited: Map<String, Value> = match toml::from_str(&text) {
        Ok(edited) => edited,
        Err(error) => return again(session, Failure::new(ExitCode::BadData, error.to_string())),
    };
    let mut changes = changes(&editable(base), &edited);
    if changes.is_empty() {
        return Ok(Next::Unchanged);
    }
    changes.insert("version".to_owned(), base.version.into());
    match client.change_webhook(&base.id, &Value::Object(changes.clone())).await {
        Ok(saved) => Ok(Next::Saved(Box::new(saved))),
        Err(ClientError::Refused(Problem { current: Some(current), .. })) => {
            let by = &current.updated_by;
            let text = format!("{} was changed meanwhile by {by} (version {})", current.name, current.version);
            let conflict = Failure::new(ExitCode::BadData, text).advise("look at it and run the command again");
            if !session.output.can_ask() {
                return Err(conflict);
            }
            session.output.failure(&conflict);
            if !is_yes(session.output.ask("Apply only your changes to it as it is now? [y/N]"), false) {
                return Err(conflict);
            }
            changes.insert("version".to_owned(), current.version.into());
            let saved = client.change_webhook(&current.id, &Value::Object(changes)).await?;
            Ok(Next::Saved(Box::new(saved)))
        }
        Err(error @ ClientError::Refused(_)) => again(session, error.into()),
        Err(error) => Err(error.into()),
    }
}

/// Offers to edit again, if there is somebody to offer it to.
fn again(session: &mut Session<'_>, failure: Failure) -> Result<Next, Failure> {
    if !session.output.can_ask() {
        return Err(failure);
    }
    session.output.failure(&failure);
    if is_yes(session.output.ask("Edit again? [Y/n]"), true) { Ok(Next::Again) } else { Err(failure) }
}

/// Whether an answer is a yes; an empty one is the default, the end of the input a no.
fn is_yes(answer: Option<String>, default: bool) -> bool {
    match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("") => default,
        Some("y" | "yes") => true,
        _ => false,
    }
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
pub(super) fn editable(webhook: &WebhookView) -> Map<String, Value> {
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
fn as_toml(fields: &Map<String, Value>) -> Result<String, Failure> {
    let fault = |error: toml::ser::Error| Failure::new(ExitCode::Internal, format!("not to be had as TOML: {error}"));
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

/// The text that is being edited: a file that only this user can read, since secrets may be
/// written into it.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn create(session: &Session<'_>, webhook: &WebhookView) -> Result<Self, Failure> {
        let text = format!(
            "# {} ({}, version {})\n{INTRODUCTION}\n",
            webhook.name.escape_debug(),
            webhook.id,
            webhook.version
        );
        let text = text + &as_toml(&editable(webhook))?;
        let folder = session.variable("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        let mut number = 0;
        loop {
            let path = folder.join(format!("postrider-{}-{number}.toml", process_id()));
            // Never an existing file: it could be somebody else's link.
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(text.as_bytes()).map_err(|error| cannot_create(&path, &error))?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(error) => return Err(cannot_create(&path, &error)),
            }
        }
    }

    fn discard(&self) {
        // Nothing depends on it any more, and it holds what was saved.
        let _ = fs::remove_file(&self.path);
    }
}

fn cannot_create(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ExitCode::CannotCreate, format!("{}: {error}", path.display()))
}

/// Runs the editor as `git` does: `$EDITOR` may have arguments.
fn open_editor(session: &Session<'_>, path: &Path) -> Result<(), Failure> {
    let editor =
        session.variable("VISUAL").or_else(|| session.variable("EDITOR")).unwrap_or_else(|| PathBuf::from("vi"));
    let mut command = std::ffi::OsString::from(&editor);
    command.push(" \"$@\"");
    let status = Command::new("/bin/sh").arg("-c").arg(command).arg(&editor).arg(path).status();
    let shown = editor.display();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(ExitCode::No, format!("the editor {shown} ended with {status}; nothing was changed"))
                .advise(format!("set $EDITOR to another editor; the text is in {}", path.display())))
        }
        Err(error) => Err(Failure::new(ExitCode::NoInput, format!("the editor {shown} cannot be started: {error}"))),
    }
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

    #[test]
    fn an_empty_answer_is_the_default() {
        assert!(is_yes(Some(String::new()), true) && !is_yes(Some(String::new()), false));
        assert!(is_yes(Some("Y".to_owned()), false) && !is_yes(None, true) && !is_yes(Some("no".to_owned()), true));
    }
}
