//! The JSON Schema of an event type and an example of a payload, on a large screen side by side, with
//! what is to be known about the field one is at.
//!
//! It shows what the daemon has, of its own types and of the operator's; it checks nothing.

mod facts;

use serde_json::Value;

use crate::tui::dialog::picker;
use crate::tui::keymap::{Action, Context};
use crate::tui::message::{Answered, Ask, Effect, Effects, Got};
use crate::tui::model::{Asking, Fate, Model, Page, Prompt};
use crate::tui::screen::document::Document;
use crate::tui::text::wrapped;
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// Rows of the facts about a field, their heading among them.
const FACTS: usize = 6;

/// A text of the daemon's.
enum Side {
    /// Not asked for yet.
    Wanted,
    /// Being asked for.
    Asked,
    /// Here.
    There(Box<Document>),
    /// Not to be had, and why.
    Missing(String),
}

impl Side {
    fn document(&self) -> Option<&Document> {
        match self {
            Self::There(document) => Some(document),
            _ => None,
        }
    }
}

/// The page.
pub struct Schema {
    /// Names of the types that can be looked at.
    types: Vec<String>,
    /// The one that is.
    at: usize,
    schema: Side,
    example: Side,
    /// The schema as a value, for what is said about fields.
    value: Value,
    on_example: bool,
}

/// Opens the schema of an event type, by its name.
pub(crate) fn open(model: &mut Model, name: &str) {
    open_types(model, &[name.to_owned()]);
}

/// Opens the schemas of these types. Of every event, one type has to be chosen first.
pub(crate) fn open_types(model: &mut Model, names: &[String]) {
    let types: Vec<String> = names.iter().filter(|name| *name != "*").cloned().collect();
    if types.is_empty() && model.types.is_empty() {
        return model.say("the event types are not known yet; try again in a moment");
    }
    if types.is_empty() {
        model.say(if names.is_empty() {
            "no event type is chosen yet"
        } else {
            "it gets every event: choose one type"
        });
        let dialog = picker::EventTypes::one(model);
        return model.dialogs.push(Box::new(dialog));
    }
    model.pages.push(Box::new(Schema::of(types)));
}

impl Schema {
    fn of(types: Vec<String>) -> Self {
        let (schema, example) = (Side::Wanted, Side::Wanted);
        Self { types, at: 0, schema, example, value: Value::Null, on_example: false }
    }

    fn name(&self) -> &str {
        self.types.get(self.at).map_or("", String::as_str)
    }

    /// The side that keys move in.
    fn side(&self) -> &Side {
        if self.on_example { &self.example } else { &self.schema }
    }

    fn document_mut(&mut self) -> Option<&mut Document> {
        match if self.on_example { &mut self.example } else { &mut self.schema } {
            Side::There(document) => Some(document),
            _ => None,
        }
    }

    /// Goes to another type of the webhook.
    fn turn(&mut self, model: &mut Model, by: isize) {
        let number = self.types.len();
        if number < 2 {
            return model.say("the webhook has one event type");
        }
        let at = (self.at + number).wrapping_add_signed(by) % number;
        let on_example = self.on_example;
        *self = Self { at, on_example, ..Self::of(std::mem::take(&mut self.types)) };
    }

    /// Rows of a document on a screen of this size.
    fn height(model: &Model) -> usize {
        let body = model.body_height();
        if model.is_large() {
            body.saturating_sub(2 + FACTS)
        } else {
            body.saturating_sub(if model.is_small() { 1 } else { 2 })
        }
    }

    fn fit(&mut self, model: &Model) {
        let height = Self::height(model);
        for side in [&mut self.schema, &mut self.example] {
            if let Side::There(document) = side {
                document.height = height;
            }
        }
    }

    fn take(&self, got: &Result<Got, crate::tui::message::Trouble>) -> Side {
        match got {
            Ok(Got::Payload { bytes, .. }) => Side::There(Box::new(Document::new(bytes.clone()))),
            Ok(_) => Side::Missing("the daemon's answer makes no sense".to_owned()),
            Err(trouble) => Side::Missing(trouble.words().to_owned()),
        }
    }

    /// What a copy or a file is called.
    fn what(&self) -> &'static str {
        if self.on_example { "example" } else { "schema" }
    }

    fn file(&self) -> String {
        let name: String = self.name().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("{name}.{}.json", self.what())
    }

    fn give(&self, model: &mut Model, action: Action, out: &mut Effects) {
        let Some(document) = self.side().document() else {
            return model.say(format!("there is no {} here", self.what()));
        };
        match action {
            Action::CopyReference => {
                let what = format!("the {} of {}", self.what(), model.label_of(self.name()));
                out.push(Effect::Copy { text: document.text(), what });
            }
            Action::Pager => out.push(Effect::Page(document.text())),
            Action::Search => model.prompt = Some(Prompt::new(Asking::Search, "/")),
            _ => {
                let asking = Asking::WriteTo(document.bytes().to_vec());
                model.prompt = Some(Prompt::new(asking, "write to file: ").with(self.file()));
            }
        }
    }
}

impl Page for Schema {
    fn context(&self) -> Context {
        Context::Schema
    }

    fn title(&self) -> String {
        "JSON schema".to_owned()
    }

    fn remark(&self, _model: &Model) -> String {
        let place = self.side().document().map_or(String::new(), Document::place);
        match self.types.len() {
            1 => place,
            number => format!("type {} of {number}  {place}", self.at + 1),
        }
    }

    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate {
        self.fit(model);
        match action {
            Action::Back | Action::Leave => {
                let searched = self.document_mut().is_some_and(Document::clear_search);
                return if action == Action::Back && searched { Fate::Stay } else { Fate::Close };
            }
            Action::Example => self.on_example = !self.on_example,
            Action::NextItem | Action::Next => self.turn(model, 1),
            Action::PreviousItem | Action::Previous => self.turn(model, -1),
            Action::CopyReference | Action::Pager | Action::Export | Action::Search => self.give(model, action, out),
            action => {
                if let Some(document) = self.document_mut() {
                    document.act(action);
                }
            }
        }
        Fate::Stay
    }

    fn search(&mut self, model: &mut Model, text: &str, _out: &mut Effects) {
        self.fit(model);
        if let Some(said) = self.document_mut().and_then(|document| document.find(text)) {
            model.say(said);
        }
    }

    fn answered(&mut self, model: &mut Model, answered: &Answered, _out: &mut Effects) {
        match &answered.ask {
            Ask::TypeSchema(name) if name == self.name() => {
                self.schema = self.take(&answered.got);
                let bytes = self.schema.document().map_or(&[][..], Document::bytes);
                self.value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
            }
            Ask::TypeExample(name) if name == self.name() => self.example = self.take(&answered.got),
            _ => return,
        }
        self.fit(model);
    }

    fn refresh(&mut self, model: &mut Model, _changed: bool, out: &mut Effects) {
        self.fit(model);
        let both = model.is_large();
        let name = self.name().to_owned();
        if matches!(self.schema, Side::Wanted) && (both || !self.on_example) {
            self.schema = Side::Asked;
            out.ask(Ask::TypeSchema(name.clone()));
        }
        if matches!(self.example, Side::Wanted) && (both || self.on_example) {
            self.example = Side::Asked;
            out.ask(Ask::TypeExample(name));
        }
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        self.head(model, pen);
        let (columns, rows) = (pen.width(), pen.height());
        if !model.is_large() {
            let top = if model.is_small() { 1 } else { 2 };
            if top == 2 {
                pen.rule(1, "", "");
            }
            let mut part = pen.part(0, top, columns, rows.saturating_sub(top));
            return draw(self.side(), true, &mut part);
        }
        let half = columns * 7 / 12;
        let height = Self::height(model);
        let mut left = pen.part(0, 1, half, height + 1);
        left.rule(0, "Schema", "");
        draw(&self.schema, !self.on_example, &mut left.part(0, 1, half, height));
        let mut bar = pen.part(half, 1, 1, rows.saturating_sub(1));
        bar.bar(0);
        let right_columns = columns.saturating_sub(half + 1);
        let mut right = pen.part(half + 1, 1, right_columns, rows.saturating_sub(1));
        right.rule(0, "Example payload", "");
        draw(&self.example, self.on_example, &mut right.part(0, 1, right_columns, rows.saturating_sub(2)));
        let mut below = pen.part(0, height + 2, half, rows.saturating_sub(height + 2));
        self.facts(model, &mut below);
    }
}

impl Schema {
    /// The type, and which of the two is looked at.
    fn head(&self, model: &Model, pen: &mut Pen<'_>) {
        let label = model.label_of(self.name());
        let mut x = pen.text(2, 0, label, Role::Heading) + 3;
        let titles = [(" Schema ", "[Schema]", !self.on_example), (" Example ", "[Example]", self.on_example)];
        for (plain, bracketed, chosen) in titles {
            let begin = x;
            x = pen.text(x, 0, if chosen { bracketed } else { plain }, Role::Text);
            if chosen {
                pen.choose(begin, 0, x - begin);
            }
            x += 1;
        }
        let example = model.keymap.keys(Context::Schema, Action::Example).first();
        if let Some(key) = example {
            pen.text(x, 0, &format!("{key}: the other"), Role::Dim);
        }
    }

    /// What is to be known about the field one is at.
    fn facts(&self, model: &Model, pen: &mut Pen<'_>) {
        let pointer = self.side().document().map_or(String::new(), Document::pointer);
        let facts = facts::of(&self.value, &pointer, self.on_example);
        let columns = pen.width();
        let Some(facts) = facts else {
            pen.rule(0, "Field", "");
            pen.text(2, 1, "path", Role::Dim);
            pen.text(13, 1, "the whole payload", Role::Text);
            pen.text(2, 2, "used by", Role::Dim);
            pen.text(13, 2, &self.users(model, columns.saturating_sub(15)), Role::Text);
            return;
        };
        pen.rule(0, &format!("Field: {}", facts.name), "");
        let meaning = wrapped(&facts.meaning, columns.saturating_sub(15));
        let mut y = 1;
        for (label, text) in [("path", &facts.path), ("type", &facts.kind)] {
            pen.text(2, y, label, Role::Dim);
            pen.text(13, y, text, Role::Text);
            y += 1;
        }
        pen.text(2, y, "meaning", Role::Dim);
        for line in meaning.iter().take(2) {
            pen.text(13, y, line, Role::Text);
            y += 1;
        }
        pen.text(2, y, "used by", Role::Dim);
        pen.text(13, y, &self.users(model, columns.saturating_sub(15)), Role::Text);
    }

    /// Webhooks that get events of the type.
    fn users(&self, model: &Model, columns: usize) -> String {
        let wants = |types: &[String]| crate::domain::event_type::matching(types, self.name()).is_some();
        let hooks = model.hooks.iter().flatten().filter(|hook| wants(&hook.event_types));
        let names: Vec<&str> = hooks.map(|hook| hook.name.as_str()).collect();
        if names.is_empty() {
            return "no webhook".to_owned();
        }
        for shown in (1..=names.len()).rev() {
            let more = names.len() - shown;
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let text = format!("{}{more}", names[..shown].join(", "));
            if crate::tui::text::width(&text) <= columns || shown == 1 {
                return text;
            }
        }
        String::new()
    }
}

fn draw(side: &Side, focus: bool, pen: &mut Pen<'_>) {
    match side {
        Side::There(document) => document.view(pen, focus),
        Side::Missing(why) => {
            let columns = pen.width().saturating_sub(4);
            for (y, line) in wrapped(why, columns).iter().enumerate() {
                pen.text(2, y, line, Role::Text);
            }
        }
        Side::Wanted | Side::Asked => {
            pen.text(2, 0, "waiting for the daemon ...", Role::Dim);
        }
    }
}
