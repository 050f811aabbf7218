//! One delivery: how it stands, every attempt with where its time went, what is planned, and what was
//! sent.
//!
//! Of a receiver's answer there is a code and no more, and the page says so.

use crate::admin::protocol::{AttemptView, DeliveryView};
use crate::domain::text::printable;
use crate::tui::keymap::{Action, Context};
use crate::tui::message::{Answered, Ask, Effect, Effects, Got};
use crate::tui::model::{Asking, Fate, Model, Page, Prompt};
use crate::tui::screen::deliveries::act_on;
use crate::tui::screen::document::Document;
use crate::tui::screen::words;
use crate::tui::text::{Shown, bytes, fit, instant, shown, shown_text, span, took};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Cell, Column, Table, cell, text};
use crate::tui::window::Move;

/// What is in the lower part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lower {
    Payload,
    Request,
}

/// Which part moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Attempts,
    Lower,
}

/// One delivery.
pub struct DeliveryPage {
    id: String,
    view: Option<DeliveryView>,
    payload: Option<Document>,
    request: Option<Document>,
    trouble: Option<String>,
    /// Place of the chosen attempt; `None` for the last.
    attempt: Option<usize>,
    lower: Lower,
    focus: Focus,
    busy: bool,
    stale: bool,
}

/// Opens a delivery.
pub(crate) fn open(model: &mut Model, one: &DeliveryView, out: &mut Effects) {
    let mut page = DeliveryPage {
        id: String::new(),
        view: None,
        payload: None,
        request: None,
        trouble: None,
        attempt: None,
        lower: Lower::Payload,
        focus: Focus::Lower,
        busy: false,
        stale: false,
    };
    page.turn_to(one, out);
    model.pages.push(Box::new(page));
}

impl DeliveryPage {
    /// Another delivery on the same page. What the list knew is shown until all of it is there.
    fn turn_to(&mut self, one: &DeliveryView, out: &mut Effects) {
        self.id.clone_from(&one.id);
        self.view = Some(one.clone());
        (self.payload, self.request, self.trouble, self.attempt) = (None, None, None, None);
        (self.busy, self.stale) = (true, false);
        out.ask(Ask::Delivery(self.id.clone()));
        out.ask(Ask::Payload(self.id.clone()));
    }

    fn attempts(&self) -> &[AttemptView] {
        self.view.as_ref().and_then(|view| view.attempts.as_deref()).unwrap_or_default()
    }

    fn step(&mut self, model: &mut Model, rows: isize, out: &mut Effects) {
        if model.deliveries.window.selected.as_ref() != Some(&self.id) {
            return model.say("J and K go along the list of deliveries; this one was not opened there");
        }
        model.deliveries.window.go(Move::By(rows));
        match model.deliveries.window.chosen().cloned() {
            Some(next) if next.id != self.id => self.turn_to(&next, out),
            _ => model.say(if rows > 0 { "this is the last of the list" } else { "this is the first of the list" }),
        }
    }

    fn document(&mut self) -> Option<&mut Document> {
        match self.lower {
            Lower::Payload => self.payload.as_mut(),
            Lower::Request => self.request.as_mut(),
        }
    }

    fn move_attempt(&mut self, by: isize) {
        let last = self.attempts().len().saturating_sub(1);
        let from = self.attempt.unwrap_or(last);
        self.attempt = Some(from.saturating_add_signed(by).min(last));
    }

    fn export(&self, model: &mut Model) {
        if let Some(payload) = &self.payload {
            let asking = Asking::WriteTo(payload.bytes().to_vec());
            let name = format!("{}.json", self.id);
            model.prompt = Some(Prompt::new(asking, "write the payload to file: ").with(name));
        }
    }
}

/// The request as text: what a receiver reads, secrets masked.
fn request_text(view: &DeliveryView) -> Option<String> {
    let request = view.request.as_ref()?;
    let path = request.url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("/");
    let mut text = format!("{} {} HTTP/1.1\n", request.method, printable(path));
    for (name, value) in &request.headers {
        let value = if value == "…" { "********" } else { value };
        text.push_str(&format!("{}: {}\n", printable(name), printable(value)));
    }
    Some(text)
}

impl Page for DeliveryPage {
    fn context(&self) -> Context {
        Context::Delivery
    }

    fn offers(&self, action: Action) -> bool {
        let is_over = self.view.as_ref().is_some_and(|view| view.state != "pending");
        !(is_over && action == Action::Stop)
    }

    fn title(&self) -> String {
        let view = self.view.as_ref();
        view.and_then(words::of_reference).unwrap_or(&self.id).to_owned()
    }

    fn remark(&self, _model: &Model) -> String {
        match self.focus {
            Focus::Attempts => "Tab: payload".to_owned(),
            Focus::Lower => "Tab: attempts".to_owned(),
        }
    }

    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate {
        match action {
            Action::Back if self.document().is_some_and(|document| document.clear_search()) => {}
            Action::Back | Action::Leave => return Fate::Close,
            Action::NextItem => self.step(model, 1, out),
            Action::PreviousItem => self.step(model, -1, out),
            Action::Next | Action::Previous => {
                self.focus = if self.focus == Focus::Attempts { Focus::Lower } else { Focus::Attempts };
            }
            Action::Request => {
                self.lower = if self.lower == Lower::Request { Lower::Payload } else { Lower::Request };
            }
            Action::Search => model.prompt = Some(Prompt::new(Asking::Search, "/")),
            Action::Pager => {
                let text = self.document().map(|document| document.text());
                text.into_iter().for_each(|text| out.push(Effect::Page(text)));
            }
            Action::Export => self.export(model),
            Action::Up if self.focus == Focus::Attempts => self.move_attempt(-1),
            Action::Down if self.focus == Focus::Attempts => self.move_attempt(1),
            Action::Resend
            | Action::Stop
            | Action::CopyReference
            | Action::CopyPayload
            | Action::CopyCurl
            | Action::Payload => {
                if let Some(view) = self.view.clone() {
                    act_on(model, action, &view, out);
                }
            }
            action => {
                if let Some(document) = self.document() {
                    document.act(action);
                }
            }
        }
        Fate::Stay
    }

    fn search(&mut self, model: &mut Model, text: &str, _out: &mut Effects) {
        self.focus = Focus::Lower;
        if let Some(said) = self.document().and_then(|document| document.find(text)) {
            model.say(said);
        }
    }

    fn answered(&mut self, _model: &mut Model, answered: &Answered, out: &mut Effects) {
        match (&answered.ask, &answered.got) {
            (Ask::Delivery(id), Ok(Got::Delivery(view))) if *id == self.id => {
                self.busy = false;
                self.request = request_text(view).map(|text| Document::new(text.into_bytes()));
                self.view = Some((**view).clone());
            }
            (Ask::Payload(id), Ok(Got::Payload { bytes, .. })) if *id == self.id && self.payload.is_none() => {
                self.payload = Some(Document::new(bytes.clone()));
            }
            (Ask::Delivery(id), Err(trouble)) if *id == self.id => {
                self.busy = false;
                self.trouble = Some(trouble.words().to_owned());
            }
            // What was just asked for shows at once.
            (Ask::Resend(id) | Ask::Cancel(id), Ok(_)) if *id == self.id => {
                self.busy = true;
                out.ask(Ask::Delivery(self.id.clone()));
            }
            _ => {}
        }
    }

    fn refresh(&mut self, model: &mut Model, changed: bool, out: &mut Effects) {
        self.stale |= changed;
        let height = model.body_height();
        if let Some(document) = self.document() {
            document.height = (height / 2).max(3);
        }
        if self.stale && !self.busy {
            (self.stale, self.busy) = (false, true);
            out.ask(Ask::Delivery(self.id.clone()));
        }
    }

    fn wake(&self, model: &Model) -> Option<std::time::Duration> {
        let view = self.view.as_ref()?;
        let counts = view.state == "pending" && model.seconds_until(view.next_attempt_at.as_deref()).is_some();
        counts.then(|| std::time::Duration::from_millis(1000 - model.now.millis() % 1000))
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        let Some(view) = &self.view else {
            pen.text(2, 0, self.trouble.as_deref().unwrap_or("looking …"), Role::Text);
            return;
        };
        let mut y = head(model, view, pen);
        if let Some(why) = &self.trouble {
            pen.text(2, y, why, Role::Bad);
            y += 1;
        }
        y = self.timeline(model, view, pen, y);
        y = self.table(model, view, pen, y);
        self.lower(model, pen, y);
    }
}

/// Where it goes and how it stands.
fn head(model: &Model, view: &DeliveryView, pen: &mut Pen<'_>) -> usize {
    let route = format!("{}  ->  {}  ->  {}", model.label_of(&view.event_type), view.webhook_name, view.url);
    pen.text(2, 0, &route, Role::Text);
    let (word, role) = words::of_delivery(view);
    let x = pen.text(2, 1, "State  ", Role::Dim);
    let x = pen.text(x, 1, word, role);
    let next = view.next_attempt_at.as_deref().filter(|_| view.state == "pending");
    let told = match (next, view.state.as_str()) {
        (Some(at), _) => {
            let when = shown_text(Some(at), &model.zone, Shown::Time);
            let left = words::of_next(model, view);
            format!("try {} of {}, next {when} ({left})", view.attempts_made + 1, view.attempts_max)
        }
        (None, "failed") => format!("gave up after {} of {} tries", view.attempts_made, view.attempts_max),
        (None, "skipped") => "the webhook's filter did not let it through".to_owned(),
        _ => format!("{} of {} tries", view.attempts_made, view.attempts_max),
    };
    let x = pen.text(x + 2, 1, &told, Role::Text);
    let mut x = x;
    if let Some(dead) = view.dead_links.filter(|dead| *dead > 0) {
        x = pen.text(x + 3, 1, &format!("{dead} links in it have likely expired"), Role::Warning);
    }
    let made = format!("made {} ", shown_text(Some(&view.created_at), &model.zone, Shown::MonthDay));
    if x + 4 + made.len() < pen.width() {
        pen.right(1, &made, Role::Dim);
    }
    if pen.height() <= 14 {
        return 2;
    }
    if let Some(code) = view.last_code.filter(|code| !(200..300).contains(code)) {
        let x = pen.text(2, 2, "Last   ", Role::Dim);
        pen.text(x, 2, &words::of_last(Some(code), view.last_error.as_deref()), words::role_of_code(code));
    }
    3
}

impl DeliveryPage {
    /// A line of time: attempts made by the digit of their class, what is next, what is planned.
    fn timeline(&self, model: &Model, view: &DeliveryView, pen: &mut Pen<'_>, y: usize) -> usize {
        let zone = crate::tui::text::zone_name(model.now, &model.zone);
        pen.rule(y, &format!("Attempts ({zone})"), "digit: class   o: next   .: planned");
        if pen.height() < 14 {
            return y + 1;
        }
        let made = self.attempts();
        let waits = view.state == "pending";
        let planned = if waits { usize::from(view.attempts_max.saturating_sub(view.attempts_made)) } else { 0 };
        let room = pen.width().saturating_sub(14);
        let step = (room / (made.len() + planned).max(1)).clamp(1, 12);
        let most = (room / step).max(1);
        let skip = (made.len() + planned.min(3)).saturating_sub(most).min(made.len());
        let (mut x, mut label) = (2, 2);
        let line = pen.glyphs().rule.to_string();
        for (at, attempt) in made.iter().enumerate().skip(skip) {
            let digit = attempt.class.chars().next().unwrap_or('?');
            pen.text(x, y + 2, &digit.to_string(), crate::tui::theme::of_class(&attempt.class));
            if x >= label {
                label =
                    pen.text(x, y + 1, &shown_text(Some(&attempt.started_at), &model.zone, Shown::Time), Role::Dim) + 2;
            }
            if at + 1 < made.len() + planned {
                pen.text(x + 1, y + 2, &line.repeat(step - 1), Role::Dim);
            }
            x += step;
        }
        for at in 0..planned.min(most.saturating_sub(made.len() - skip)) {
            pen.text(x, y + 2, if at == 0 { "o" } else { "." }, Role::Waiting);
            if at == 0 && x >= label {
                label = pen.text(
                    x,
                    y + 1,
                    &shown_text(view.next_attempt_at.as_deref(), &model.zone, Shown::Time),
                    Role::Waiting,
                ) + 2;
            }
            if at + 1 < planned {
                pen.text(x + 1, y + 2, &" ".repeat(step - 1), Role::Dim);
            }
            x += step;
        }
        y + 3
    }

    fn table(&self, model: &Model, view: &DeliveryView, pen: &mut Pen<'_>, y: usize) -> usize {
        let wide = pen.width() >= 110;
        let mut columns = vec![
            Column::new("#", 3).right(),
            Column::new("STARTED", 12),
            Column::new("CODE", 4).right(),
            Column::new("CLASS", 11),
            Column::new("TOOK", 6).right(),
            Column::new("DNS", 5).right(),
            Column::new("CONN", 5).right(),
            Column::new("TLS", 5).right(),
            Column::new("WAIT", 6).right(),
        ];
        if wide {
            columns.push(Column::new("PEER", 22));
        }
        columns.push(Column::new("WHY", 6).grows(1));
        let table = Table::new(&columns, pen.width(), 0);
        let attempts = self.attempts();
        let room = if pen.height() < 14 { 2 } else { (pen.height() / 3).max(3) };
        table.headings(pen, y, None);
        if attempts.is_empty() {
            let text = if self.busy { "looking …" } else { "no attempt was made yet" };
            pen.text(2, y + 1, text, Role::Text);
            return y + 2;
        }
        let chosen = self.attempt.unwrap_or(attempts.len() - 1).min(attempts.len() - 1);
        let rows = attempts.len().min(room);
        let top = (chosen + 1).saturating_sub(rows);
        for (at, attempt) in attempts.iter().enumerate().skip(top).take(rows) {
            let is_chosen = self.focus == Focus::Attempts && at == chosen;
            let mut cells = attempt_row(model, attempt);
            if wide {
                cells.push(text(attempt.peer.clone().unwrap_or_default()));
            }
            cells.push(text(why(view, attempt)));
            table.row(pen, y + 1 + at - top, &cells, is_chosen, false);
        }
        y + 1 + rows
    }

    fn lower(&self, model: &Model, pen: &mut Pen<'_>, y: usize) {
        let (columns, rows) = (pen.width(), pen.height().saturating_sub(y));
        let size = self.view.as_ref().map_or(0, |view| u64::from(view.payload_bytes));
        let kind = match &self.payload {
            Some(payload) if payload.is_json => "JSON",
            Some(_) => "text",
            None => "…",
        };
        let facts = format!("{}  {kind}", bytes(size));
        let sent = self
            .attempts()
            .last()
            .map_or("Request as it will be sent".to_owned(), |last| format!("Request as sent (#{})", last.number));
        let focus = self.focus == Focus::Lower;
        if model.is_large() {
            let half = columns * 3 / 5;
            let mut left = pen.part(0, y, half, rows);
            left.rule(0, "Payload", &facts);
            document(&self.payload, &mut left, focus && self.lower == Lower::Payload);
            let mut bar = pen.part(half, y + 1, 1, rows.saturating_sub(1));
            bar.bar(0);
            let mut right = pen.part(half, y, columns - half, rows);
            right.rule(0, &sent, "");
            let mut right = pen.part(half + 2, y, columns.saturating_sub(half + 2), rows);
            document(&self.request, &mut right, focus && self.lower == Lower::Request);
            self.answer(&mut right);
            return;
        }
        let title = match self.lower {
            Lower::Payload => "[Payload]  Request headers (i)".to_owned(),
            Lower::Request => format!("Payload (i)  [{sent}]"),
        };
        let mut part = pen.part(0, y, columns, rows);
        part.rule(0, &title, &facts);
        match self.lower {
            Lower::Payload => document(&self.payload, &mut part, focus),
            Lower::Request => {
                document(&self.request, &mut part, focus);
                self.answer(&mut part);
            }
        }
    }

    /// What is known of the answer, and what is not kept.
    fn answer(&self, pen: &mut Pen<'_>) {
        let y = self.request.as_ref().map_or(0, Document::len) + 2;
        if let Some(last) = self.attempts().last()
            && y + 1 < pen.height()
        {
            let said = words::of_last(Some(last.code), last.error.as_deref());
            let glyphs = pen.glyphs();
            pen.text(2, y, &fit(&format!("Response  {said}"), 60, &glyphs), words::role_of_code(last.code));
            pen.text(2, y + 1, "its headers and body are not kept", Role::Dim);
        }
    }
}

fn document(document: &Option<Document>, pen: &mut Pen<'_>, focus: bool) {
    let (columns, rows) = (pen.width(), pen.height().saturating_sub(1));
    let mut part = pen.part(0, 1, columns, rows);
    match document {
        Some(document) => document.view(&mut part, focus),
        None => {
            part.text(2, 0, "looking …", Role::Dim);
        }
    }
}

fn attempt_row(model: &Model, attempt: &AttemptView) -> Vec<Cell> {
    let phase = |millis: Option<f64>| text(millis.map_or("-".to_owned(), took));
    let role = words::role_of_code(attempt.code);
    vec![
        text(attempt.number.to_string()),
        text(instant(&attempt.started_at).map_or("-".to_owned(), |at| shown(at, &model.zone, Shown::Millis))),
        cell(attempt.code.to_string(), role),
        cell(words::of_code(attempt.code), role),
        text(took(attempt.duration_ms)),
        phase(attempt.dns_ms),
        phase(attempt.connect_ms),
        phase(attempt.tls_ms),
        phase(attempt.first_byte_ms),
    ]
}

/// What an attempt was made for, and why there was no response.
fn why(view: &DeliveryView, attempt: &AttemptView) -> String {
    if let Some(error) = &attempt.error {
        return words::of_error(error).to_owned();
    }
    match (attempt.cause.as_str(), attempt.number) {
        ("resend", _) => "resent by hand".to_owned(),
        (_, 1) => {
            let waited = instant(&attempt.started_at).zip(instant(&view.created_at));
            let waited = waited.map_or(0, |(started, made)| started.since(made).as_secs());
            if waited > 5 { format!("first, waited {}", span(waited)) } else { "first".to_owned() }
        }
        _ => "retry".to_owned(),
    }
}
