//! The words for how things stand, and what role each has. Colour only repeats them.
//!
//! One place, so that a state is called the same on every screen and in help.

use crate::admin::protocol::{DeliveryView, WebhookView};
use crate::domain::attempt::Class;
use crate::tui::model::Model;
use crate::tui::text::span;
use crate::tui::theme::Role;

/// The short words of a class, as they stand beside a code.
#[must_use]
pub fn of_code(code: u16) -> &'static str {
    match Class::of(code) {
        Class::NoResponse => "no response",
        Class::Informational => "informational",
        Class::Success => "ok",
        Class::Redirection => "redirect",
        Class::ClientError => "client err",
        Class::ServerError => "server err",
    }
}

/// The role of a code.
#[must_use]
pub fn role_of_code(code: u16) -> Role {
    crate::tui::theme::of_class(Class::of(code).as_str())
}

/// How a delivery stands: `queued sending retry done failed stopped skipped`.
#[must_use]
pub fn of_delivery(delivery: &DeliveryView) -> (&'static str, Role) {
    if delivery.sending {
        return ("sending", Role::Waiting);
    }
    match delivery.state.as_str() {
        "pending" if delivery.hold.as_deref() == Some("paused") => ("paused", Role::Waiting),
        "pending" if delivery.last_code.is_none() => ("queued", Role::Waiting),
        "pending" => ("retry", Role::Waiting),
        "delivered" => ("done", Role::Good),
        "failed" => ("failed", Role::Bad),
        "cancelled" => ("stopped", Role::Dim),
        "skipped" => ("skipped", Role::Dim),
        _ => ("unknown", Role::Text),
    }
}

/// Why a pending delivery that is due is not on its way.
#[must_use]
pub fn of_hold(hold: &str) -> &'static str {
    match hold {
        "paused" => "paused",
        "rate" => "rate limit",
        "in_flight" => "its turn",
        "cooling_down" => "cooling",
        _ => "held",
    }
}

/// What a delivery is known by: its scanRef, or the first of its ids.
#[must_use]
pub fn of_reference(delivery: &DeliveryView) -> Option<&str> {
    delivery.scan_ref.as_deref().or(delivery.references.first().map(String::as_str))
}

/// Attempts that were made, of how many; nothing where none is to be made.
#[must_use]
pub fn of_tries(delivery: &DeliveryView) -> String {
    if delivery.attempts_max == 0 && delivery.attempts_made == 0 {
        return "-".to_owned();
    }
    format!("{}/{}", delivery.attempts_made, delivery.attempts_max)
}

/// When the next attempt is: `in 84s`, `now`, why not, or nothing.
#[must_use]
pub fn of_next(model: &Model, delivery: &DeliveryView) -> String {
    if delivery.sending {
        return "now".to_owned();
    }
    if delivery.state != "pending" {
        return String::new();
    }
    match (delivery.hold.as_deref(), model.seconds_until(delivery.next_attempt_at.as_deref())) {
        (Some(hold), None) => of_hold(hold).to_owned(),
        (_, Some(seconds)) => format!("in {}", span(seconds)),
        (None, None) => "due".to_owned(),
    }
}

/// Whether a webhook gets events.
#[must_use]
pub fn of_webhook(hook: &WebhookView) -> (&'static str, Role) {
    match (hook.active, hook.paused) {
        (false, _) => ("off", Role::Dim),
        (true, true) => ("paused", Role::Waiting),
        (true, false) => ("on", Role::Good),
    }
}

/// Why there was no response, in words.
#[must_use]
pub fn of_error(kind: &str) -> &'static str {
    match kind {
        "dns" => "the name was not found",
        "refused" => "nothing listens there",
        "blocked" => "the address is not permitted",
        "connect_timeout" => "no connection in time",
        "tls" => "TLS failed",
        "reset" => "the connection was closed",
        "timeout" => "no answer in time",
        "bad_response" => "the answer was no HTTP",
        "oauth" => "no access token",
        _ => "no response",
    }
}

/// What a last code, or the lack of one, says.
#[must_use]
pub fn of_last(code: Option<u16>, error: Option<&str>) -> String {
    match (code, error) {
        (None, _) => "not tried yet".to_owned(),
        (Some(0), Some(kind)) => format!("0 no response: {}", of_error(kind)),
        (Some(code), _) => format!("{code} {}", Class::of(code).words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tests::delivery;

    #[test]
    fn what_has_no_scan_ref_is_known_by_its_first_id_and_what_is_never_sent_has_no_tries() {
        let mut one = delivery(1, "aml-watch", "delivered", Some(200));
        one.scan_ref = None;
        one.references = vec!["cust-1".to_owned(), "signup-2".to_owned()];
        assert_eq!(of_reference(&one), Some("cust-1"));
        one.references.clear();
        assert_eq!(of_reference(&one), None);
        (one.attempts_made, one.attempts_max) = (2, 6);
        assert_eq!(of_tries(&one), "2/6");
        (one.attempts_made, one.attempts_max) = (0, 0);
        assert_eq!(of_tries(&one), "-");
    }
}
