//! The third tab, called Recently Sent in the system that this one re-creates: every delivery of the
//! last 30 days, narrowed by reference, class and whatever else, and sent again.
//!
//! It holds the window on the list and the filter, not the list.

use std::collections::BTreeSet;

use crate::admin::client::{Bulk, DeliveryFilter};
use crate::admin::protocol::DeliveryView;
use crate::tui::dialog::{bulk, confirm, filter, menu};
use crate::tui::keymap::Action;
use crate::tui::message::{Ask, Effect, Effects};
use crate::tui::model::{Asking, Model, Prompt, Tab};
use crate::tui::screen::overview::classes;
use crate::tui::screen::viewer::{Wanted, want};
use crate::tui::screen::{delivery, words};
use crate::tui::text::{Shown, count, instant, plural, safe, shown_text, took};
use crate::tui::theme::Role;
use crate::tui::update::{act_in_tab, change, show};
use crate::tui::view::pen::{Pen, Span, plain, span as piece};
use crate::tui::view::table::{Cell, Column, Table, cell, text};
use crate::tui::window::{COUNT_MAX, Move, Window};

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct DeliveriesTab {
    /// What of the list is in memory.
    pub window: Window<DeliveryView>,
    /// What it is narrowed to. `since` and `until` are as typed.
    pub filter: DeliveryFilter,
    /// Ids of the marked rows.
    pub marked: BTreeSet<String>,
    /// A reference that nothing begins with was looked for inside of payloads instead.
    pub fell_back: bool,
}

impl DeliveriesTab {
    /// The filter as the daemon wants it.
    #[must_use]
    pub fn filter(&self, model: &Model) -> DeliveryFilter {
        let at = |text: &Option<String>| {
            text.as_deref().map(|text| point_in_time(text, model).unwrap_or_else(|| text.to_owned()))
        };
        DeliveryFilter { since: at(&self.filter.since), until: at(&self.filter.until), ..self.filter.clone() }
    }
}

/// An instant as a user writes it: `1h` ago, a date, a date and time; as the daemon wants it.
pub(crate) fn point_in_time(text: &str, model: &Model) -> Option<String> {
    let text = text.trim();
    if let Some(at) = instant(text) {
        return Some(at.to_string());
    }
    let (number, unit) = text.split_at(text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at))?);
    if let Ok(number) = number.trim().parse::<u64>() {
        let seconds = match unit {
            "s" => number,
            "m" => number.checked_mul(60)?,
            "h" => number.checked_mul(3600)?,
            "d" => number.checked_mul(86_400)?,
            _ => return None,
        };
        return Some(model.now.minus(std::time::Duration::from_secs(seconds)).to_string());
    }
    let civil: jiff::civil::DateTime = text
        .replace(' ', "T")
        .parse()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight())))
        .ok()?;
    let at = civil.to_zoned(model.zone.clone()).ok()?.timestamp();
    u64::try_from(at.as_millisecond())
        .ok()
        .map(|millis| crate::domain::time::Timestamp::from_millis(millis).to_string())
}

/// Rows of the list.
pub(crate) fn height(model: &Model) -> usize {
    let body = model.body_height();
    let pane = if model.is_large() { 13 } else { 0 };
    body.saturating_sub(pane + if model.is_small() { 1 } else { 3 }).max(1)
}

pub(crate) fn counts_down(model: &Model) -> bool {
    model.deliveries.window.visible().iter().any(|one| {
        one.sending || (one.state == "pending" && model.seconds_until(one.next_attempt_at.as_deref()).is_some())
    })
}

/// Asks for the part of the list that is missing.
pub(crate) fn refresh(model: &mut Model, out: &mut Effects) {
    let tab = &model.deliveries;
    let nothing = tab.window.rows.is_empty() && !tab.window.loading && tab.window.at_oldest;
    if let (true, false, Some(reference)) = (nothing, tab.fell_back, tab.filter.reference.clone()) {
        model.say(format!("no reference begins with {}; looking inside payloads", safe(&reference)));
        let tab = &mut model.deliveries;
        tab.filter.text = tab.filter.reference.take();
        tab.fell_back = true;
        tab.window.restart();
    }
    if let Some((walk, part)) = model.deliveries.window.wanted() {
        let filter = Box::new(model.deliveries.filter(model));
        out.ask(Ask::Deliveries { ticket: model.deliveries.window.ticket, filter, walk, part });
    }
}

/// Shows what was sent to one webhook.
pub(crate) fn show_webhook(model: &mut Model, id: &str) {
    let name = model.hook(id).map_or_else(|| id.to_owned(), |hook| hook.name.clone());
    narrow(model, DeliveryFilter { webhook: Some(name), ..DeliveryFilter::default() });
}

/// Shows what a filter lets through.
pub(crate) fn narrow(model: &mut Model, filter: DeliveryFilter) {
    show(model, Tab::Deliveries);
    let tab = &mut model.deliveries;
    tab.filter = filter;
    tab.fell_back = false;
    tab.marked.clear();
    tab.window.restart();
}

/// Looks for a reference; without one, shows all again.
pub(crate) fn search(model: &mut Model, text: &str) {
    let mut filter = model.deliveries.filter.clone();
    filter.reference = Some(text.to_owned()).filter(|text| !text.is_empty());
    filter.text = None;
    narrow(model, filter);
}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    if model.deliveries.window.act(action) {
        return;
    }
    match action {
        Action::Back => return back(model),
        Action::Search => {
            let before = model.deliveries.filter.reference.clone().unwrap_or_default();
            model.prompt = Some(Prompt::new(Asking::Search, "scanRef or other reference: ").with(before));
            return;
        }
        Action::Class => return model.dialogs.push(Box::new(menu::classes(model))),
        Action::Filter => return model.dialogs.push(Box::new(filter::deliveries(model))),
        Action::ResendMany => return many(model, Bulk::Resend, out),
        Action::StopMany => return many(model, Bulk::Cancel, out),
        Action::Export => {
            model.prompt = Some(Prompt::new(Asking::ExportTo, "write to file: ").with("deliveries.jsonl"));
            return;
        }
        Action::MarkAll => return mark_all(model),
        _ => {}
    }
    if act_in_tab(model, action, out) {
        return;
    }
    let Some(chosen) = model.deliveries.window.chosen().cloned() else { return };
    match action {
        Action::Open => delivery::open(model, &chosen, out),
        Action::Mark => {
            let tab = &mut model.deliveries;
            if !tab.marked.remove(&chosen.id) {
                tab.marked.insert(chosen.id.clone());
            }
            tab.window.go(Move::By(1));
            tab.window.live = false;
        }
        action => act_on(model, action, &chosen, out),
    }
}

/// What can be done to one delivery, wherever it is chosen.
pub(crate) fn act_on(model: &mut Model, action: Action, one: &DeliveryView, out: &mut Effects) {
    match action {
        Action::Resend if one.state == "delivered" => model.dialogs.push(Box::new(confirm::resend_delivered(one))),
        Action::Resend => change(model, Ask::Resend(one.id.clone()), out),
        Action::Stop if one.state == "pending" => model.dialogs.push(Box::new(confirm::stop(one))),
        Action::Stop => model.say("it has no more attempts to come"),
        Action::CopyReference => {
            let (text, what) = match &one.scan_ref {
                Some(reference) => (reference.clone(), "the scanRef"),
                None => (one.id.clone(), "the id of the delivery"),
            };
            out.push(Effect::Copy { text, what: what.to_owned() });
        }
        Action::CopyPayload => want(model, Wanted::CopyPayload, &one.id, out),
        Action::CopyCurl => want(model, Wanted::CopyCurl, &one.id, out),
        Action::Payload => want(model, Wanted::ViewPayload, &one.id, out),
        _ => {}
    }
}

/// Clears the marks, then the filter, then goes live.
fn back(model: &mut Model) {
    let tab = &mut model.deliveries;
    if !tab.marked.is_empty() {
        tab.marked.clear();
    } else if tab.filter != DeliveryFilter::default() {
        narrow(model, DeliveryFilter::default());
    } else if !tab.window.live {
        tab.window.go_live();
    }
}

fn mark_all(model: &mut Model) {
    let tab = &mut model.deliveries;
    if tab.marked.is_empty() {
        tab.marked.extend(tab.window.visible().iter().map(|one| one.id.clone()));
        tab.window.live = false;
    } else {
        tab.marked.clear();
    }
}

/// Resends or stops the marked ones, or what the filter shows.
fn many(model: &mut Model, what: Bulk, out: &mut Effects) {
    let tab = &model.deliveries;
    if tab.marked.is_empty() {
        let filter = tab.filter(model);
        let said = describe(&tab.filter);
        return bulk::open(model, what, &filter, &said, out);
    }
    // Rows that were scrolled away are marked all the same; what is known of the others is told.
    let known: Vec<DeliveryView> = tab.window.rows.iter().filter(|one| tab.marked.contains(&one.id)).cloned().collect();
    let ids: Vec<String> = tab.marked.iter().cloned().collect();
    model.dialogs.push(Box::new(confirm::marked(what, ids, &known)));
}

/// The filter in words, as `:d` takes it.
pub(crate) fn describe(filter: &DeliveryFilter) -> String {
    let mut parts = Vec::new();
    let mut part =
        |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name}={}", safe(&value))));
    part("ref", filter.reference.clone());
    part("q", filter.text.clone());
    part("webhook", filter.webhook.clone());
    part("type", filter.event_type.clone());
    part("class", (!filter.classes.is_empty()).then(|| filter.classes.join(",")));
    part("code", filter.code.map(|code| code.to_string()));
    part("state", filter.state.clone());
    part("since", filter.since.clone());
    part("until", filter.until.clone());
    parts.join(" ")
}

/// What stands at the right of the second line.
pub(crate) fn remark(model: &Model) -> String {
    held(model.deliveries.window.live, model.deliveries.window.newer)
}

/// `LIVE`, `PAUSED`, `PAUSED +37`.
pub(crate) fn held(live: bool, newer: usize) -> String {
    match (live, newer) {
        (true, _) => "LIVE".to_owned(),
        (false, 0) => "PAUSED".to_owned(),
        (false, newer) if newer >= COUNT_MAX => format!("PAUSED +{COUNT_MAX} or more"),
        (false, newer) => format!("PAUSED +{newer}"),
    }
}

pub(crate) fn view(model: &Model, pen: &mut Pen<'_>) {
    let tab = &model.deliveries;
    let small = model.is_small();
    if !small {
        counters(model, pen);
    }
    let top = if small { 0 } else { 2 };
    let rows = height(model);
    let columns = pen.width();
    let mut part = pen.part(0, top, columns, rows + 1);
    table(model, &mut part, tab.window.visible(), tab.window.selected.as_deref(), &tab.marked);
    let none = "nothing was sent yet; `postrider event send SOS_REPORT --example` posts an event";
    if let Some(text) = tab.window.instead(tab.filter != DeliveryFilter::default(), none) {
        part.text(2, 1, &text, Role::Text);
    }
    let y = top + rows + 1;
    if let (Some(chosen), true) = (tab.window.chosen(), model.is_large()) {
        let room = pen.height().saturating_sub(y);
        let mut part = pen.part(0, y, columns, room);
        pane(model, chosen, &mut part);
    }
}

/// Counts by class, or the filter.
fn counters(model: &Model, pen: &mut Pen<'_>) {
    let tab = &model.deliveries;
    if tab.filter != DeliveryFilter::default() {
        let x = pen.text(2, 0, "only ", Role::Text);
        let x = pen.text(x, 0, &describe(&tab.filter), Role::Match);
        pen.text(x + 3, 0, "Esc: all", Role::Dim);
        return;
    }
    let Some(stats) = &model.stats else { return };
    let classes = classes(&stats.total);
    let all: u64 = classes.iter().flat_map(|(_, _, counts)| counts.iter()).sum();
    let mut line: Vec<Span> = vec![plain(format!("  all {}", count(all)))];
    for (class, _, counts) in [classes[4], classes[0], classes[1], classes[2], classes[3]] {
        let sum: u64 = counts.iter().sum();
        line.push(plain("   "));
        line.push(piece(
            // A code of 0 with a colon and a number behind it would read as a time.
            format!("{} {}", if class == "0" { "no response" } else { class }, count(sum)),
            if sum > 0 { crate::tui::theme::of_class(class) } else { Role::Text },
        ));
    }
    line.push(piece("   last hour", Role::Dim));
    pen.spans(0, 0, &line);
}

fn columns(model: &Model, room: usize, today: bool) -> Vec<Column> {
    if model.wide && !today {
        return vec![
            Column::new("ACCEPTED", 19),
            Column::new("CODE", 4).right(),
            Column::new("CLASS", 11),
            Column::new("STATE", 7),
            Column::new("SCANREF", 36),
            Column::new("WEBHOOK", 24),
            Column::new("TRY", 5).right(),
            Column::new("NEXT", 10),
            Column::new("EVENT TYPE", 32),
            Column::new("TOOK", 6).right(),
            Column::new("RECEIVER", 60),
        ];
    }
    match room {
        _ if today => vec![
            Column::new("TIME", 8),
            Column::new("CODE", 4).right(),
            Column::new("CLASS", 11),
            Column::new("STATE", 7),
            Column::new("SCANREF", 18).grows(3),
            Column::new("WEBHOOK", 12).grows(1),
            Column::new("TRY", 5).right(),
            Column::new("NEXT", 8),
            Column::new("TOOK", 6).right(),
        ],
        0..80 => vec![
            Column::new("TIME", 8),
            Column::new("CODE", 4).right(),
            Column::new("STATE", 7),
            Column::new("SCANREF", 10).grows(2),
            Column::new("TRY", 5).right(),
            Column::new("WEBHOOK", 10).grows(1),
        ],
        80..110 => vec![
            Column::new("ACCEPTED", 14),
            Column::new("CODE", 4).right(),
            Column::new("CLASS", 11),
            Column::new("STATE", 7),
            Column::new("SCANREF", 10).grows(2),
            Column::new("WEBHOOK", 10).grows(1),
            Column::new("TRY", 5).right(),
            Column::new("NEXT", 8),
        ],
        _ => vec![
            Column::new("ACCEPTED", 19),
            Column::new("CODE", 4).right(),
            Column::new("CLASS", 11),
            Column::new("STATE", 7),
            Column::new("SCANREF", 18).grows(3),
            Column::new("WEBHOOK", 12).grows(1),
            Column::new("EVENT TYPE", 18).grows(2),
            Column::new("TRY", 5).right(),
            Column::new("NEXT", 8),
            Column::new("TOOK", 6).right(),
        ],
    }
}

/// The list with its headings, in the whole of `pen`.
pub(crate) fn table(
    model: &Model,
    pen: &mut Pen<'_>,
    rows: &[DeliveryView],
    selected: Option<&str>,
    marked: &BTreeSet<String>,
) {
    list(model, pen, rows, selected, marked, false);
}

/// The newest, with the time of day only.
pub(crate) fn newest(model: &Model, pen: &mut Pen<'_>, rows: &[DeliveryView]) {
    list(model, pen, rows, None, &BTreeSet::new(), true);
}

fn list(
    model: &Model,
    pen: &mut Pen<'_>,
    rows: &[DeliveryView],
    selected: Option<&str>,
    marked: &BTreeSet<String>,
    today: bool,
) {
    let columns = columns(model, pen.width(), today);
    let table = Table::new(&columns, pen.width(), if model.wide { model.shift + 1 } else { 0 });
    table.headings(pen, 0, None);
    for (at, one) in rows.iter().take(pen.height().saturating_sub(1)).enumerate() {
        let cells: Vec<Cell> = columns.iter().map(|column| field(model, one, column)).collect();
        table.row(pen, at + 1, &cells, selected == Some(one.id.as_str()), marked.contains(&one.id));
    }
}

fn field(model: &Model, one: &DeliveryView, column: &Column) -> Cell {
    match column.title {
        "ACCEPTED" => {
            let how = if column.width > 14 { Shown::Full } else { Shown::MonthDay };
            text(shown_text(Some(&one.created_at), &model.zone, how))
        }
        "TIME" => text(shown_text(Some(&one.created_at), &model.zone, Shown::Time)),
        "CODE" => one.last_code.map_or(cell("-", Role::Dim), |code| cell(code.to_string(), words::role_of_code(code))),
        "CLASS" => one.last_code.map_or(Cell::default(), |code| cell(words::of_code(code), words::role_of_code(code))),
        "STATE" => {
            let (word, role) = words::of_delivery(one);
            cell(word, role)
        }
        "SCANREF" => words::of_reference(one).map_or(cell("-", Role::Dim), |reference| text(reference.to_owned())),
        "WEBHOOK" => text(one.webhook_name.clone()),
        "EVENT TYPE" => text(model.label_of(&one.event_type)),
        "TRY" => text(words::of_tries(one)),
        "NEXT" => text(words::of_next(model, one)),
        "TOOK" => text(one.last_duration_ms.map_or(String::new(), took)),
        _ => text(one.url.clone()),
    }
}

/// The chosen delivery as a whole, below the list.
fn pane(model: &Model, one: &DeliveryView, pen: &mut Pen<'_>) {
    pen.rule(0, words::of_reference(one).unwrap_or(&one.id), "Enter: open  v: payload");
    let line = format!("{}  ->  {}", one.webhook_name, one.url);
    pen.text(2, 1, &line, Role::Text);
    let (state, role) = words::of_delivery(one);
    let x = pen.text(2, 2, "State       ", Role::Dim);
    let x = pen.text(x, 2, state, role);
    let next = words::of_next(model, one);
    pen.text(x + 2, 2, &next, Role::Text);
    let facts = [
        ("Event type", model.label_of(&one.event_type).to_owned()),
        ("Event", one.event_id.clone()),
        ("Delivery", one.id.clone()),
        ("Last", words::of_last(one.last_code, one.last_error.as_deref())),
        ("Tries", tries(model, one)),
        ("Payload", plural(u64::from(one.payload_bytes), "byte", "bytes")),
        ("References", one.references.join("   ")),
    ];
    for (at, (name, value)) in facts.iter().enumerate() {
        pen.text(2, 3 + at, name, Role::Dim);
        pen.text(14, 3 + at, value, Role::Text);
    }
}

fn tries(model: &Model, one: &DeliveryView) -> String {
    let last = one.last_attempt_at.as_deref();
    match (one.state.as_str(), last) {
        ("skipped", None) => "none: the webhook's filter did not let it through".to_owned(),
        (_, None) => format!("none yet of {}", one.attempts_max),
        (_, Some(_)) => {
            let last = shown_text(last, &model.zone, Shown::Full);
            format!("{} of {}, the last at {last}", one.attempts_made, one.attempts_max)
        }
    }
}
