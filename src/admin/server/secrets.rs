//! Showing one secret to an operator who asks for it by name, and copying a webhook with its
//! secrets. Everything else on the socket masks them.
//!
//! Invariant: one secret at a time, and not before it is noted who asked.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::audit::created;
use super::webhooks::name_is_free;
use super::{Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::RevealView;
use crate::admin::writes;
use crate::domain::id::WebhookId;
use crate::domain::secret::Secret;
use crate::domain::webhook::{FieldProblem, HeaderValue, Webhook};

impl Admin {
    /// `GET /v1/webhooks/{id}/secrets/{field}`
    pub(super) async fn reveal(&self, call: &Call, name: &str, field: &str) -> Reply {
        call.only(&Method::GET, "GET")?;
        call.check_params(&[])?;
        let webhook = self.find_webhook(name)?;
        let secret = secret_of(&webhook, field)?;
        let secret = secret.ok_or_else(|| Refusal::NotFound(format!("{}: {field} is not set", webhook.name)))?;
        let detail = json!({"id": webhook.id.to_string(), "field": field});
        self.note_first(call, "webhook.reveal", &webhook.name, detail).await?;
        reply(StatusCode::OK, &RevealView { field: field.to_owned(), value: secret.expose().to_owned() })
    }

    /// `POST /v1/webhooks/{id}/clone`: a new webhook like another, its secrets included. It is
    /// inactive unless the body says otherwise: two of a kind would send everything twice.
    pub(super) async fn clone_webhook(&self, call: &Call, name: &str) -> Reply {
        call.only(&Method::POST, "POST")?;
        let document = call.document()?;
        if document.get("name").and_then(Value::as_str).is_none() {
            let detail = "is missing: a copy needs a name of its own";
            return Err(Refusal::Fields(vec![FieldProblem::new("name", detail)]));
        }
        let options = self.shared.options.load_full();
        let source = self.find_webhook(name)?;
        let mut webhook = Webhook::clone(&source);
        webhook.id = WebhookId::new(call.author.now, self.shared.store.random().bits());
        webhook.version = 0;
        webhook.created_at = call.author.now;
        (webhook.active, webhook.paused) = (false, false);
        let problems = writes::merge(&mut webhook, &document, &call.author, &options.defaults, &self.own_types());
        self.check(&webhook, problems).await?;
        let saved = self.save(call, webhook, name_is_free).await?;
        let mut of: Map<String, Value> = created(&saved);
        of.insert("copy_of".to_owned(), source.name.as_str().into());
        self.note_webhook(call, "webhook.clone", &saved, of).await;
        reply(StatusCode::CREATED, &self.webhook_view(&saved))
    }
}

/// The secret behind a name: `signing_key`, `signing_key.previous`, `oauth.token`,
/// `oauth.request`, `tls.client_key`, `headers.NAME`.
fn secret_of<'a>(webhook: &'a Webhook, field: &str) -> Result<Option<&'a Secret>, Refusal> {
    let key = webhook.signing_key.as_ref();
    let oauth = webhook.oauth.as_ref();
    Ok(match field {
        "signing_key" => key.map(|key| &key.current),
        "signing_key.previous" => key.and_then(|key| key.previous.as_ref()).map(|(previous, _)| previous),
        "oauth.token" => oauth.and_then(|oauth| oauth.token.as_ref()),
        "oauth.request" => oauth.and_then(|oauth| oauth.request.as_ref()),
        "tls.client_key" => webhook.tls.client_key.as_ref(),
        _ => {
            let named = field.strip_prefix("headers.").ok_or_else(|| {
                let field: String = field.chars().take(80).collect();
                Refusal::NotFound(format!(
                    "there is no secret {field:?}; there are signing_key, signing_key.previous, oauth.token, \
                     oauth.request, tls.client_key and headers.NAME"
                ))
            })?;
            let header = webhook.headers.iter().find(|header| header.name.eq_ignore_ascii_case(named));
            header.and_then(|header| match &header.value {
                HeaderValue::Secret(secret) => Some(secret),
                HeaderValue::Plain(_) => None,
            })
        }
    })
}
