//! What is wrong with a draft, told by the very rules by which the daemon judges it.
//!
//! It invents none: whatever needs the network, other webhooks or the daemon's configuration is left
//! to the daemon's answer. Secrets that are kept count as good.

use std::time::Duration;

use super::draft::{Draft, number};
use super::field::Field;
use crate::domain::credentials::{ClientTls, OAuth};
use crate::domain::email::FailureEmail;
use crate::domain::filter::{Condition, Filter, Test};
use crate::domain::id::WebhookId;
use crate::domain::retry::{Backoff, RetryPlan};
use crate::domain::secret::Secret;
use crate::domain::signature::SigningKey;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{Header, HeaderValue, Webhook};
use crate::tui::screen::form::draft::{SecretText, TestKind};

/// Everything that is wrong, by field, in the order of the form.
pub(super) fn problems(draft: &Draft, is_new: bool) -> Vec<(Field, String)> {
    let mut problems = unreadable(draft, is_new);
    problems.extend(lost_values(draft));
    for problem in as_webhook(draft).problems(&[]) {
        let Some(mut field) = Field::of_path(&problem.field) else { continue };
        if !draft.exponential && field == Field::IntervalMax {
            // It is not shown, and means nothing.
            continue;
        }
        if draft.headers.is_empty() && field.part() == "headers" {
            field = Field::AddHeader;
        }
        if !problems.iter().any(|(known, _)| *known == field) {
            problems.push((field, words(&problem.field, &problem.detail)));
        }
    }
    problems.sort_by_key(|(field, _)| *field);
    problems
}

/// Of several addresses, which is meant.
fn words(path: &str, detail: &str) -> String {
    match path.strip_prefix("failure_email.to[").and_then(|rest| rest.strip_suffix(']')) {
        Some(place) => place.parse::<usize>().map_or(detail.to_owned(), |at| format!("address {} {detail}", at + 1)),
        None => detail.to_owned(),
    }
}

/// What can not be read as what it should be.
fn unreadable(draft: &Draft, is_new: bool) -> Vec<(Field, String)> {
    let mut problems = Vec::new();
    let numbers = [
        (Field::Count, &draft.count),
        (Field::Interval, &draft.interval),
        (Field::IntervalMax, &draft.interval_max),
        (Field::Timeout, &draft.timeout),
        (Field::InFlight, &draft.in_flight),
        (Field::Rate, &draft.rate),
    ];
    for (field, input) in numbers {
        let hidden = field == Field::IntervalMax && !draft.exponential;
        // Empty is the daemon's default for a new webhook, and no limit for the rate.
        let may_be_empty = is_new || field == Field::Rate;
        let empty = input.value().trim().is_empty();
        if !hidden && number(input).is_none() && !(empty && may_be_empty) {
            problems.push((field, "must be a whole number".to_owned()));
        }
    }
    for (at, condition) in draft.conditions.iter().enumerate() {
        if condition.test.takes_value()
            && let Err(why) = condition.parsed()
        {
            problems.push((Field::Value(at), why));
        }
    }
    problems
}

/// A kept secret is found by its header's name, the first by the first; after a change of names or places
/// that would be another one.
fn lost_values(draft: &Draft) -> Vec<(Field, String)> {
    let mut problems = Vec::new();
    for (at, header) in draft.headers.iter().enumerate().filter(|(_, header)| header.is_kept()) {
        let Some(kept_as) = &header.kept_as else { continue };
        let name = header.name.value();
        let before = draft.headers[..at].iter().filter(|other| other.name.value().eq_ignore_ascii_case(name)).count();
        if !name.eq_ignore_ascii_case(kept_as) {
            problems.push((Field::HeaderValue(at), "has to be typed again under another name".to_owned()));
        } else if header.same_before != before {
            let why = "has to be typed again: another header of this name was removed or moved".to_owned();
            problems.push((Field::HeaderValue(at), why));
        }
    }
    problems
}

/// A placeholder for what only the daemon knows.
fn kept(secret: &SecretText, placeholder: &str) -> Option<Secret> {
    match secret.typed() {
        Some(typed) => Some(Secret::new(typed.to_owned())),
        None => secret.is_there().then(|| Secret::new(placeholder.to_owned())),
    }
}

/// The retry plan that is typed; `None` while part of it is left to the daemon.
pub(super) fn plan(draft: &Draft) -> Option<RetryPlan> {
    let seconds = |input| number(input).map(Duration::from_secs);
    let interval = seconds(&draft.interval)?;
    Some(RetryPlan {
        count: u16::try_from(number(&draft.count)?).unwrap_or(u16::MAX),
        interval,
        backoff: if draft.exponential { Backoff::Exponential } else { Backoff::Fixed },
        interval_max: seconds(&draft.interval_max).unwrap_or(interval),
    })
}

/// The webhook that it would be. What can not be read is told elsewhere, and stands as something good.
fn as_webhook(draft: &Draft) -> Webhook {
    let headers = draft.headers.iter().map(|header| {
        let value = if header.is_kept() { "kept" } else { header.value.value() };
        Header { name: header.name.value().to_owned(), value: HeaderValue::Plain(value.to_owned()) }
    });
    let conditions = draft.conditions.iter().map(|condition| {
        let value = condition.parsed().unwrap_or(serde_json::Value::from(vec![true]));
        let test = match (condition.test, value) {
            (TestKind::In, serde_json::Value::Array(values)) => Test::In(values),
            (TestKind::Equals | TestKind::In, value) => Test::Equals(value),
            (TestKind::Exists, _) => Test::Exists(true),
            (TestKind::Absent, _) => Test::Exists(false),
        };
        Condition { path: condition.path.value().trim().to_owned(), test }
    });
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let to = draft.addresses();
    let small = |input, default: u16| number(input).map_or(default, |number| u16::try_from(number).unwrap_or(u16::MAX));
    let interval = Duration::from_secs(number(&draft.interval).unwrap_or(1));
    Webhook {
        id: WebhookId::from_bytes([0; 16]),
        version: 0,
        name: draft.name.value().to_owned(),
        url: draft.url.value().trim().to_owned(),
        event_types: draft.types.clone(),
        active: draft.active,
        paused: draft.paused,
        headers: headers.collect(),
        signing_key: kept(&draft.key, "kept").map(|current| SigningKey {
            current,
            changed_at: Timestamp::from_millis(0),
            previous: None,
        }),
        retry: RetryPlan {
            count: small(&draft.count, 0),
            interval,
            backoff: if draft.exponential { Backoff::Exponential } else { Backoff::Fixed },
            interval_max: number(&draft.interval_max).map_or(interval, Duration::from_secs),
        },
        timeout: Duration::from_secs(number(&draft.timeout).unwrap_or(10)),
        max_in_flight: small(&draft.in_flight, 1),
        rate_per_second: number(&draft.rate).map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
        ordered: draft.ordered,
        filter: Filter(conditions.collect()),
        failure_email: (draft.mail_body || !to.is_empty())
            .then_some(FailureEmail { to, include_body: draft.mail_body }),
        oauth: draft.oauth.then(|| OAuth {
            endpoint: draft.endpoint.value().trim().to_owned(),
            token: kept(&draft.token, "kept"),
            request: kept(&draft.request, "kept"),
        }),
        tls: ClientTls {
            ca: text(&draft.ca),
            client_certificate: text(&draft.certificate),
            client_key: kept(&draft.client_key, "-----BEGIN kept"),
        },
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        updated_by: String::new(),
        deleted_at: None,
    }
}
