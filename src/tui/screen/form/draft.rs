//! What stands in the form: the values of one webhook while they are typed.
//!
//! It neither draws nor asks. A secret that is kept is not known here, only that it is there, and there
//! is no `Debug`, because one that was typed is. Invariant: a draft that was made from what the daemon
//! shows and left alone has no changes.

use serde_json::{Map, Value, json};
use tui_input::Input;

use super::field::Field;
use crate::admin::protocol::WebhookView;

pub(super) use super::parts::{ConditionDraft, HeaderDraft, SecretText, TestKind};

/// The values of a webhook while they are typed.
#[derive(Clone, Default)]
pub(super) struct Draft {
    pub(super) name: Input,
    pub(super) url: Input,
    pub(super) types: Vec<String>,
    pub(super) active: bool,
    pub(super) paused: bool,
    pub(super) headers: Vec<HeaderDraft>,
    pub(super) key: SecretText,
    /// A key that is replaced goes on signing for a day.
    pub(super) keep_old: bool,
    pub(super) mail_to: Input,
    pub(super) mail_body: bool,
    pub(super) oauth: bool,
    pub(super) endpoint: Input,
    pub(super) token: SecretText,
    pub(super) request: SecretText,
    pub(super) count: Input,
    pub(super) interval: Input,
    pub(super) exponential: bool,
    pub(super) interval_max: Input,
    pub(super) timeout: Input,
    pub(super) in_flight: Input,
    pub(super) rate: Input,
    pub(super) ordered: bool,
    pub(super) conditions: Vec<ConditionDraft>,
    pub(super) ca: String,
    pub(super) certificate: String,
    pub(super) client_key: SecretText,
}

impl Draft {
    /// Of a webhook that is not there yet. What is left empty has the daemon's defaults.
    pub(super) fn blank() -> Self {
        Self { active: true, keep_old: true, ..Self::default() }
    }

    /// Of one that is.
    pub(super) fn of(hook: &WebhookView) -> Self {
        let oauth = hook.oauth.clone().unwrap_or_default();
        let tls = hook.tls.clone().unwrap_or_default();
        let mail = hook.failure_email.clone().unwrap_or_default();
        let number = |number: u64| Input::new(number.to_string());
        Self {
            name: Input::new(hook.name.clone()),
            url: Input::new(hook.url.clone()),
            types: hook.event_types.clone(),
            active: hook.active,
            paused: hook.paused,
            headers: (0..hook.headers.len()).map(|at| HeaderDraft::of(at, &hook.headers)).collect(),
            key: SecretText::of(&hook.signing_key),
            keep_old: true,
            mail_to: Input::new(mail.to.join(", ")),
            mail_body: mail.include_body,
            oauth: hook.oauth.is_some(),
            endpoint: Input::new(oauth.endpoint),
            token: SecretText::of(&oauth.token),
            request: SecretText::of(&oauth.request),
            count: number(hook.retry.count.into()),
            interval: number(hook.retry.interval_seconds),
            exponential: hook.retry.backoff == "exponential",
            interval_max: number(hook.retry.max_interval_seconds),
            timeout: number(hook.timeout_seconds),
            in_flight: number(hook.max_in_flight.into()),
            rate: Input::new(hook.rate_per_second.map_or(String::new(), |rate| rate.to_string())),
            ordered: hook.ordered,
            conditions: hook.filter.iter().map(ConditionDraft::of).collect(),
            ca: tls.ca.unwrap_or_default(),
            certificate: tls.client_certificate.unwrap_or_default(),
            client_key: SecretText::of(&tls.client_key),
        }
    }

    /// The line in which a field is typed.
    pub(super) fn input(&self, field: Field) -> Option<&Input> {
        Some(match field {
            Field::Name => &self.name,
            Field::Url => &self.url,
            Field::HeaderName(at) => &self.headers.get(at)?.name,
            Field::HeaderValue(at) => &self.headers.get(at)?.value,
            Field::MailTo => &self.mail_to,
            Field::Endpoint => &self.endpoint,
            Field::Count => &self.count,
            Field::Interval => &self.interval,
            Field::IntervalMax => &self.interval_max,
            Field::Timeout => &self.timeout,
            Field::InFlight => &self.in_flight,
            Field::Rate => &self.rate,
            Field::Path(at) => &self.conditions.get(at)?.path,
            Field::Value(at) => &self.conditions.get(at)?.value,
            field => &self.secret(field)?.input,
        })
    }

    pub(super) fn input_mut(&mut self, field: Field) -> Option<&mut Input> {
        Some(match field {
            Field::Name => &mut self.name,
            Field::Url => &mut self.url,
            Field::HeaderName(at) => &mut self.headers.get_mut(at)?.name,
            Field::HeaderValue(at) => &mut self.headers.get_mut(at)?.value,
            Field::MailTo => &mut self.mail_to,
            Field::Endpoint => &mut self.endpoint,
            Field::Count => &mut self.count,
            Field::Interval => &mut self.interval,
            Field::IntervalMax => &mut self.interval_max,
            Field::Timeout => &mut self.timeout,
            Field::InFlight => &mut self.in_flight,
            Field::Rate => &mut self.rate,
            Field::Path(at) => &mut self.conditions.get_mut(at)?.path,
            Field::Value(at) => &mut self.conditions.get_mut(at)?.value,
            field => &mut self.secret_mut(field)?.input,
        })
    }

    /// The secret in a field; those of headers are elsewhere.
    pub(super) fn secret(&self, field: Field) -> Option<&SecretText> {
        match field {
            Field::Key => Some(&self.key),
            Field::Token => Some(&self.token),
            Field::Request => Some(&self.request),
            Field::ClientKey => Some(&self.client_key),
            _ => None,
        }
    }

    pub(super) fn secret_mut(&mut self, field: Field) -> Option<&mut SecretText> {
        match field {
            Field::Key => Some(&mut self.key),
            Field::Token => Some(&mut self.token),
            Field::Request => Some(&mut self.request),
            Field::ClientKey => Some(&mut self.client_key),
            _ => None,
        }
    }

    /// Whether a box is ticked.
    pub(super) fn ticked(&self, field: Field) -> bool {
        match field {
            Field::Active => self.active,
            Field::Paused => self.paused,
            Field::KeepOld => self.keep_old,
            Field::MailBody => self.mail_body,
            Field::OAuth => self.oauth,
            Field::Ordered => self.ordered,
            _ => false,
        }
    }

    pub(super) fn toggle(&mut self, field: Field) {
        let ticked = match field {
            Field::Active => &mut self.active,
            Field::Paused => &mut self.paused,
            Field::KeepOld => &mut self.keep_old,
            Field::MailBody => &mut self.mail_body,
            Field::OAuth => &mut self.oauth,
            Field::Ordered => &mut self.ordered,
            _ => return,
        };
        *ticked = !*ticked;
    }

    /// The text of a certificate.
    pub(super) fn pem_mut(&mut self, field: Field) -> Option<&mut String> {
        match field {
            Field::Ca => Some(&mut self.ca),
            Field::Certificate => Some(&mut self.certificate),
            _ => None,
        }
    }

    /// Addresses of the failure mail.
    pub(super) fn addresses(&self) -> Vec<String> {
        let parts = self.mail_to.value().split([',', ';', ' ']);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The webhook as the daemon takes it. Secrets that are kept are left out, and so is what is
    /// empty and has a default.
    pub(super) fn document(&self) -> Map<String, Value> {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        put("name", self.name.value().into());
        put("url", self.url.value().trim().into());
        put("event_types", self.types.clone().into());
        put("active", self.active.into());
        put("paused", self.paused.into());
        put("headers", self.headers.iter().map(HeaderDraft::sent).collect());
        if let Some(key) = self.key.sent() {
            put("signing_key", key);
        }
        put("failure_email", self.mail());
        put("oauth", self.oauth());
        put("retry", self.retry().into());
        for (name, input) in [("timeout_seconds", &self.timeout), ("max_in_flight", &self.in_flight)] {
            if let Some(number) = number(input) {
                put(name, number.into());
            }
        }
        put("rate_per_second", number(&self.rate).map_or(Value::Null, Value::from));
        put("ordered", self.ordered.into());
        put("filter", self.conditions.iter().map(ConditionDraft::sent).collect());
        put("tls", self.tls());
        document
    }

    fn mail(&self) -> Value {
        let to = self.addresses();
        if to.is_empty() && !self.mail_body {
            return Value::Null;
        }
        json!({"to": to, "include_body": self.mail_body})
    }

    fn oauth(&self) -> Value {
        if !self.oauth {
            return Value::Null;
        }
        let mut oauth = Map::from_iter([("endpoint".to_owned(), self.endpoint.value().trim().into())]);
        oauth.extend(self.token.sent().map(|token| ("token".to_owned(), token)));
        oauth.extend(self.request.sent().map(|request| ("request".to_owned(), request)));
        oauth.into()
    }

    fn retry(&self) -> Map<String, Value> {
        let mut retry = Map::new();
        // The longest wait is not shown with a fixed plan, and then follows the interval by itself.
        let longest = self.exponential.then_some(("max_interval_seconds", &self.interval_max));
        let fields = [("count", &self.count), ("interval_seconds", &self.interval)].into_iter().chain(longest);
        for (name, input) in fields {
            retry.extend(number(input).map(|number| (name.to_owned(), number.into())));
        }
        retry.insert("backoff".to_owned(), if self.exponential { "exponential" } else { "fixed" }.into());
        retry
    }

    fn tls(&self) -> Value {
        let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        if self.ca.is_empty() && self.certificate.is_empty() && !self.client_key.is_there() {
            return Value::Null;
        }
        let mut tls = Map::new();
        tls.insert("ca".to_owned(), text(&self.ca));
        tls.insert("client_certificate".to_owned(), text(&self.certificate));
        tls.extend(self.client_key.sent().map(|key| ("client_key".to_owned(), key)));
        tls.into()
    }

    /// What is to be sent for a new webhook: what has a default and was left alone is left out.
    pub(super) fn for_create(&self) -> Map<String, Value> {
        let blank = Self::blank().document();
        let mut document = self.document();
        document.retain(|name, value| {
            ["name", "url", "event_types"].contains(&name.as_str()) || blank.get(name) != Some(value)
        });
        if let Some(Value::Object(retry)) = document.get_mut("retry")
            && !self.exponential
        {
            retry.remove("backoff");
        }
        document
    }

    /// What is different from another draft of the same webhook, as it is sent to change that.
    pub(super) fn changes(&self, base: &Self) -> Map<String, Value> {
        let before = base.document();
        let mut changes = self.document();
        changes.retain(|name, value| before.get(name) != Some(value));
        if let (Some(Value::Object(retry)), Some(before)) = (changes.get_mut("retry"), before.get("retry")) {
            retry.retain(|name, value| before.get(name) != Some(value));
        }
        changes
    }

    /// Takes a part over from another draft.
    pub(super) fn take(&mut self, part: &str, from: &Self) {
        let from = from.clone();
        match part {
            "name" => self.name = from.name,
            "url" => self.url = from.url,
            "event_types" => self.types = from.types,
            "active" => self.active = from.active,
            "paused" => self.paused = from.paused,
            "headers" => self.headers = from.headers,
            "signing_key" => (self.key, self.keep_old) = (from.key, from.keep_old),
            "failure_email" => (self.mail_to, self.mail_body) = (from.mail_to, from.mail_body),
            "oauth" => {
                (self.oauth, self.endpoint) = (from.oauth, from.endpoint);
                (self.token, self.request) = (from.token, from.request);
            }
            "retry" => {
                (self.count, self.interval) = (from.count, from.interval);
                (self.exponential, self.interval_max) = (from.exponential, from.interval_max);
            }
            "timeout_seconds" => self.timeout = from.timeout,
            "max_in_flight" => self.in_flight = from.in_flight,
            "rate_per_second" => self.rate = from.rate,
            "ordered" => self.ordered = from.ordered,
            "filter" => self.conditions = from.conditions,
            "tls" => {
                (self.ca, self.certificate) = (from.ca, from.certificate);
                self.client_key = from.client_key;
            }
            _ => {}
        }
    }

    /// The same changes, made to the webhook as somebody else has left it meanwhile: gives what it is
    /// now, and that with the changes.
    pub(super) fn rebased(&self, base: &Self, now: &WebhookView) -> (Self, Self) {
        let now = Self::of(now);
        let mut merged = now.clone();
        for part in self.changes(base).keys() {
            merged.take(part, self);
        }
        for field in [Field::Key, Field::Token, Field::Request, Field::ClientKey] {
            let set = now.secret(field).is_some_and(|secret| secret.set);
            if let Some(secret) = merged.secret_mut(field) {
                secret.set = set;
            }
        }
        for header in &mut merged.headers {
            let same = |known: &&HeaderDraft| {
                known.kept_as.is_some() == header.kept_as.is_some()
                    && known.name.value().eq_ignore_ascii_case(header.name.value())
                    && known.same_before == header.same_before
            };
            header.origin = now.headers.iter().find(same).and_then(|known| known.origin);
            if header.origin.is_none() {
                // Its value is not there any more, so that it can not be kept.
                header.same_before = usize::MAX;
            }
        }
        (now, merged)
    }

    /// A text that is the same for the same value of a field; not to be shown.
    pub(super) fn raw(&self, field: Field) -> String {
        match field {
            Field::Types => self.types.join(","),
            Field::Backoff => self.exponential.to_string(),
            Field::Test(at) => self.conditions.get(at).map_or("", |one| one.test.word()).to_owned(),
            Field::Value(at) if self.conditions.get(at).is_some_and(|one| !one.test.takes_value()) => String::new(),
            Field::HeaderValue(at) => {
                self.headers.get(at).map_or(String::new(), |one| format!("{}{}", one.secret, one.value.value()))
            }
            Field::Ca => self.ca.clone(),
            Field::Certificate => self.certificate.clone(),
            field if field.is_box() => self.ticked(field).to_string(),
            field => match (self.secret(field), self.input(field)) {
                (Some(secret), _) => format!("{}{}", secret.cleared && secret.set, secret.input.value()),
                (None, input) => input.map_or("", Input::value).trim().to_owned(),
            },
        }
    }

    /// Whether a field is different in the draft that this one was made from.
    pub(super) fn is_changed(&self, field: Field, base: &Self) -> bool {
        let headers = |at: usize, field: fn(usize) -> Field| match self.headers.get(at).and_then(|one| one.origin) {
            Some(origin) => self.raw(field(at)) != base.raw(field(origin)),
            None => true,
        };
        match field {
            Field::HeaderName(at) => headers(at, Field::HeaderName),
            Field::HeaderValue(at) => headers(at, Field::HeaderValue),
            Field::Path(at) | Field::Test(at) | Field::Value(at) if at >= base.conditions.len() => true,
            Field::AddHeader => self.headers.len() != base.headers.len(),
            Field::AddCondition => self.conditions.len() != base.conditions.len(),
            Field::Button(_) | Field::KeepOld => false,
            field => self.raw(field) != base.raw(field),
        }
    }
}

/// The number that was typed, if it is one.
pub(super) fn number(input: &Input) -> Option<u64> {
    input.value().trim().parse().ok()
}
