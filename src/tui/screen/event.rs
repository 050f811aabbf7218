//! One event: what was posted, with what, and what became of it at each webhook.
//!
//! It changes nothing: a delivery is resent where it is opened.

use std::time::Duration;

use crate::admin::protocol::{DeliveryView, EventView};
use crate::tui::keymap::{Action, Context};
use crate::tui::listing::Listing;
use crate::tui::message::{Answered, Ask, Effect, Effects, Got};
use crate::tui::model::{Asking, Fate, Model, Page, Prompt};
use crate::tui::screen::document::Document;
use crate::tui::screen::events::{act_on, facts, why_nobody};
use crate::tui::screen::{delivery, words};
use crate::tui::text::{Shown, bytes, short_url, shown_text, took, wrapped};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Cell, Column, Table, cell, text};
use crate::tui::window::Move;

/// Which part moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Deliveries,
    Payload,
}

/// One event.
pub struct EventPage {
    id: String,
    view: EventView,
    payload: Option<Document>,
    trouble: Option<String>,
    /// Which delivery is chosen.
    list: Listing,
    focus: Focus,
    busy: bool,
    stale: bool,
}

/// Opens an event.
pub(crate) fn open(model: &mut Model, one: &EventView, out: &mut Effects) {
    let mut page = EventPage {
        id: String::new(),
        view: EventView::default(),
        payload: None,
        trouble: None,
        list: Listing::default(),
        focus: Focus::Deliveries,
        busy: false,
        stale: false,
    };
    page.turn_to(one, out);
    model.pages.push(Box::new(page));
}

/// Where each part begins, and the last ends.
struct Plan {
    table: usize,
    rows: usize,
    payload: usize,
}

impl EventPage {
    /// Another event on the same page. What the list knew is shown until all of it is there.
    fn turn_to(&mut self, one: &EventView, out: &mut Effects) {
        self.id.clone_from(&one.id);
        self.view = one.clone();
        (self.payload, self.trouble, self.list) = (None, None, Listing::default());
        self.focus = if one.deliveries + one.skipped > 0 { Focus::Deliveries } else { Focus::Payload };
        (self.busy, self.stale) = (true, false);
        out.ask(Ask::Event(self.id.clone()));
        out.ask(Ask::EventPayload(self.id.clone()));
    }

    /// `None` until they are there.
    fn deliveries(&self) -> Option<&[DeliveryView]> {
        self.view.delivery_list.as_deref()
    }

    fn keys(&self) -> Vec<String> {
        self.deliveries().unwrap_or_default().iter().map(|one| one.id.clone()).collect()
    }

    fn at_cursor(&self) -> Option<&DeliveryView> {
        let selected = self.list.selected.as_deref()?;
        self.deliveries()?.iter().find(|one| one.id == selected)
    }

    fn step(&mut self, model: &mut Model, rows: isize, out: &mut Effects) {
        let window = &mut model.events.window;
        if window.selected.as_ref() != Some(&self.id) {
            return model.say("J and K go along the list of events; this one was not opened there");
        }
        window.go(Move::By(rows));
        match window.chosen().cloned() {
            Some(next) if next.id != self.id => self.turn_to(&next, out),
            _ => model.say(if rows > 0 { "this is the last of the list" } else { "this is the first of the list" }),
        }
    }

    fn export(&self, model: &mut Model) {
        match &self.payload {
            Some(payload) => {
                let asking = Asking::WriteTo(payload.bytes().to_vec());
                let name = format!("{}.json", self.id);
                model.prompt = Some(Prompt::new(asking, "write the payload to file: ").with(name));
            }
            None => model.say("the payload is not there yet"),
        }
    }

    fn plan(&self, model: &Model, height: usize) -> Plan {
        let head = if model.is_small() { 2 } else { 4 };
        let wanted = self.deliveries().map_or(1, <[DeliveryView]>::len).max(1);
        let most = (height / 3).max(2);
        // Why it went to nobody takes the place of rows.
        let rows = if wanted > 1 || self.view.deliveries > 0 { wanted.min(most) } else { 3.min(most) };
        Plan { table: head, rows, payload: head + 2 + rows + usize::from(!model.is_small()) }
    }
}

impl Page for EventPage {
    fn context(&self) -> Context {
        Context::Event
    }

    fn title(&self) -> String {
        let view = &self.view;
        view.scan_ref.as_ref().or(view.references.first()).unwrap_or(&self.id).clone()
    }

    fn remark(&self, _model: &Model) -> String {
        match self.focus {
            Focus::Deliveries => "Tab: payload".to_owned(),
            Focus::Payload => "Tab: deliveries".to_owned(),
        }
    }

    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate {
        let keys = self.keys();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        match action {
            Action::Back if self.payload.as_mut().is_some_and(Document::clear_search) => {}
            Action::Back | Action::Leave => return Fate::Close,
            Action::NextItem => self.step(model, 1, out),
            Action::PreviousItem => self.step(model, -1, out),
            Action::Next | Action::Previous => {
                self.focus = if self.focus == Focus::Payload { Focus::Deliveries } else { Focus::Payload };
            }
            Action::Open => match self.at_cursor().cloned() {
                Some(one) => delivery::open(model, &one, out),
                None => model.say("it has no delivery to open"),
            },
            Action::Search => model.prompt = Some(Prompt::new(Asking::Search, "/")),
            Action::Pager => {
                let text = self.payload.as_ref().map(Document::text);
                text.into_iter().for_each(|text| out.push(Effect::Page(text)));
            }
            Action::Export => self.export(model),
            Action::Up | Action::Down | Action::Top | Action::Bottom if self.focus == Focus::Deliveries => {
                self.list.act(action, &keys);
            }
            Action::Schema | Action::Payload | Action::CopyReference | Action::CopyPayload => {
                let view = self.view.clone();
                act_on(model, action, &view, out);
            }
            action => {
                if let Some(document) = &mut self.payload {
                    document.act(action);
                }
            }
        }
        Fate::Stay
    }

    fn search(&mut self, model: &mut Model, text: &str, _out: &mut Effects) {
        self.focus = Focus::Payload;
        if let Some(said) = self.payload.as_mut().and_then(|document| document.find(text)) {
            model.say(said);
        }
    }

    fn answered(&mut self, _model: &mut Model, answered: &Answered, _out: &mut Effects) {
        match (&answered.ask, &answered.got) {
            (Ask::Event(id), Ok(Got::Event(view))) if *id == self.id => {
                self.busy = false;
                self.trouble = None;
                self.view = (**view).clone();
            }
            (Ask::Event(id), Err(trouble)) if *id == self.id => {
                self.busy = false;
                self.trouble = Some(trouble.words().to_owned());
            }
            (Ask::EventPayload(id), Ok(Got::Payload { bytes, .. })) if *id == self.id && self.payload.is_none() => {
                self.payload = Some(Document::new(bytes.clone()));
            }
            (Ask::EventPayload(id), Err(trouble)) if *id == self.id => {
                self.trouble = Some(trouble.words().to_owned());
            }
            // What was asked of one of its deliveries shows at once.
            (Ask::Resend(_) | Ask::Cancel(_), Ok(_)) => self.stale = true,
            _ => {}
        }
    }

    fn refresh(&mut self, model: &mut Model, changed: bool, out: &mut Effects) {
        self.stale |= changed;
        let height = model.body_height();
        let plan = self.plan(model, height);
        let keys = self.keys();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.list.height = plan.rows;
        self.list.settle(&keys);
        if let Some(document) = &mut self.payload {
            document.height = height.saturating_sub(plan.payload + 1).max(1);
        }
        if self.stale && !self.busy {
            (self.stale, self.busy) = (false, true);
            out.ask(Ask::Event(self.id.clone()));
        }
    }

    fn wake(&self, model: &Model) -> Option<Duration> {
        let waits = |one: &DeliveryView| {
            one.state == "pending" && model.seconds_until(one.next_attempt_at.as_deref()).is_some()
        };
        let counts = self.deliveries().unwrap_or_default().iter().any(waits);
        counts.then(|| Duration::from_millis(1000 - model.now.millis() % 1000))
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        let plan = self.plan(model, pen.height());
        self.head(model, pen);
        let number = self.deliveries().map_or(self.view.deliveries.into(), <[DeliveryView]>::len);
        pen.rule(plan.table, &format!("Deliveries ({number})"), "Enter: open");
        let (columns, rows) = (pen.width(), plan.rows + 1);
        self.table(model, &mut pen.part(0, plan.table + 1, columns, rows));
        let rows = pen.height().saturating_sub(plan.payload);
        let mut part = pen.part(0, plan.payload, columns, rows);
        let kind = self.payload.as_ref().map_or("…", |payload| if payload.is_json { "JSON" } else { "text" });
        part.rule(0, "Payload", &format!("{}  {kind}", bytes(u64::from(self.view.payload_bytes))));
        let mut part = part.part(0, 1, columns, rows.saturating_sub(1));
        match (&self.payload, &self.trouble) {
            (Some(document), _) => document.view(&mut part, self.focus == Focus::Payload),
            (None, Some(why)) => drop(part.text(2, 0, why, Role::Bad)),
            (None, None) => drop(part.text(2, 0, "looking …", Role::Dim)),
        }
    }
}

impl EventPage {
    /// What was posted, and with what.
    fn head(&self, model: &Model, pen: &mut Pen<'_>) {
        let facts = facts(model, &self.view);
        let fact = |name: &str| {
            facts.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.text.as_str()).to_owned()
        };
        if model.is_small() {
            pen.text(2, 0, &fact("Event type"), Role::Text);
            pen.right(
                1,
                &format!("{} ", shown_text(Some(&self.view.created_at), &model.zone, Shown::MonthDay)),
                Role::Dim,
            );
            let room = pen.width().saturating_sub(17);
            pen.part(0, 1, room, 1).text(2, 0, &fact("References"), Role::Text);
            return;
        }
        let pairs = [("Event type", "Accepted"), ("Event", "Token"), ("References", "")];
        let second = if pen.width() >= 110 { 70 } else { 46 };
        for (y, (left, right)) in pairs.into_iter().enumerate() {
            let room = if right.is_empty() { pen.width() } else { second - 2 };
            let mut part = pen.part(0, y, room, 1);
            part.text(2, 0, left, Role::Dim);
            part.text(14, 0, &fact(left), Role::Text);
            if !right.is_empty() {
                let x = pen.text(second, y, right, Role::Dim);
                pen.text(x + 2, y, &fact(right), Role::Text);
            }
        }
    }

    fn table(&self, model: &Model, pen: &mut Pen<'_>) {
        let Some(list) = self.deliveries() else {
            let said = self.trouble.as_deref().unwrap_or("looking …");
            pen.text(2, 0, said, if self.trouble.is_some() { Role::Bad } else { Role::Dim });
            return;
        };
        if list.is_empty() {
            let why = why_nobody(model, &self.view).unwrap_or_else(|| "it went to nobody".to_owned());
            for (y, line) in wrapped(&why, pen.width().saturating_sub(3)).iter().enumerate() {
                pen.text(2, y, line, Role::Warning);
            }
            return;
        }
        let wide = pen.width() >= 110;
        let mut columns = vec![
            Column::new("WEBHOOK", 12).grows(1),
            Column::new("STATE", 7),
            Column::new("CODE", 4).right(),
            Column::new("CLASS", 11),
            Column::new("TRY", 5).right(),
            Column::new("NEXT", 10),
        ];
        if wide {
            columns.push(Column::new("LAST", 19));
            columns.push(Column::new("TOOK", 6).right());
            columns.push(Column::new("RECEIVER", 20).grows(2).middle());
        }
        let table = Table::new(&columns, pen.width(), 0);
        table.headings(pen, 0, None);
        let rows = pen.height().saturating_sub(1);
        for (y, one) in list.iter().skip(self.list.top).take(rows).enumerate() {
            let chosen = self.focus == Focus::Deliveries && self.list.selected.as_deref() == Some(one.id.as_str());
            table.row(pen, y + 1, &row(model, one), chosen, false);
        }
    }
}

fn row(model: &Model, one: &DeliveryView) -> Vec<Cell> {
    let (state, role) = words::of_delivery(one);
    let code = one.last_code;
    let of_code = |shown: fn(u16) -> String, none: &str| {
        code.map_or(cell(none, Role::Dim), |code| cell(shown(code), words::role_of_code(code)))
    };
    vec![
        text(one.webhook_name.clone()),
        cell(state, role),
        of_code(|code| code.to_string(), "-"),
        of_code(|code| words::of_code(code).to_owned(), ""),
        text(format!("{}/{}", one.attempts_made, one.attempts_max)),
        text(words::of_next(model, one)),
        text(shown_text(one.last_attempt_at.as_deref(), &model.zone, Shown::Full)),
        text(one.last_duration_ms.map_or(String::new(), took)),
        text(short_url(&one.url)),
    ]
}
