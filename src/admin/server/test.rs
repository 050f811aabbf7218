//! Testing a webhook: one marked request, with saved values or with ones that are not saved yet.
//!
//! How a test goes is the dispatcher's to know; here it is decided what is tested with. Nothing is
//! stored, queued or counted. Its invariant: at most [`AT_ONCE_MAX`] tests are under way; and when
//! secrets that were kept from a saved webhook go to another host than they are saved for, the
//! answer says so.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::{Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::NewTest;
use crate::admin::{views, writes};
use crate::catalog;
use crate::dispatch::{Trial, rehearse};
use crate::domain::event_type::WILDCARD;
use crate::domain::id::WebhookId;
use crate::domain::text::printable;
use crate::domain::webhook::{FieldProblem, HeaderValue, Webhook};

/// Tests under way at once. Each may take as long as a webhook's timeout, beside the limits that
/// deliveries have.
pub(super) const AT_ONCE_MAX: usize = 8;

/// What a webhook for every type is tested with.
const TYPE_DEFAULT: &str = "AML_MONITORING";
/// The payload for a type that has no example.
const PAYLOAD_DEFAULT: &str = r#"{"test":true}"#;

impl Admin {
    /// Tests a saved webhook, perhaps with other fields merged over it.
    pub(super) async fn test_saved(&self, call: &Call, name: &str) -> Reply {
        let saved = self.find_webhook(name)?;
        let mut test = if call.body.is_empty() { NewTest::default() } else { new_test(&call.body)? };
        let mut webhook = Webhook::clone(&saved);
        if let Some(document) = test.webhook.take() {
            self.merge_for_test(call, &mut webhook, &document)?;
        }
        self.test(call, webhook, Some(&saved), test).await
    }

    /// Tests a webhook that is not saved: alone, or beside what it is tested with.
    pub(super) async fn test_unsaved(&self, call: &Call) -> Reply {
        let document = call.document()?;
        let mut test = match document.get("webhook") {
            Some(_) => new_test(&call.body)?,
            None => NewTest { webhook: Some(document), ..NewTest::default() },
        };
        let id = WebhookId::new(call.author.now, self.shared.store.random().bits());
        let mut webhook = writes::blank(id, &call.author, &self.shared.options.load().defaults);
        let document = test.webhook.take().unwrap_or_default();
        self.merge_for_test(call, &mut webhook, &document)?;
        self.test(call, webhook, None, test).await
    }

    /// Refuses what a save would refuse, but for a name that is missing or taken, and for the address
    /// of the receiver, which is what the test is about.
    fn merge_for_test(&self, call: &Call, webhook: &mut Webhook, document: &Value) -> Result<(), Refusal> {
        let defaults = &self.shared.options.load().defaults;
        let problems = writes::merge(webhook, document, &call.author, defaults, &self.own_types());
        if webhook.name.is_empty() {
            "unsaved".clone_into(&mut webhook.name);
        }
        let problems = self.field_problems(webhook, problems);
        if problems.is_empty() { Ok(()) } else { Err(Refusal::Fields(problems)) }
    }

    async fn test(&self, call: &Call, webhook: Webhook, saved: Option<&Webhook>, test: NewTest) -> Reply {
        let event_type = self.type_of(&webhook, test.event_type.as_deref())?;
        let payload = match test.payload {
            Some(given) => Bytes::from(String::from(Box::<str>::from(given))),
            None => self.example_of(&event_type),
        };
        let Ok(_place) = self.shared.tests.try_acquire() else {
            let text = format!("{AT_ONCE_MAX} tests are under way; wait until one has ended");
            return Err(Refusal::Busy(text));
        };
        let remark = saved.and_then(|saved| secrets_elsewhere(saved, &webhook));
        let oauth_remark = saved.and_then(|saved| oauth_elsewhere(saved, &webhook));
        let (id, by, name) = (webhook.id, &call.author.name, webhook.name.clone());
        if remark.is_some() || oauth_remark.is_some() {
            tracing::warn!(webhook = %id, by, "a test sends secrets to another host than they are saved for");
        }
        let payload_bytes = payload.len();
        let tested = webhook.clone();
        let webhook = Arc::new(webhook);
        let trial = Trial { webhook, event_type: event_type.clone(), payload, remark, oauth_remark };
        let names = self.shared.options.load().names.clone();
        let store = &self.shared.store;
        let rehearsal = rehearse(&self.shared.egress, store.clock(), store.random(), &names, trial).await;
        tracing::info!(webhook = %id, by, code = rehearsal.outcome.code(), "a webhook was tested");
        let is_saved = saved.is_some_and(|saved| *saved == tested);
        let url = tested.url.as_str();
        let told = json!({"code": rehearsal.outcome.code(), "event_type": event_type, "url": url, "saved": is_saved});
        self.note(call, "webhook.test", &name, told).await;
        reply(StatusCode::OK, &views::test(&rehearsal, event_type, payload_bytes))
    }

    /// The type that was asked for, or the first that the webhook wants.
    fn type_of(&self, webhook: &Webhook, asked: Option<&str>) -> Result<String, Refusal> {
        let accept_unknown = self.shared.options.load().defaults.accept_unknown_types;
        let wanted = match asked {
            Some(text) => writes::resolve_type(text, accept_unknown, &self.own_types())
                .map_err(|detail| Refusal::Fields(vec![FieldProblem::new("event_type", detail)]))?,
            None => webhook.event_types.first().cloned().unwrap_or_default(),
        };
        Ok(if wanted == WILDCARD || wanted.is_empty() { TYPE_DEFAULT.to_owned() } else { wanted })
    }

    /// An example payload of an event type, built in or the operator's own.
    fn example_of(&self, event_type: &str) -> Bytes {
        if let Some(example) = catalog::example(event_type) {
            return Bytes::from_static(example.as_bytes());
        }
        let own = self.own_types().get(event_type).and_then(|own| own.example.clone());
        own.map_or(Bytes::from_static(PAYLOAD_DEFAULT.as_bytes()), Bytes::from)
    }
}

/// The payload is cut out of the body as it stands there.
fn new_test(body: &[u8]) -> Result<NewTest, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Bad(format!("the body is not what it should be: {error}")))
}

/// Which secrets of the saved webhook go to another host with this one. The operator may do that,
/// so that a changed URL can be tried before it is saved; it must not happen unnoticed.
fn secrets_elsewhere(saved: &Webhook, tested: &Webhook) -> Option<String> {
    let new = moved(&saved.url, &tested.url)?;
    let mut kept: Vec<String> = Vec::new();
    let is_kept = |header: &&crate::domain::webhook::Header| {
        matches!(header.value, HeaderValue::Secret(_)) && saved.headers.iter().any(|known| known.value == header.value)
    };
    kept.extend(tested.headers.iter().filter(is_kept).map(|header| format!("header {}", printable(&header.name))));
    let key = |webhook: &Webhook| webhook.signing_key.as_ref().map(|key| key.current.clone());
    if key(tested).is_some() && key(tested) == key(saved) {
        kept.push("a signature by the signing key".to_owned());
    }
    if tested.tls.client_key.is_some() && tested.tls.client_key == saved.tls.client_key {
        kept.push("the client certificate".to_owned());
    }
    if tested.oauth.is_some() && tested.oauth == saved.oauth {
        kept.push("an OAuth access token".to_owned());
    }
    told(&kept, &new)
}

/// The same for what goes to the authorization server.
fn oauth_elsewhere(saved: &Webhook, tested: &Webhook) -> Option<String> {
    let (saved, tested) = (saved.oauth.as_ref()?, tested.oauth.as_ref()?);
    let new = moved(&saved.endpoint, &tested.endpoint)?;
    let mut kept: Vec<String> = Vec::new();
    if tested.token.is_some() && tested.token == saved.token {
        kept.push("oauth.token".to_owned());
    }
    if tested.request.is_some() && tested.request == saved.request {
        kept.push("oauth.request".to_owned());
    }
    told(&kept, &new)
}

/// The new host, when it is another (or another scheme or port).
fn moved(saved: &str, tested: &str) -> Option<String> {
    let (saved, tested) = (Url::parse(saved).ok()?, Url::parse(tested).ok()?);
    (saved.origin() != tested.origin()).then(|| tested.origin().ascii_serialization())
}

fn told(kept: &[String], new: &str) -> Option<String> {
    let kept = match kept {
        [] => return None,
        kept => kept.join(", "),
    };
    Some(format!("kept secrets went to {new}, which they are not saved for: {kept}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_keeps_its_bytes_and_null_is_one() {
        let test = new_test(br#"{"payload": {"b" : 1.0,"a":"\u0041"} }"#).unwrap_or_default();
        assert_eq!(test.payload.unwrap().get(), r#"{"b" : 1.0,"a":"\u0041"}"#);
        assert_eq!(new_test(br#"{"payload": null}"#).unwrap_or_default().payload.unwrap().get(), "null");
        assert!(new_test(b"{}").unwrap_or_default().payload.is_none());
    }

    #[test]
    fn only_another_origin_is_another_host() {
        let is_moved = |tested: &str| moved("https://a.example/hook?x=1", tested).is_some();
        assert!(!is_moved("https://a.example:443/other"));
        for other in ["https://b.example/hook", "http://a.example/hook", "https://a.example:8443/hook"] {
            assert!(is_moved(other), "{other}");
        }
    }
}
