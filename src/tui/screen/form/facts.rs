//! A draft in words: a line for each thing that can differ, for telling what a save changes and how two
//! people's edits clash.
//!
//! It draws nothing. Secrets are told to be set, new or cleared; what they are compared by is never shown.

use super::draft::{ConditionDraft, Draft, HeaderDraft, SecretText};
use super::field::Field;
use crate::tui::text::words;

/// One thing about a webhook.
#[derive(Clone)]
pub(super) struct Fact {
    /// What it is.
    pub(super) label: String,
    /// How it is, in words.
    pub(super) shown: String,
    /// What it is compared by.
    raw: String,
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What it is.
    pub(super) label: String,
    /// How it was; `None` when it was not there.
    pub(super) before: Option<String>,
    /// How it will be; `None` when it will not be there.
    pub(super) after: Option<String>,
}

/// Everything about a draft. `label_of` tells what people call an event type.
pub(super) fn facts(draft: &Draft, label_of: &dyn Fn(&str) -> String) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut put = |label: &str, shown: String, raw: String| {
        // Of several headers of one name, each has a line of its own.
        let same =
            facts.iter().filter(|fact| fact.label == label || fact.label.starts_with(&format!("{label} #"))).count();
        let label = if same == 0 { label.to_owned() } else { format!("{label} #{}", same + 1) };
        facts.push(Fact { label, shown, raw });
    };
    let raw = |field| draft.raw(field);
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let text = |field| or(draft.input(field).map_or("", |input| input.value()), "none");
    put("name", text(Field::Name), raw(Field::Name));
    put("receiver", text(Field::Url), raw(Field::Url));
    let types: Vec<String> = draft.types.iter().map(|name| label_of(name)).collect();
    put("event types", or(&types.join(", "), "none"), raw(Field::Types));
    put("active", yes(draft.active), raw(Field::Active));
    put("paused", yes(draft.paused), raw(Field::Paused));
    for (at, header) in draft.headers.iter().enumerate() {
        let label = format!("header {}", header.name.value());
        put(&label, header_words(header), raw(Field::HeaderValue(at)));
    }
    put("signing key", secret_words(&draft.key), raw(Field::Key));
    put("failure mail", or(&draft.addresses().join(", "), "nobody"), raw(Field::MailTo));
    put("body in mail", yes(draft.mail_body), raw(Field::MailBody));
    let oauth = if draft.oauth { or(draft.endpoint.value(), "no endpoint") } else { "off".to_owned() };
    put("OAuth", oauth, if draft.oauth { raw(Field::Endpoint) } else { String::new() });
    if draft.oauth {
        put("OAuth token", secret_words(&draft.token), raw(Field::Token));
        put("OAuth request", secret_words(&draft.request), raw(Field::Request));
    }
    put("retry count", number(draft, Field::Count, ""), raw(Field::Count));
    put("interval", number(draft, Field::Interval, " s"), raw(Field::Interval));
    put("backoff", if draft.exponential { "exponential" } else { "fixed" }.to_owned(), raw(Field::Backoff));
    if draft.exponential {
        put("longest interval", number(draft, Field::IntervalMax, " s"), raw(Field::IntervalMax));
    }
    put("timeout", number(draft, Field::Timeout, " s"), raw(Field::Timeout));
    put("at once", number(draft, Field::InFlight, ""), raw(Field::InFlight));
    put("per second", or(draft.rate.value().trim(), "no limit"), raw(Field::Rate));
    put("in order", yes(draft.ordered), raw(Field::Ordered));
    for (at, condition) in draft.conditions.iter().enumerate() {
        let shown = condition_words(condition);
        put(&format!("condition {}", at + 1), shown.clone(), format!("{shown}{}", condition.value.value()));
    }
    put("CA", pem_words(&draft.ca), raw(Field::Ca));
    put("client certificate", pem_words(&draft.certificate), raw(Field::Certificate));
    put("client key", secret_words(&draft.client_key), raw(Field::ClientKey));
    facts
}

/// What is different in `after`.
pub(super) fn changes(before: &[Fact], after: &[Fact]) -> Vec<Change> {
    let find = |facts: &[Fact], label: &str| facts.iter().find(|fact| fact.label == label).cloned();
    let mut changes = Vec::new();
    for fact in after {
        match find(before, &fact.label) {
            Some(was) if was.raw == fact.raw => {}
            was => changes.push(Change {
                label: fact.label.clone(),
                before: was.map(|was| was.shown),
                after: Some(fact.shown.clone()),
            }),
        }
    }
    for was in before.iter().filter(|was| find(after, &was.label).is_none()) {
        changes.push(Change { label: was.label.clone(), before: Some(was.shown.clone()), after: None });
    }
    changes
}

fn or(text: &str, none: &str) -> String {
    if text.is_empty() { none.to_owned() } else { text.to_owned() }
}

fn number(draft: &Draft, field: Field, unit: &str) -> String {
    let text = draft.input(field).map_or("", |input| input.value()).trim();
    if text.is_empty() { "default".to_owned() } else { format!("{text}{unit}") }
}

fn header_words(header: &HeaderDraft) -> String {
    match (header.is_kept(), header.secret) {
        (true, _) => "******** (kept)".to_owned(),
        (false, true) => "******** (new)".to_owned(),
        (false, false) => header.value.value().to_owned(),
    }
}

fn condition_words(condition: &ConditionDraft) -> String {
    let value = if condition.test.takes_value() { condition.value.value() } else { "" };
    format!("{} {} {value}", or(condition.path.value(), "(whole payload)"), condition.test.word()).trim_end().to_owned()
}

/// How a secret stands.
pub(super) fn secret_words(secret: &SecretText) -> String {
    match (secret.typed(), secret.set, secret.cleared) {
        (Some(_), ..) => "******** (new)",
        (None, true, true) => "cleared",
        (None, true, false) => "******** (kept)",
        (None, false, _) => "none",
    }
    .to_owned()
}

/// How a certificate stands.
pub(super) fn pem_words(pem: &str) -> String {
    if pem.is_empty() {
        return "none".to_owned();
    }
    let number = pem.matches("-----BEGIN ").count() as u64;
    let bytes = crate::tui::text::bytes(pem.len() as u64);
    format!("{}, {bytes}", crate::tui::text::plural(number, "PEM block", "PEM blocks"))
}

/// The retry plan beside its fields: how many tries, and when the last is.
pub(super) fn plan_words(draft: &Draft, short: bool) -> (String, String) {
    let Some(plan) = super::checks::plan(draft) else {
        let default = if short { "empty: the default" } else { "empty: as the daemon is configured" };
        return (default.to_owned(), default.to_owned());
    };
    if plan.count == 0 {
        return ("no retry: one try in all".to_owned(), String::new());
    }
    if plan.count > crate::domain::retry::RetryPlan::COUNT_MAX {
        return (String::new(), String::new());
    }
    let mail = if short || draft.addresses().is_empty() { "" } else { ", then failure mail" };
    let last = plan.schedule().last().map_or(0, std::time::Duration::as_secs);
    let when =
        if short { format!("last after {}", words(last)) } else { format!("last try {} after the first", words(last)) };
    (format!("{} tries in all{mail}", plan.attempts_max()), when)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tui_input::Input;

    fn shown(draft: &Draft) -> Vec<Fact> {
        facts(draft, &|name| name.replace('_', " "))
    }

    #[test]
    fn what_changes_is_told_and_secrets_are_not() {
        let mut before = Draft::blank();
        before.types = vec!["AML_MONITORING".to_owned()];
        before.key.set = true;
        let mut after = before.clone();
        after.types = vec!["COMPANY_REVIEW".to_owned()];
        after.count = Input::new("7".to_owned());
        after.key.replace("hunter2".to_owned());
        after.headers.push(HeaderDraft {
            name: Input::new("X-Key".to_owned()),
            value: Input::new("hunter2".to_owned()),
            secret: true,
            ..HeaderDraft::default()
        });
        let told: Vec<(String, Option<String>, Option<String>)> = changes(&shown(&before), &shown(&after))
            .into_iter()
            .map(|change| (change.label, change.before, change.after))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("event types".to_owned(), some("AML MONITORING"), some("COMPANY REVIEW")),
                ("header X-Key".to_owned(), None, some("******** (new)")),
                ("signing key".to_owned(), some("******** (kept)"), some("******** (new)")),
                ("retry count".to_owned(), some("default"), some("7")),
            ]
        );
        assert!(changes(&shown(&before), &shown(&before.clone())).is_empty());
    }

    #[test]
    fn a_plan_reads_as_words() {
        let mut draft = Draft::blank();
        draft.count = Input::new("7".to_owned());
        draft.interval = Input::new("90".to_owned());
        assert_eq!(
            plan_words(&draft, false),
            ("8 tries in all".to_owned(), "last try 10 min 30 s after the first".to_owned())
        );
        draft.count = Input::new("0".to_owned());
        assert_eq!(plan_words(&draft, false).0, "no retry: one try in all");
    }
}
