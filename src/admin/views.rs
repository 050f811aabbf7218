//! From what the store knows to what is shown. Secrets end here.

use std::time::Duration;

use super::protocol::{
    AttemptView, AuditView, ConditionView, DeliveryView, DriftView, EventTypeView, EventView, FailureEmailView,
    HeaderView, KeyView, LaneView, OAuthView, PlanView, RequestView, RetryView, SecretView, StepView, TestView,
    TlsView, WebhookView,
};
use crate::dispatch::{LaneStatus, Rehearsal};
use crate::domain::attempt::{Attempt, Class, ErrorKind, Trigger};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::State;
use crate::domain::event_type::{CustomType, KnownType};
use crate::domain::filter::{Condition, Test};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{HeaderValue, Webhook};
use crate::index::{Found, FoundEvent};
use crate::ingest::Drift;
use crate::store::{Config, Token};

/// What stands where a secret would.
pub(super) const MASKED: &str = "…";

pub(super) fn webhook(webhook: &Webhook, lane: Option<LaneStatus>, now: Timestamp) -> WebhookView {
    let header = |header: &crate::domain::webhook::Header| match &header.value {
        HeaderValue::Plain(value) => {
            HeaderView { name: header.name.clone(), value: Some(value.clone()), secret: false, set: false }
        }
        HeaderValue::Secret(_) => HeaderView { name: header.name.clone(), value: None, secret: true, set: true },
    };
    let signing_key = webhook.signing_key.as_ref().map(|key| SecretView {
        set: true,
        changed_at: Some(key.changed_at.to_string()),
        previous_until: key.previous.as_ref().filter(|(_, until)| *until > now).map(|(_, until)| until.to_string()),
    });
    WebhookView {
        id: webhook.id.to_string(),
        version: webhook.version,
        kind: "Webhook".to_owned(),
        name: webhook.name.clone(),
        url: webhook.url.clone(),
        event_types: webhook.event_types.clone(),
        active: webhook.active,
        paused: webhook.paused,
        headers: webhook.headers.iter().map(header).collect(),
        signing_key: signing_key.unwrap_or_default(),
        failure_email: webhook
            .failure_email
            .as_ref()
            .map(|email| FailureEmailView { to: email.to.clone(), include_body: email.include_body }),
        oauth: webhook.oauth.as_ref().map(|oauth| OAuthView {
            endpoint: oauth.endpoint.clone(),
            token: is_set(oauth.token.as_ref()),
            request: is_set(oauth.request.as_ref()),
        }),
        tls: Some(&webhook.tls).filter(|tls| !tls.is_empty()).map(|tls| TlsView {
            ca: tls.ca.clone(),
            client_certificate: tls.client_certificate.clone(),
            client_key: is_set(tls.client_key.as_ref()),
        }),
        retry: RetryView {
            count: webhook.retry.count,
            interval_seconds: webhook.retry.interval.as_secs(),
            backoff: webhook.retry.backoff.as_str().to_owned(),
            max_interval_seconds: webhook.retry.interval_max.as_secs(),
        },
        timeout_seconds: webhook.timeout.as_secs(),
        max_in_flight: webhook.max_in_flight,
        rate_per_second: webhook.rate_per_second,
        ordered: webhook.ordered,
        filter: webhook.filter.0.iter().map(condition).collect(),
        created_at: webhook.created_at.to_string(),
        updated_at: webhook.updated_at.to_string(),
        updated_by: webhook.updated_by.clone(),
        deleted_at: webhook.deleted_at.map(|at| at.to_string()),
        lane: lane.map(lane_view).unwrap_or_default(),
    }
}

/// The retry plan of a webhook, spelt out.
pub(super) fn plan(webhook: &Webhook) -> PlanView {
    PlanView {
        attempts_after_seconds: webhook.retry.schedule().iter().map(Duration::as_secs).collect(),
        timeout_seconds: webhook.timeout.as_secs(),
        mail_to: webhook.failure_email.as_ref().map(|email| email.to.clone()).unwrap_or_default(),
    }
}

fn is_set(secret: Option<&Secret>) -> SecretView {
    SecretView { set: secret.is_some(), ..SecretView::default() }
}

fn condition(condition: &Condition) -> ConditionView {
    let mut view = ConditionView { path: condition.path.clone(), ..ConditionView::default() };
    match &condition.test {
        Test::Equals(value) => view.equals = Some(value.clone()),
        Test::In(values) => view.one_of = Some(values.clone()),
        Test::Exists(exists) => view.exists = Some(*exists),
    }
    view
}

fn lane_view(lane: LaneStatus) -> LaneView {
    LaneView {
        pending: lane.pending,
        in_flight: lane.in_flight,
        failing: lane.failing,
        cooling_down: lane.cooling,
        failures: lane.failures,
    }
}

/// In milliseconds, to the microsecond.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

pub(super) fn attempt(attempt: &Attempt) -> AttemptView {
    let outcome = &attempt.outcome;
    let phases = outcome.phases;
    AttemptView {
        number: attempt.number,
        cause: cause(attempt.trigger).to_owned(),
        started_at: attempt.started_at.to_string(),
        duration_ms: milliseconds(outcome.duration),
        code: outcome.code(),
        class: Class::of(outcome.code()).as_str().to_owned(),
        error: outcome.result.err().map(|kind| kind.as_str().to_owned()),
        dns_ms: phases.dns.map(milliseconds),
        connect_ms: phases.connect.map(milliseconds),
        tls_ms: phases.tls.map(milliseconds),
        first_byte_ms: phases.first_byte.map(milliseconds),
        peer: outcome.peer.map(|peer| peer.to_string()),
    }
}

const fn cause(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Automatic => "event",
        Trigger::Resend => "resend",
    }
}

/// A delivery, with the webhook as it is now and as it was when it was last sent.
pub(super) fn delivery(found: &Found, config: &Config, then: Option<&Webhook>, hold: Option<&str>) -> DeliveryView {
    let event = &found.event.event;
    let current = config.webhooks.get(&found.webhook);
    let shown = then.or(current.map(|current| &**current));
    let delivery = &found.delivery;
    let last = found.attempts.last();
    let withdrawn = current.is_none_or(|webhook| !webhook.exists());
    let state = match delivery.state() {
        State::Pending if withdrawn => State::Cancelled,
        state => state,
    };
    // What was skipped is never tried by itself.
    let planned = delivery.settled() != State::Skipped;
    let trigger = match last {
        Some(last) if delivery.resend_due().is_none() => last.trigger,
        _ => delivery.trigger(),
    };
    DeliveryView {
        id: found.id.to_string(),
        event_id: event.id.to_string(),
        webhook_id: found.webhook.to_string(),
        webhook_name: current.map(|current| &**current).or(shown).map(|known| known.name.clone()).unwrap_or_default(),
        event_type: event.event_type.clone(),
        scan_ref: event.scan_ref.clone(),
        references: event.references.as_slice().to_vec(),
        state: state.as_str().to_owned(),
        hold: hold.filter(|_| state == State::Pending).map(ToOwned::to_owned),
        sending: false,
        url: shown.map(|known| known.url.clone()).unwrap_or_default(),
        created_at: event.created_at().to_string(),
        next_attempt_at: delivery.due_at().filter(|_| state == State::Pending).map(|due| due.to_string()),
        attempts_made: delivery.automatic_made(),
        attempts_max: shown.filter(|_| planned).map_or(delivery.automatic_made(), |known| known.retry.attempts_max()),
        last_attempt_at: last.map(|last| last.started_at.to_string()),
        last_duration_ms: last.map(|last| milliseconds(last.outcome.duration)),
        last_code: last.map(|last| last.outcome.code()),
        last_class: last.map(|last| Class::of(last.outcome.code()).as_str().to_owned()),
        last_error: last.and_then(|last| last.outcome.result.err()).map(|kind: ErrorKind| kind.as_str().to_owned()),
        payload_bytes: found.event.payload_length,
        cause: cause(trigger).to_owned(),
        attempts: None,
        request: None,
        dead_links: None,
    }
}

/// The request as it is sent, secrets and signatures masked.
pub(super) fn request(request: &crate::egress::Request) -> RequestView {
    let headers = request.headers.iter().map(|(name, value)| {
        let shown = if value.is_sensitive() {
            MASKED.to_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        (name.as_str().to_owned(), shown)
    });
    RequestView {
        method: "POST".to_owned(),
        url: request.url.to_string(),
        headers: headers.collect(),
        timeout_seconds: request.timeout.as_secs(),
    }
}

pub(super) fn test(rehearsal: &Rehearsal, event_type: String, payload_bytes: usize) -> TestView {
    let outcome = &rehearsal.outcome;
    let step = |step: &crate::dispatch::Step| StepView {
        name: step.name.to_owned(),
        state: step.state.as_str().to_owned(),
        duration_ms: step.duration.map(milliseconds),
        detail: step.detail.clone(),
        cause: step.cause.map(ToOwned::to_owned),
    };
    TestView {
        delivered: rehearsal.delivered,
        code: outcome.code(),
        class: Class::of(outcome.code()).as_str().to_owned(),
        error: outcome.result.err().map(|kind| kind.as_str().to_owned()),
        duration_ms: milliseconds(outcome.duration),
        event_type,
        payload_bytes,
        steps: rehearsal.steps.iter().map(step).collect(),
        request: rehearsal.request.as_ref().map(request),
    }
}

pub(super) fn event(found: &FoundEvent) -> EventView {
    let event = &found.event;
    EventView {
        id: event.id.to_string(),
        event_type: event.event_type.clone(),
        created_at: event.created_at().to_string(),
        content_type: event.content_type.clone(),
        scan_ref: event.scan_ref.clone(),
        references: event.references.as_slice().to_vec(),
        token: event.token.clone(),
        payload_bytes: found.payload_length,
        deliveries: found.targets,
        skipped: found.skipped,
        delivery_list: None,
    }
}

fn drift_view(drift: &Drift) -> Option<DriftView> {
    let (at, misfit) = drift.last.as_ref()?;
    Some(DriftView {
        count: drift.count,
        last_at: at.to_string(),
        last_path: misfit.path.clone(),
        last_reason: misfit.reason.clone(),
    })
}

pub(super) fn event_type(known: &KnownType, webhooks: usize, drift: &Drift) -> EventTypeView {
    EventTypeView {
        name: known.name.to_owned(),
        label: known.label.to_owned(),
        wire_name: known.wire_name.to_owned(),
        group: known.group.as_str().to_owned(),
        meaning: known.meaning.to_owned(),
        deprecated: known.is_deprecated(),
        custom: false,
        has_schema: true,
        has_example: true,
        webhooks,
        drift: drift_view(drift),
        unchecked: drift.unchecked,
        updated_at: None,
        updated_by: None,
    }
}

pub(super) fn custom_type(custom: &CustomType, webhooks: usize, drift: &Drift) -> EventTypeView {
    EventTypeView {
        name: custom.name.clone(),
        label: custom.label.clone(),
        wire_name: custom.name.clone(),
        group: custom.group.as_str().to_owned(),
        meaning: custom.meaning.clone(),
        deprecated: false,
        custom: true,
        has_schema: custom.schema.is_some(),
        has_example: custom.example.is_some(),
        webhooks,
        drift: drift_view(drift),
        unchecked: drift.unchecked,
        updated_at: Some(custom.updated_at.to_string()),
        updated_by: Some(custom.updated_by.clone()),
    }
}

pub(super) fn audit(record: AuditRecord) -> AuditView {
    AuditView {
        at: record.at.to_string(),
        by: record.by,
        uid: record.uid,
        action: record.action,
        subject: record.subject,
        detail: serde_json::from_str(&record.detail).unwrap_or(serde_json::Value::String(record.detail)),
    }
}

pub(super) fn key(token: &Token, last_used: Option<Timestamp>) -> KeyView {
    KeyView {
        name: token.name.clone(),
        types: token.types.clone(),
        created_at: token.created_at.to_string(),
        created_by: token.created_by.clone(),
        last_used_at: last_used.map(|at| at.to_string()),
        token: None,
    }
}
