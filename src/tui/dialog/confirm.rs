//! Is that really meant? Begins on Cancel; what can not be taken back for good wants a name typed.
//!
//! It decides nothing: what is done on a yes is handed in.

use std::collections::BTreeMap;

use tui_input::Input;

use crate::admin::client::Bulk;
use crate::admin::protocol::{DeliveryView, WebhookView};
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Ask, Effect, Effects};
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::text::{plural, wrapped};
use crate::tui::theme::Role;
use crate::tui::update::{change, insert, type_into};
use crate::tui::view::pen::Pen;

/// What a yes does.
enum Deed {
    /// Asks the daemon.
    Ask(Ask),
    /// Resends or stops each of these; of those already delivered only if that is ticked.
    Each { what: Bulk, ids: Vec<String>, delivered: Vec<String> },
    /// Ends, whatever is lost.
    Quit,
}

/// A question.
pub struct Confirm {
    title: String,
    lines: Vec<String>,
    yes: String,
    deed: Option<Deed>,
    /// Has to be typed first.
    name: Option<String>,
    typed: Input,
    /// Something to be ticked, and whether it is.
    tick: Option<(String, bool)>,
    on_yes: bool,
}

impl Confirm {
    fn new(title: impl Into<String>, lines: Vec<String>, yes: &str, deed: Deed) -> Self {
        Self {
            title: title.into(),
            lines,
            yes: yes.to_owned(),
            deed: Some(deed),
            name: None,
            typed: Input::default(),
            tick: None,
            on_yes: false,
        }
    }

    fn is_ready(&self) -> bool {
        self.name.as_ref().is_none_or(|name| name == self.typed.value().trim()) && self.number() != Some(0)
    }

    /// How many it is about, if that depends on the tick.
    fn number(&self) -> Option<usize> {
        let Some(Deed::Each { ids, delivered, .. }) = &self.deed else { return None };
        let all = self.tick.as_ref().is_none_or(|(_, ticked)| *ticked);
        Some(if all { ids.len() } else { ids.len() - delivered.len() })
    }

    fn yes_label(&self) -> String {
        self.number().map_or_else(|| self.yes.clone(), |number| format!("{} {number}", self.yes))
    }

    fn perform(&mut self, model: &mut Model, out: &mut Effects) -> Fate {
        if !self.is_ready() {
            return Fate::Stay;
        }
        let all = self.tick.as_ref().is_none_or(|(_, ticked)| *ticked);
        match self.deed.take() {
            Some(Deed::Ask(ask)) => change(model, ask, out),
            Some(Deed::Each { what, mut ids, delivered }) => {
                ids.retain(|id| all || !delivered.contains(id));
                change(model, Ask::Each(what, ids), out);
            }
            Some(Deed::Quit) => out.push(Effect::Quit),
            None => {}
        }
        Fate::Close
    }
}

/// Before a webhook is deleted.
#[must_use]
pub(crate) fn delete_webhook(hook: &WebhookView) -> Confirm {
    let dropped = match hook.lane.pending {
        0 => "Nothing waits to be sent to it.".to_owned(),
        many => {
            let waiting = plural(many, "waiting delivery", "waiting deliveries");
            format!("{waiting} will be dropped when the 10 minutes are over.")
        }
    };
    let lines = vec![
        dropped,
        "What was sent stays listed for its 30 days.".to_owned(),
        "It can be taken back for 10 minutes: u here, or".to_owned(),
        format!("  postrider webhook restore {}", hook.name),
    ];
    let deed = Deed::Ask(Ask::Delete(hook.id.clone(), hook.name.clone()));
    let mut confirm = Confirm::new(format!("Delete webhook {}?", hook.name), lines, "Delete", deed);
    confirm.name = Some(hook.name.clone());
    confirm
}

/// Before a delivery is sent again that its receiver took already.
#[must_use]
pub(crate) fn resend_delivered(one: &DeliveryView) -> Confirm {
    let code = one.last_code.unwrap_or_default();
    let lines = vec![
        format!("{} took it already ({code}); it may act twice.", one.webhook_name),
        "The webhook-id stays the same; a new attempt is added.".to_owned(),
    ];
    Confirm::new("Resend what was delivered?", lines, "Resend", Deed::Ask(Ask::Resend(one.id.clone())))
}

/// Before the attempts to come are given up.
#[must_use]
pub(crate) fn stop(one: &DeliveryView) -> Confirm {
    let left = one.attempts_max.saturating_sub(one.attempts_made);
    let lines = vec![
        format!("{} to {} will not be made.", plural(u64::from(left), "attempt", "attempts"), one.webhook_name),
        "r sends it once more, for 30 days.".to_owned(),
    ];
    Confirm::new("Stop retrying?", lines, "Stop", Deed::Ask(Ask::Cancel(one.id.clone())))
}

/// Before an ingest token is made worthless.
#[must_use]
pub(crate) fn revoke(name: &str) -> Confirm {
    let lines =
        vec!["Whoever posts with it is refused from now on.".to_owned(), "This can not be taken back.".to_owned()];
    let mut confirm =
        Confirm::new(format!("Revoke token {name}?"), lines, "Revoke", Deed::Ask(Ask::RevokeKey(name.to_owned())));
    confirm.name = Some(name.to_owned());
    confirm
}

/// Before several are resent or stopped. `known` is what is known of them.
#[must_use]
pub(crate) fn marked(what: Bulk, ids: Vec<String>, known: &[DeliveryView]) -> Confirm {
    let mut hooks: BTreeMap<&str, usize> = BTreeMap::new();
    known.iter().for_each(|one| *hooks.entry(&one.webhook_name).or_default() += 1);
    let by_hook: Vec<String> = hooks.iter().map(|(name, number)| format!("{name} {number}")).collect();
    let delivered: Vec<String> =
        known.iter().filter(|one| one.state == "delivered").map(|one| one.id.clone()).collect();
    let mut lines = vec![by_hook.join("   ")];
    let number = plural(ids.len() as u64, "delivery", "deliveries");
    let (verb, title) = match what {
        Bulk::Resend => ("Resend", format!("Resend {number}?")),
        Bulk::Cancel => ("Stop", format!("Stop retrying {number}?")),
    };
    let mut tick = None;
    if what == Bulk::Resend {
        if !delivered.is_empty() {
            let took = plural(delivered.len() as u64, "was", "were");
            lines.push(format!("{took} delivered already: the receiver may act twice."));
            tick = Some(("also send what was delivered".to_owned(), false));
        }
        lines.push("Each keeps its webhook-id; a new attempt is added.".to_owned());
    }
    let mut confirm = Confirm::new(title, lines, verb, Deed::Each { what, ids, delivered });
    confirm.tick = tick;
    confirm
}

/// Before the program ends with changes that are not saved.
#[must_use]
pub(crate) fn unsaved() -> Confirm {
    let lines = vec!["There are changes in the form that are not saved.".to_owned()];
    Confirm::new("Quit and drop the changes?", lines, "Quit", Deed::Quit)
}

impl Dialog for Confirm {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        match key.code {
            Code::Esc => return Fate::Close,
            Code::Enter if self.on_yes => return self.perform(model, out),
            Code::Enter => return Fate::Close,
            Code::Tab | Code::BackTab | Code::Left | Code::Right => self.on_yes = !self.on_yes,
            Code::Char(' ') if self.tick.is_some() => {
                if let Some((_, ticked)) = &mut self.tick {
                    *ticked = !*ticked;
                }
            }
            Code::Char('y') if self.name.is_none() => return self.perform(model, out),
            Code::Char('n' | 'q') if self.name.is_none() => return Fate::Close,
            _ if self.name.is_some() => {
                type_into(&mut self.typed, key);
            }
            _ => {}
        }
        Fate::Stay
    }

    fn paste(&mut self, _model: &mut Model, text: &str) {
        if self.name.is_some() {
            insert(&mut self.typed, text);
        }
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let width = 62.min(pen.width().saturating_sub(4));
        let lines: Vec<String> = self.lines.iter().flat_map(|line| wrapped(line, width.saturating_sub(2))).collect();
        let extra = usize::from(self.name.is_some()) * 2 + usize::from(self.tick.is_some()) * 2;
        let foot = if self.name.is_some() {
            "Tab: move   Enter: the chosen button   Esc: Cancel".to_owned()
        } else {
            format!("y: {}   Tab: move   Enter: the chosen button   Esc: Cancel", self.yes)
        };
        let mut inside = pen.dialog(width, lines.len() + extra + 4, &self.title, &foot);
        let mut y = 1;
        for line in &lines {
            inside.text(1, y, line, Role::Text);
            y += 1;
        }
        if let Some((label, ticked)) = &self.tick {
            let mark = if *ticked { 'x' } else { ' ' };
            inside.text(1, y + 1, &format!("[{mark}] {label}  (Space)"), Role::Text);
            y += 2;
        }
        if self.name.is_some() {
            let x = inside.text(1, y + 1, "Type the name to go on:  ", Role::Text);
            let columns = inside.width().saturating_sub(x);
            inside.field(x, y + 1, columns, &self.typed, true);
            y += 2;
        }
        let x = inside.buttons(0, y + 1, &["Cancel", &self.yes_label()], usize::from(self.on_yes));
        if !self.is_ready() {
            let why = if self.name.is_some() { "off until the name matches" } else { "nothing is left to do" };
            inside.text(x, y + 1, why, Role::Dim);
        }
    }
}
