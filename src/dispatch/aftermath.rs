//! What follows from an attempt that has ended, beside the delivery's own fate: a line in the log, a span,
//! and a webhook that is paused because its receiver said that it is gone for good.
//!
//! Decides nothing about the delivery; the lanes have done that.

use super::{Dispatcher, Job, Prepared, Settled};
use crate::domain::attempt::{Attempt, ErrorKind, Outcome};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::State;
use crate::domain::id::WebhookId;
use crate::domain::webhook::Webhook;
use crate::spans::Span;
use crate::store::StoreError;

impl Dispatcher {
    /// The receiver said 410: pauses its webhook, so that the rest waits for an operator.
    pub(super) fn pause_gone(&self, id: WebhookId) {
        let store = self.shared.store.clone();
        let now = self.shared.clock.now();
        tokio::spawn(async move {
            let paused = store
                .change_webhook(|config| {
                    let current = config.webhooks.get(&id).filter(|webhook| webhook.exists() && !webhook.paused);
                    let mut webhook = Webhook::clone(current.ok_or(StoreError::Gone)?);
                    webhook.paused = true;
                    webhook.version += 1;
                    webhook.updated_at = now;
                    "postrider (the receiver answered 410 Gone)".clone_into(&mut webhook.updated_by);
                    Ok::<_, StoreError>(webhook)
                })
                .await;
            let Ok(webhook) = paused else { return };
            tracing::warn!(webhook = webhook.name, webhook_id = %webhook.id, "the receiver answered 410 Gone: the webhook is paused");
            let (id, version) = (webhook.id.to_string(), webhook.version);
            let detail = serde_json::json!({"id": id, "version": version, "why": "the receiver answered 410 Gone"});
            let noted = AuditRecord::own(now, "webhook.pause", &webhook.name, detail.to_string());
            if let Err(error) = store.audit(noted).await {
                tracing::error!(webhook = id, %error, "the pause could not be noted in the audit log");
            }
        });
    }
}

/// Ends the span of an attempt. Nothing of the URL is in it but host and port: paths and queries of receivers hold secrets.
pub(super) fn end_span(mut span: Span, job: &Job, number: u32, prepared: &Prepared, outcome: &Outcome) {
    let url = prepared.url();
    span.note("http.request.method", "POST");
    span.note("server.address", url.host_str().unwrap_or_default().to_owned());
    span.note("server.port", i64::from(url.port_or_known_default().unwrap_or_default()));
    span.note("url.scheme", url.scheme().to_owned());
    span.note("http.request.resend_count", i64::from(number.saturating_sub(1)));
    span.note("postrider.event.id", job.id.event.to_string());
    span.note("postrider.delivery.id", job.id.to_string());
    span.note("postrider.webhook.id", job.webhook.to_string());
    span.note("postrider.webhook.name", prepared.webhook.name.clone());
    let error = match outcome.result {
        Ok(code) => {
            span.note("http.response.status_code", i64::from(code));
            (!outcome.is_success()).then(|| code.to_string())
        }
        Err(kind) => Some(kind.as_str().to_owned()),
    };
    span.end(format!("deliver to {}", prepared.webhook.name), outcome.duration, error);
}

/// What the log is told of an attempt.
pub(super) struct Tale {
    number: u32,
    result: Result<u16, ErrorKind>,
    gave_up: bool,
    state: State,
}

impl Tale {
    pub(super) fn of(attempt: &Attempt, settled: &Settled) -> Self {
        let (number, result) = (attempt.number, attempt.outcome.result);
        Self { number, result, gave_up: settled.gave_up, state: settled.delivery.state() }
    }

    /// May wait for whoever takes the log: not to be called while others wait for anything.
    pub(super) fn tell(&self, job: &Job, webhook: &str) {
        let (delivery, event, webhook_id) = (job.id, job.id.event, job.webhook);
        let (number, code) = (self.number, self.result.unwrap_or(0));
        let error = self.result.err().map(ErrorKind::as_str);
        if self.gave_up {
            tracing::warn!(webhook, %delivery, number, code, error, %event, %webhook_id, "a delivery failed for good");
        } else if self.state == State::Delivered {
            tracing::debug!(webhook, %delivery, number, code, %event, %webhook_id, "delivered");
        } else {
            tracing::info!(webhook, %delivery, number, code, error, %event, %webhook_id, "an attempt failed");
        }
    }
}
