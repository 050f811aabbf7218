//! The audit log: every change is noted with who made it and what it was, and can be looked up.
//!
//! What changed is worked out in `admin::audit`. Invariant: a change that was answered with
//! success is in the log, unless the journal failed at that very moment, which is in the
//! daemon's log then.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{Admin, Call, Refusal, Reply, deliveries, reply};
use crate::admin::protocol::{AuditView, PageView};
use crate::admin::{audit, views};
use crate::domain::audit::AuditRecord;
use crate::domain::id::{decode_opaque, encode_opaque};
use crate::domain::webhook::{Header, HeaderValue, Webhook};
use crate::index::{AuditPlace, AuditQuery};

/// The longest subject that is kept, in characters; names and ids are shorter.
const SUBJECT_LENGTH_MAX: usize = 128;
/// Entries one page may look at.
const BUDGET: usize = 20_000;

impl Admin {
    pub(super) async fn audit(&self, call: &Call) -> Reply {
        call.only(&Method::GET, "GET")?;
        call.check_params(&["since", "until", "subject", "by", "action", "limit", "cursor", "v"])?;
        let config = self.shared.store.config();
        let text = |name: &str| call.param(name).map(ToOwned::to_owned);
        let query = AuditQuery {
            subject: text("subject"),
            webhook: call.param("subject").and_then(|name| deliveries::webhook_called(&config, name)),
            by: text("by"),
            action: text("action"),
            since: call.param("since").map(deliveries::instant).transpose()?,
            until: call.param("until").map(deliveries::instant).transpose()?,
        };
        let limit = deliveries::limit(call)?;
        let before = call.param("cursor").map(|text| {
            let place = decode_opaque(text).and_then(|bytes| AuditPlace::try_from(bytes.as_slice()).ok());
            place.ok_or_else(|| Refusal::Bad("that is not a cursor of ours".to_owned()))
        });
        let before = before.transpose()?;
        let page = self.shared.store.look(move |index| index.audit(&query, before, limit, BUDGET)).await?;
        let items: Vec<AuditView> = page.rows.into_iter().map(views::audit).collect();
        reply(StatusCode::OK, &PageView { items, cursor: page.next.map(|place| encode_opaque(&place)) })
    }

    /// Notes what was done. The answer to the call does not depend on it: it is done already.
    pub(super) async fn note(&self, call: &Call, action: &str, subject: &str, detail: Value) {
        if let Err(error) = self.shared.store.audit(record(call, action, subject, detail)).await {
            tracing::error!(action, subject, by = call.author.name, %error, "what was done could not be noted in the audit log");
        }
    }

    /// Notes what is about to be done, for things that must not happen unseen.
    ///
    /// # Errors
    /// When it could not be made durable; it must not be done then.
    pub(super) async fn note_first(
        &self,
        call: &Call,
        action: &str,
        subject: &str,
        detail: Value,
    ) -> Result<(), Refusal> {
        Ok(self.shared.store.audit(record(call, action, subject, detail)).await?)
    }

    /// Notes what was done to a webhook, which is now as it says.
    pub(super) async fn note_webhook(&self, call: &Call, action: &str, webhook: &Webhook, more: Map<String, Value>) {
        let mut detail = Map::new();
        detail.insert("id".to_owned(), webhook.id.to_string().into());
        detail.insert("version".to_owned(), webhook.version.into());
        detail.extend(more);
        self.note(call, action, &webhook.name, detail.into()).await;
    }

    /// Notes an edit, with what differs.
    pub(super) async fn note_edit(&self, call: &Call, before: &Webhook, after: &Webhook) {
        let [was, is] = [before, after]
            .map(|webhook| serde_json::to_value(views::webhook(webhook, None, call.author.now)).unwrap_or_default());
        let mut more = Map::new();
        if before.name != after.name {
            more.insert("former_name".to_owned(), before.name.clone().into());
        }
        more.insert("changed".to_owned(), audit::changes(&was, &is, &replaced_secrets(before, after)).into());
        self.note_webhook(call, "webhook.edit", after, more).await;
    }
}

fn record(call: &Call, action: &str, subject: &str, detail: Value) -> AuditRecord {
    AuditRecord {
        at: call.author.now,
        by: call.author.name.clone(),
        uid: call.author.uid,
        action: action.to_owned(),
        subject: subject.chars().take(SUBJECT_LENGTH_MAX).collect(),
        detail: audit::fitted(detail),
    }
}

/// What is noted of a new webhook.
pub(super) fn created(webhook: &Webhook) -> Map<String, Value> {
    let secrets: Vec<&str> = webhook
        .headers
        .iter()
        .filter(|header| matches!(header.value, HeaderValue::Secret(_)))
        .map(|header| header.name.as_str())
        .collect();
    let mut told = Map::new();
    told.insert("url".to_owned(), webhook.url.clone().into());
    told.insert("event_types".to_owned(), webhook.event_types.clone().into());
    if webhook.signing_key.is_some() {
        told.insert("signing_key".to_owned(), "set".into());
    }
    if !secrets.is_empty() {
        told.insert("secret_headers".to_owned(), json!(secrets));
    }
    told
}

/// Secrets that are there before and after, with another value: headers by their names, others by
/// their fields.
fn replaced_secrets(before: &Webhook, after: &Webhook) -> Vec<String> {
    let oauth = |webhook: &Webhook| webhook.oauth.clone().map_or((None, None), |oauth| (oauth.token, oauth.request));
    let ((token_before, request_before), (token_after, request_after)) = (oauth(before), oauth(after));
    let pairs = [
        ("oauth.token", token_before, token_after),
        ("oauth.request", request_before, request_after),
        ("tls.client_key", before.tls.client_key.clone(), after.tls.client_key.clone()),
    ];
    let others = pairs.into_iter().filter(|(_, was, is)| was.is_some() && is.is_some() && was != is);
    others.map(|(name, ..)| name.to_owned()).chain(replaced_headers(before, after)).collect()
}

/// Secret headers that are there before and after, with another value.
fn replaced_headers(before: &Webhook, after: &Webhook) -> Vec<String> {
    let secret = |header: &&Header| matches!(header.value, HeaderValue::Secret(_));
    let values = |webhook: &Webhook, name: &str| -> Vec<String> {
        let named = webhook.headers.iter().filter(secret).filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.expose().to_owned()).collect()
    };
    let names = after.headers.iter().filter(secret).map(|header| header.name.clone());
    names.filter(|name| values(before, name) != values(after, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;
    use crate::domain::webhook::tests::sample;

    #[test]
    fn a_secret_header_with_another_value_is_known_by_its_name_only() {
        let with = |value: &str| {
            let header = |name: &str, value: HeaderValue| Header { name: name.to_owned(), value };
            let mut webhook = sample();
            webhook.headers.push(header("X-Key", HeaderValue::Secret(Secret::new(value.to_owned()))));
            webhook.headers.push(header("X-Env", HeaderValue::Plain(value.to_owned())));
            webhook
        };
        assert_eq!(replaced_headers(&with("a"), &with("b")), ["X-Key"]);
        assert_eq!(replaced_headers(&with("a"), &with("a")), [""; 0]);
        assert_eq!(created(&with("canary"))["secret_headers"], json!(["X-Key"]));
        assert!(!Value::Object(created(&with("canary"))).to_string().contains("canary"));
    }
}
