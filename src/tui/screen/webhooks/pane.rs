//! The chosen webhook beside or below the list: in three lines, or with all there is to it.
//!
//! It reads the model and draws; what can be done to a webhook is not here.

use crate::admin::protocol::{DeliveryView, WebhookView};
use crate::tui::model::Model;
use crate::tui::screen::overview::{percent, sparkline, tries};
use crate::tui::screen::words;
use crate::tui::text::{Shown, count, plural, shown_text, span, took, words as spelled};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Cell, Column, Table, cell, text};

/// The chosen webhook in three lines.
pub(super) fn summary(model: &Model, hook: &WebhookView, pen: &mut Pen<'_>) {
    pen.rule(0, &hook.name, "");
    let mail =
        hook.failure_email.as_ref().map_or("no failure mail".to_owned(), |mail| format!("mail {}", mail.to.join(", ")));
    let plan = format!("{} tries, {} s apart   {mail}", hook.retry.count + 1, hook.retry.interval_seconds);
    let x = pen.text(2, 1, &crate::tui::text::fit_middle(&hook.url, pen.width() / 2 - 4, &pen.glyphs()), Role::Text);
    pen.text(x.max(38) + 2, 1, &plan, Role::Text);
    let yes = |is: bool| if is { "yes" } else { "no" };
    let body = hook.failure_email.as_ref().is_some_and(|mail| mail.include_body);
    let changed = shown_text(Some(&hook.updated_at), &model.zone, Shown::Date);
    let line = format!(
        "headers {}   signed {}   OAuth {}   filter {}   body in mail {}   changed {changed}",
        hook.headers.len(),
        yes(hook.signing_key.set),
        yes(hook.oauth.is_some()),
        yes(!hook.filter.is_empty()),
        yes(body),
    );
    pen.text(2, 2, &line, Role::Text);
    pen.text(2, 3, &standing(model, hook), Role::Text);
}

/// How it is doing, in a line.
fn standing(model: &Model, hook: &WebhookView) -> String {
    let Some(stats) = model.stats_of(&hook.id) else { return format!("{} waiting", hook.lane.pending) };
    let last = stats.last_at.as_deref().map_or("not tried since the start".to_owned(), |at| {
        format!("last {} {}", stats.last_code.unwrap_or(0), shown_text(Some(at), &model.zone, Shown::Time))
    });
    let oldest = stats.oldest_pending_at.as_deref().and_then(|at| model.seconds_since(at));
    let oldest = oldest.map_or(String::new(), |age| format!(", oldest {}", span(age)));
    let (tries, good) = tries(&stats.series);
    let hour =
        if tries == 0 { "none tried".to_owned() } else { format!("{} % ok of {}", percent(tries, good), count(tries)) };
    format!("{last}   {} waiting{oldest}   last hour: {hour}", count(hook.lane.pending))
}

/// The chosen webhook with all there is to it, and its last deliveries beside it.
pub(super) fn whole(model: &Model, hook: &WebhookView, pen: &mut Pen<'_>) {
    pen.rule(0, &hook.name, "OPTS: H headers  S signed  O OAuth  E failure mail  F filter");
    let half = pen.width() / 2 + 4;
    let rows = pen.height().saturating_sub(1);
    let mut left = pen.part(0, 1, half, rows);
    for (y, (name, value)) in facts(model, hook).iter().enumerate().take(rows) {
        left.text(2, y, name, Role::Dim);
        left.text(14, y, value, Role::Text);
    }
    let series = model.stats_of(&hook.id).map(|stats| &stats.series);
    if let (Some(series), true) = (series, rows > 12) {
        let y = facts(model, hook).len();
        left.text(2, y, "Last hour", Role::Dim);
        let line = sparkline(series, half.saturating_sub(28), &left);
        let x = left.text(14, y, &line, Role::Good);
        left.text(x + 1, y, "share ok", Role::Dim);
    }
    let width = pen.width().saturating_sub(half + 1);
    let mut bar = pen.part(half, 1, 1, rows);
    bar.bar(0);
    let mut right = pen.part(half + 1, 1, width, rows);
    right.text(1, 0, "Last deliveries", Role::Heading);
    if model.overview.recent.0.as_deref() == Some(hook.id.as_str()) {
        let columns = [
            Column::new("TIME", 8),
            Column::new("CODE", 4).right(),
            Column::new("STATE", 7),
            Column::new("SCANREF", 12).grows(1),
            Column::new("TRY", 5).right(),
            Column::new("TOOK", 5).right(),
        ];
        let table = Table::new(&columns, width, 0);
        table.headings(&mut right, 1, None);
        for (at, one) in model.overview.recent.1.iter().take(rows.saturating_sub(2)).enumerate() {
            table.row(&mut right, at + 2, &recent_row(model, one), false, false);
        }
    }
}

fn recent_row(model: &Model, one: &DeliveryView) -> Vec<Cell> {
    let (state, role) = words::of_delivery(one);
    let code = one.last_code.map_or(cell("-", Role::Dim), |code| cell(code.to_string(), words::role_of_code(code)));
    let at = one.last_attempt_at.as_deref().or(Some(&one.created_at));
    vec![
        text(shown_text(at, &model.zone, Shown::Time)),
        code,
        cell(state, role),
        text(one.scan_ref.clone().unwrap_or_else(|| "-".to_owned())),
        text(format!("{}/{}", one.attempts_made, one.attempts_max)),
        text(one.last_duration_ms.map_or(String::new(), took)),
    ]
}

fn facts(model: &Model, hook: &WebhookView) -> Vec<(&'static str, String)> {
    let kinds: Vec<&str> = hook.event_types.iter().map(|kind| model.label_of(kind)).collect();
    let date = |at: Option<&str>| shown_text(at, &model.zone, Shown::Date);
    let headers: Vec<String> = hook
        .headers
        .iter()
        .map(|header| format!("{}: {}", header.name, header.value.as_deref().unwrap_or("********")))
        .collect();
    let none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let signing = match (&hook.signing_key.previous_until, hook.signing_key.set) {
        (_, false) => "not signed".to_owned(),
        (None, true) => format!("HMAC-SHA256, key set {}", date(hook.signing_key.changed_at.as_deref())),
        (Some(until), true) => {
            format!("two keys until {}", shown_text(Some(until), &model.zone, Shown::Full))
        }
    };
    let mail = hook.failure_email.as_ref().map_or("nobody".to_owned(), |mail| {
        let body = if mail.include_body { "body included" } else { "body not included" };
        format!("{}, {body}", mail.to.join(", "))
    });
    let status = match (hook.active, hook.paused) {
        (false, _) => "inactive: nothing is made for it",
        (true, true) => "paused: deliveries are made and wait",
        (true, false) => "active",
    };
    vec![
        ("Receiver", hook.url.clone()),
        ("Event types", kinds.join(", ")),
        ("Status", status.to_owned()),
        ("Headers", none(headers.join("   "))),
        ("Signing", signing),
        ("OAuth", hook.oauth.as_ref().map_or("none".to_owned(), |oauth| oauth.endpoint.clone())),
        (
            "Retries",
            format!("{}, {} apart ({})", hook.retry.count, spelled(hook.retry.interval_seconds), hook.retry.backoff),
        ),
        ("Limits", limits(hook)),
        (
            "Filter",
            if hook.filter.is_empty() {
                "none".to_owned()
            } else {
                plural(hook.filter.len() as u64, "condition", "conditions")
            },
        ),
        ("Fail mail", mail),
        ("Changed", format!("{} by {}", shown_text(Some(&hook.updated_at), &model.zone, Shown::Full), hook.updated_by)),
        ("Standing", standing(model, hook)),
    ]
}

fn limits(hook: &WebhookView) -> String {
    let rate = hook.rate_per_second.map_or(String::new(), |rate| format!(", {rate} a second"));
    let ordered = if hook.ordered { ", in order" } else { "" };
    format!("{} s each, {} at once{rate}{ordered}", hook.timeout_seconds, hook.max_in_flight)
}
