//! What a list is narrowed to, field by field.
//!
//! Everything can also be typed as `:d class=5xx webhook=NAME since=1h`; the dialog says so by showing it.

use tui_input::Input;

use crate::admin::client::{DeliveryFilter, EventFilter};
use crate::tui::keys::{Code, Key};
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::screen::{deliveries, events};
use crate::tui::theme::Role;
use crate::tui::update::{insert, type_into};
use crate::tui::view::pen::Pen;

/// A field: its name in `:d`, its label, and what may stand in it.
const DELIVERIES: [(&str, &str, &str); 9] = [
    ("ref", "Reference", "scanRef or another id, or its beginning"),
    ("q", "Text", "also inside payloads"),
    ("webhook", "Webhook", "its name"),
    ("type", "Event type", "name or label"),
    ("class", "Class", "0 2xx 3xx 4xx 5xx, with commas"),
    ("code", "Code", "such as 503"),
    ("state", "State", "pending delivered failed cancelled skipped"),
    ("since", "Since", "1h, 2d, 2026-11-23, 2026-11-23 09:30"),
    ("until", "Until", "the same"),
];
const EVENTS: [(&str, &str, &str); 4] = [DELIVERIES[0], DELIVERIES[3], DELIVERIES[7], DELIVERIES[8]];

/// The dialog.
pub struct Filter {
    fields: Vec<(&'static str, &'static str, &'static str, Input)>,
    at: usize,
    of_events: bool,
    wrong: Option<String>,
}

/// For deliveries, with what the list is narrowed to.
#[must_use]
pub(crate) fn deliveries(model: &Model) -> Filter {
    let filter = &model.deliveries.filter;
    let value = |name: &str| match name {
        "ref" => filter.reference.clone(),
        "q" => filter.text.clone(),
        "webhook" => filter.webhook.clone(),
        "type" => filter.event_type.clone(),
        "class" => Some(filter.classes.join(",")),
        "code" => filter.code.map(|code| code.to_string()),
        "state" => filter.state.clone(),
        "since" => filter.since.clone(),
        _ => filter.until.clone(),
    };
    Filter::new(&DELIVERIES, value, false)
}

/// For events.
#[must_use]
pub(crate) fn events(model: &Model) -> Filter {
    let filter = &model.events.filter;
    let value = |name: &str| match name {
        "ref" => filter.reference.clone(),
        "type" => filter.event_type.clone(),
        "since" => filter.since.clone(),
        _ => filter.until.clone(),
    };
    Filter::new(&EVENTS, value, true)
}

impl Filter {
    fn new(
        fields: &[(&'static str, &'static str, &'static str)],
        value: impl Fn(&str) -> Option<String>,
        of_events: bool,
    ) -> Self {
        let fields = fields
            .iter()
            .map(|(name, label, help)| (*name, *label, *help, Input::new(value(name).unwrap_or_default())))
            .collect();
        Self { fields, at: 0, of_events, wrong: None }
    }

    /// What was filled in, as `:d` takes it.
    fn pairs(&self) -> Vec<(String, String)> {
        self.fields
            .iter()
            .map(|(name, _, _, input)| ((*name).to_owned(), input.value().trim().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    fn apply(&mut self, model: &mut Model) -> Fate {
        let done = if self.of_events {
            event_filter(&self.pairs(), model).map(|filter| events::narrow(model, filter))
        } else {
            delivery_filter(&self.pairs(), model).map(|filter| deliveries::narrow(model, filter))
        };
        match done {
            Ok(()) => Fate::Close,
            Err(why) => {
                self.wrong = Some(why);
                Fate::Stay
            }
        }
    }
}

/// A filter of deliveries from names and values.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn delivery_filter(pairs: &[(String, String)], model: &Model) -> Result<DeliveryFilter, String> {
    let mut filter = DeliveryFilter::default();
    for (name, value) in pairs {
        let text = Some(value.clone());
        match name.as_str() {
            "ref" => filter.reference = text,
            "q" => filter.text = text,
            "webhook" | "hook" => filter.webhook = text,
            "type" => filter.event_type = text,
            "class" => {
                for class in value.split([',', ' ']).filter(|class| !class.is_empty()) {
                    if !["0", "1xx", "2xx", "3xx", "4xx", "5xx"].contains(&class) {
                        return Err(format!("{class} is no class: 0, 2xx, 3xx, 4xx or 5xx"));
                    }
                    filter.classes.push(class.to_owned());
                }
            }
            "code" => filter.code = Some(value.parse().map_err(|_| format!("{value} is no code such as 503"))?),
            "state" => {
                let states = ["pending", "delivered", "failed", "cancelled", "skipped"];
                if !states.contains(&value.as_str()) {
                    return Err(format!("{value} is no state: {}", states.join(", ")));
                }
                filter.state = text;
            }
            "since" => filter.since = Some(checked_time(value, model)?),
            "until" => filter.until = Some(checked_time(value, model)?),
            other => return Err(format!("there is no filter {other}")),
        }
    }
    Ok(filter)
}

/// A filter of events from names and values.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn event_filter(pairs: &[(String, String)], model: &Model) -> Result<EventFilter, String> {
    let mut filter = EventFilter::default();
    for (name, value) in pairs {
        match name.as_str() {
            "ref" => filter.reference = Some(value.clone()),
            "type" => filter.event_type = Some(value.clone()),
            "since" => filter.since = Some(checked_time(value, model)?),
            "until" => filter.until = Some(checked_time(value, model)?),
            other => return Err(format!("there is no filter {other}")),
        }
    }
    Ok(filter)
}

/// Kept as typed, so that `1h` stays an hour ago.
fn checked_time(text: &str, model: &Model) -> Result<String, String> {
    let wrong = || format!("{text} is no time: 1h, 2d, 2026-11-23 or 2026-11-23 09:30");
    deliveries::point_in_time(text, model).map(|_| text.to_owned()).ok_or_else(wrong)
}

impl Dialog for Filter {
    fn key(&mut self, model: &mut Model, key: Key, _out: &mut Effects) -> Fate {
        let last = self.fields.len() - 1;
        match key.code {
            Code::Esc => return Fate::Close,
            Code::Enter => return self.apply(model),
            Code::Down | Code::Tab => self.at = if self.at == last { 0 } else { self.at + 1 },
            Code::Up | Code::BackTab => self.at = if self.at == 0 { last } else { self.at - 1 },
            Code::Char('x') if key.ctrl => self.fields.iter_mut().for_each(|(.., input)| input.reset()),
            _ => {
                type_into(&mut self.fields[self.at].3, key);
                self.wrong = None;
            }
        }
        Fate::Stay
    }

    fn paste(&mut self, _model: &mut Model, text: &str) {
        insert(&mut self.fields[self.at].3, text);
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let small = pen.height() < self.fields.len() + 6;
        let rows = self.fields.len() + if small { 0 } else { 3 };
        let title = if self.of_events { "Filter events" } else { "Filter deliveries" };
        let foot = "Enter: show   Tab: next   ^X: clear all   Esc: Cancel";
        let mut inside = pen.dialog(72, rows, title, foot);
        let first = usize::from(!small);
        let top = (self.at + 1).saturating_sub(inside.height().saturating_sub(first));
        for (at, (_, label, help, input)) in self.fields.iter().enumerate().skip(top) {
            let y = at - top + first;
            let focus = at == self.at;
            inside.text(0, y, if focus { ">" } else { " " }, Role::Text);
            inside.text(2, y, label, Role::Heading);
            let columns = inside.width().saturating_sub(15);
            if input.value().is_empty() && !focus {
                inside.text(14, y, help, Role::Dim);
            } else {
                inside.field(14, y, columns, input, focus);
                if focus && input.value().is_empty() {
                    inside.text(16, y, help, Role::Dim);
                }
            }
        }
        if let Some(wrong) = &self.wrong {
            let y = inside.height().saturating_sub(1);
            inside.text(0, y, &format!("! {wrong}"), Role::Bad);
        }
    }
}
