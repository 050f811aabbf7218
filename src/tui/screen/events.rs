//! The fourth tab: what apps posted, and to how many webhooks each went; also what went to nobody.
//!
//! It holds the window on the list and the filter, not the list.

use crate::admin::client::EventFilter;
use crate::admin::protocol::EventView;
use crate::tui::dialog::filter;
use crate::tui::keymap::Action;
use crate::tui::message::{Ask, Effect, Effects};
use crate::tui::model::{Asking, Model, Prompt, Tab};
use crate::tui::screen::deliveries::{held, point_in_time};
use crate::tui::screen::viewer::{Wanted, want};
use crate::tui::screen::{event, schema};
use crate::tui::text::{Shown, bytes, count, plural, safe, shown_text, wrapped};
use crate::tui::theme::Role;
use crate::tui::update::{act_in_tab, show};
use crate::tui::view::pen::{Pen, plain, span as piece};
use crate::tui::view::table::{Cell, Column, Table, cell, text};
use crate::tui::window::Window;

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct EventsTab {
    /// What of the list is in memory.
    pub window: Window<EventView>,
    /// What it is narrowed to. `since` and `until` are as typed.
    pub filter: EventFilter,
}

impl EventsTab {
    /// The filter as the daemon wants it.
    #[must_use]
    pub fn filter(&self, model: &Model) -> EventFilter {
        let at = |text: &Option<String>| {
            text.as_deref().map(|text| point_in_time(text, model).unwrap_or_else(|| text.to_owned()))
        };
        EventFilter { since: at(&self.filter.since), until: at(&self.filter.until), ..self.filter.clone() }
    }
}

/// Rows of the pane below the list.
const PANE: usize = 11;

/// Rows of the list.
pub(crate) fn height(model: &Model) -> usize {
    let pane = if model.is_large() { PANE } else { 0 };
    model.body_height().saturating_sub(pane + if model.is_small() { 1 } else { 3 }).max(1)
}

/// Asks for the part of the list that is missing.
pub(crate) fn refresh(model: &mut Model, out: &mut Effects) {
    if let Some((walk, part)) = model.events.window.wanted() {
        let filter = Box::new(model.events.filter(model));
        out.ask(Ask::Events { ticket: model.events.window.ticket, filter, walk, part });
    }
}

/// Shows what a filter lets through.
pub(crate) fn narrow(model: &mut Model, filter: EventFilter) {
    show(model, Tab::Events);
    model.events.filter = filter;
    model.events.window.restart();
}

/// Looks for a reference; without one, shows all again.
pub(crate) fn search(model: &mut Model, text: &str) {
    let reference = Some(text.to_owned()).filter(|text| !text.is_empty());
    narrow(model, EventFilter { reference, ..model.events.filter.clone() });
}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    if model.events.window.act(action) {
        return;
    }
    match action {
        Action::Back => return back(model),
        Action::Search => {
            let before = model.events.filter.reference.clone().unwrap_or_default();
            model.prompt = Some(Prompt::new(Asking::Search, "scanRef or other reference: ").with(before));
            return;
        }
        Action::Filter => return model.dialogs.push(Box::new(filter::events(model))),
        Action::Export => {
            model.prompt = Some(Prompt::new(Asking::ExportTo, "write to file: ").with("events.jsonl"));
            return;
        }
        _ => {}
    }
    if act_in_tab(model, action, out) {
        return;
    }
    let Some(chosen) = model.events.window.chosen().cloned() else { return };
    match action {
        Action::Open => event::open(model, &chosen, out),
        action => act_on(model, action, &chosen, out),
    }
}

/// What can be done with one event, wherever it is chosen.
pub(crate) fn act_on(model: &mut Model, action: Action, one: &EventView, out: &mut Effects) {
    match action {
        Action::Schema => schema::open(model, &one.event_type),
        Action::Payload => want(model, Wanted::ViewPayload, &one.id, out),
        Action::CopyPayload => want(model, Wanted::CopyPayload, &one.id, out),
        Action::CopyReference => {
            let (text, what) = match &one.scan_ref {
                Some(reference) => (reference.clone(), "the scanRef"),
                None => (one.id.clone(), "the id of the event"),
            };
            out.push(Effect::Copy { text, what: what.to_owned() });
        }
        _ => {}
    }
}

/// Clears the filter, then goes live.
fn back(model: &mut Model) {
    if model.events.filter != EventFilter::default() {
        narrow(model, EventFilter::default());
    } else if !model.events.window.live {
        model.events.window.go_live();
    }
}

/// The filter in words.
fn describe(filter: &EventFilter) -> String {
    let parts =
        [("ref", &filter.reference), ("type", &filter.event_type), ("since", &filter.since), ("until", &filter.until)];
    let told = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", safe(value.as_deref()?))));
    told.collect::<Vec<String>>().join(" ")
}

/// What stands at the right of the second line.
pub(crate) fn remark(model: &Model) -> String {
    held(model.events.window.live, model.events.window.newer)
}

/// To how many webhooks it went: `3`, `0: nobody`, `2 +1 skipped`.
pub(crate) fn went_to(one: &EventView) -> Cell {
    match (one.deliveries, one.skipped) {
        (0, 0) => cell("0: nobody", Role::Warning),
        (0, skipped) => cell(format!("0 +{skipped} skipped"), Role::Warning),
        (sent, 0) => text(sent.to_string()),
        (sent, skipped) => text(format!("{sent} +{skipped} skipped")),
    }
}

/// Why an event went to nobody, as far as that can be told now, and what to do; `None` when it went
/// to somebody. What is configured may have changed since it was accepted, so this says what is now.
pub(crate) fn why_nobody(model: &Model, one: &EventView) -> Option<String> {
    if one.deliveries > 0 {
        return None;
    }
    let label = safe(model.label_of(&one.event_type)).into_owned();
    let again =
        format!("e writes the payload to a file, `postrider event send {} FILE` posts it again", one.event_type);
    if one.skipped > 0 {
        let hooks = plural(u64::from(one.skipped), "webhook wants", "webhooks want");
        return Some(format!("{hooks} {label}, but no filter let this payload through: see Filter of the webhooks"));
    }
    let hooks = model.hooks.as_ref()?;
    let wants = |kinds: &[String]| kinds.iter().any(|kind| *kind == one.event_type || kind == "*");
    let (on, off): (Vec<_>, Vec<_>) =
        hooks.iter().filter(|hook| wants(&hook.event_types)).partition(|hook| hook.active);
    Some(match (on.first(), off.first()) {
        (Some(on), _) => {
            let name = safe(&on.name);
            format!("no webhook for {label} was active when it was accepted; {name} is now. {again}")
        }
        (None, Some(off)) => {
            let name = safe(&off.name);
            format!("{name} is for {label}, but it is off: 2, then Space turns it on. {again}")
        }
        (None, None) => format!("there is no webhook for {label}: 2, then n makes one. {again}"),
    })
}

fn columns(model: &Model, room: usize) -> Vec<Column> {
    if model.wide {
        return vec![
            Column::new("ACCEPTED", 19),
            Column::new("TYPE", 40),
            Column::new("REFERENCE", 40),
            Column::new("WENT TO", 14),
            Column::new("TOKEN", 24),
            Column::new("BYTES", 9).right(),
            Column::new("ID", 30),
        ];
    }
    match room {
        0..80 => vec![
            Column::new("TIME", 8),
            Column::new("TYPE", 12).grows(2),
            Column::new("REFERENCE", 12).grows(1),
            Column::new("WENT TO", 12),
        ],
        80..110 => vec![
            Column::new("ACCEPTED", 14),
            Column::new("TYPE", 14).grows(3),
            Column::new("REFERENCE", 12).grows(1),
            Column::new("WENT TO", 12),
            Column::new("TOKEN", 8),
            Column::new("BYTES", 8).right(),
        ],
        _ => vec![
            Column::new("ACCEPTED", 19),
            Column::new("TYPE", 16).grows(2),
            Column::new("REFERENCE", 16).grows(1),
            Column::new("WENT TO", 12),
            Column::new("TOKEN", 10),
            Column::new("BYTES", 8).right(),
            Column::new("ID", 30),
        ],
    }
}

fn field(model: &Model, one: &EventView, column: &Column) -> Cell {
    let at = |how| text(shown_text(Some(&one.created_at), &model.zone, how));
    match column.title {
        "ACCEPTED" if column.width > 14 => at(Shown::Full),
        "ACCEPTED" => at(Shown::MonthDay),
        "TIME" => at(Shown::Time),
        "TYPE" => text(model.label_of(&one.event_type)),
        "REFERENCE" => {
            let reference = one.scan_ref.as_ref().or(one.references.first());
            reference.map_or(cell("-", Role::Dim), |reference| text(reference.clone()))
        }
        "WENT TO" => went_to(one),
        "TOKEN" if one.token.is_empty() => cell("-", Role::Dim),
        "TOKEN" => text(one.token.clone()),
        "BYTES" => text(bytes(u64::from(one.payload_bytes))),
        _ => text(one.id.clone()),
    }
}

pub(crate) fn view(model: &Model, pen: &mut Pen<'_>) {
    let tab = &model.events;
    let small = model.is_small();
    if !small {
        head(model, pen);
    }
    let (top, rows) = (if small { 0 } else { 2 }, height(model));
    let room = pen.width();
    let mut part = pen.part(0, top, room, rows + 1);
    let columns = columns(model, room);
    let table = Table::new(&columns, room, if model.wide { model.shift + 1 } else { 0 });
    table.headings(&mut part, 0, None);
    for (at, one) in tab.window.visible().iter().take(rows).enumerate() {
        let cells: Vec<Cell> = columns.iter().map(|column| field(model, one, column)).collect();
        table.row(&mut part, at + 1, &cells, tab.window.selected.as_deref() == Some(one.id.as_str()), false);
    }
    let none = "nothing was posted yet; `postrider event send SOS_REPORT --example` posts an event";
    if let Some(text) = tab.window.instead(tab.filter != EventFilter::default(), none) {
        part.text(2, 1, &text, Role::Text);
    }
    if let (Some(chosen), true) = (tab.window.chosen(), model.is_large()) {
        let y = top + rows + 1;
        let rows = pen.height().saturating_sub(y);
        pane(model, chosen, &mut pen.part(0, y, room, rows));
    }
}

/// What was accepted so far, or the filter.
fn head(model: &Model, pen: &mut Pen<'_>) {
    let filter = &model.events.filter;
    if *filter != EventFilter::default() {
        let x = pen.text(2, 0, "only ", Role::Text);
        let x = pen.text(x, 0, &describe(filter), Role::Match);
        pen.text(x + 3, 0, "Esc: all", Role::Dim);
        return;
    }
    let Some(status) = &model.status else { return };
    let ingest = &status.ingest;
    let refused = if ingest.refused > 0 { Role::Warning } else { Role::Text };
    let state = match (ingest.accepting, ingest.reason.as_deref()) {
        (true, _) => piece(format!("accepting on {}", ingest.listen), Role::Text),
        (false, reason) => piece(format!("REFUSING: {}", reason.unwrap_or("not accepting")), Role::Bad),
    };
    pen.spans(
        2,
        0,
        &[
            plain(format!("accepted {}   ", count(ingest.accepted))),
            piece(format!("refused {}   ", count(ingest.refused)), refused),
            piece("since the start   ", Role::Dim),
            state,
        ],
    );
}

/// The chosen event as a whole, below the list.
fn pane(model: &Model, one: &EventView, pen: &mut Pen<'_>) {
    pen.rule(
        0,
        one.scan_ref.as_ref().or(one.references.first()).unwrap_or(&one.id),
        "Enter: open  v: payload  o: schema",
    );
    let lines = facts(model, one);
    for (at, (name, value)) in lines.iter().enumerate() {
        pen.text(2, 1 + at, name, Role::Dim);
        pen.text(14, 1 + at, &value.text, value.role);
    }
    if let Some(why) = why_nobody(model, one) {
        let room = pen.width().saturating_sub(15);
        for (at, line) in wrapped(&why, room).iter().enumerate() {
            pen.text(14, 1 + lines.len() + at, line, Role::Text);
        }
    }
}

/// What is known of an event, besides its deliveries.
pub(crate) fn facts(model: &Model, one: &EventView) -> Vec<(&'static str, Cell)> {
    let label = model.label_of(&one.event_type);
    let kind = if label == one.event_type { label.to_owned() } else { format!("{label}  ({})", safe(&one.event_type)) };
    let zone = model.zone.clone();
    let accepted = format!(
        "{} {}",
        shown_text(Some(&one.created_at), &zone, Shown::Full),
        crate::tui::text::zone_name(model.now, &zone)
    );
    let token = if one.token.is_empty() { "none was asked for".to_owned() } else { one.token.clone() };
    let references = if one.references.is_empty() { "none".to_owned() } else { one.references.join("   ") };
    vec![
        ("Event type", text(kind)),
        ("Event", text(one.id.clone())),
        ("Accepted", text(accepted)),
        ("Token", text(token)),
        ("Payload", text(format!("{}  {}", bytes(u64::from(one.payload_bytes)), one.content_type))),
        ("References", text(references)),
        ("Went to", went_to(one)),
    ]
}
