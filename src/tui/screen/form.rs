//! The form of a webhook: every field, checked while it is typed and told when it is left.
//!
//! It checks nothing that the daemon does not check as well, sends only what was changed, and loses
//! nothing that was typed without asking. What is typed is in `draft`, what can be wrong with it in
//! `checks`; `typing` and `saving` are what keys and answers do.

mod checks;
mod draft;
mod draw;
mod facts;
pub mod field;
mod layout;
mod pane;
mod parts;
mod saving;
#[cfg(test)]
mod tests;
mod typing;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use self::draft::Draft;
use self::facts::{Change, Fact};
use self::field::{Button, Field};
use self::saving::Saving;
use crate::admin::protocol::WebhookView;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::tui::dialog::{Choice, leave};
use crate::tui::keymap::{Action, Context};
use crate::tui::keys::Key;
use crate::tui::message::{Answered, Effects};
use crate::tui::model::{Fate, Model, Page};
use crate::tui::text::plural;
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

pub(crate) use saving::undo_of;

/// How long a secret is shown.
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// A secret that is shown for a while.
struct Revealed {
    field: Field,
    value: Secret,
    until: Timestamp,
    /// The daemon told it, and noted that.
    noted: bool,
}

/// The form.
pub struct Form {
    /// `None` for a webhook that is not there yet.
    hook: Option<Box<WebhookView>>,
    /// What it was when it was opened.
    base: Draft,
    draft: Draft,
    focus: Field,
    /// Fields that were left once: what is wrong with them is told.
    told: BTreeSet<Field>,
    problems: Vec<(Field, String)>,
    /// What the daemon found wrong.
    refused: Vec<(Field, String)>,
    /// What it was before each change, and where.
    steps: Vec<(Draft, Field)>,
    /// The field that is being typed in: one step for all of it.
    run: Option<Field>,
    saving: Option<Saving>,
    /// What somebody else has made of it meanwhile.
    theirs: Option<Box<WebhookView>>,
    revealed: Option<Revealed>,
    /// The secret that was asked for.
    revealing: Option<Field>,
    /// The field that is in the editor.
    editing: Option<Field>,
    /// An example of an event type: its name, and its text once it is there.
    example: Option<(String, Option<String>)>,
    top: Cell<usize>,
    done: bool,
}

/// Opens a webhook, by its id.
pub(crate) fn open(model: &mut Model, id: &str) {
    match model.hook(id).cloned() {
        Some(hook) => model.pages.push(Box::new(Form::of(hook))),
        None => model.complain("this webhook is not there any more"),
    }
}

/// Opens an empty form.
pub(crate) fn create(model: &mut Model) {
    if model.read_only {
        return model.complain("read-only: nothing can be changed here");
    }
    model.pages.push(Box::new(Form::blank()));
}

impl Form {
    fn of(hook: WebhookView) -> Self {
        let base = Draft::of(&hook);
        let mut form = Self { hook: Some(Box::new(hook)), draft: base.clone(), base, ..Self::blank() };
        form.judge();
        form
    }

    fn blank() -> Self {
        let mut form = Self {
            hook: None,
            base: Draft::blank(),
            draft: Draft::blank(),
            focus: Field::Name,
            told: BTreeSet::new(),
            problems: Vec::new(),
            refused: Vec::new(),
            steps: Vec::new(),
            run: None,
            saving: None,
            theirs: None,
            revealed: None,
            revealing: None,
            editing: None,
            example: None,
            top: Cell::new(0),
            done: false,
        };
        form.judge();
        form
    }

    fn is_new(&self) -> bool {
        self.hook.is_none()
    }

    fn id(&self) -> Option<&str> {
        self.hook.as_ref().map(|hook| hook.id.as_str())
    }

    /// What it is called, also while it has no name.
    fn name(&self) -> String {
        match (&self.hook, self.draft.name.value()) {
            (Some(hook), _) => hook.name.clone(),
            (None, "") => "the new webhook".to_owned(),
            (None, name) => name.to_owned(),
        }
    }

    /// Looks anew at what is wrong.
    fn judge(&mut self) {
        self.problems = checks::problems(&self.draft, self.is_new());
    }

    /// What is to be told about a field.
    fn problem(&self, field: Field) -> Option<&str> {
        let of = |problems: &'_ [(Field, String)]| problems.iter().position(|(wrong, _)| *wrong == field);
        if let Some(at) = of(&self.refused) {
            return Some(&self.refused[at].1);
        }
        let at = of(&self.problems).filter(|_| self.told.contains(&field))?;
        Some(&self.problems[at].1)
    }

    fn facts(&self, draft: &Draft, model: &Model) -> Vec<Fact> {
        facts::facts(draft, &|name| model.label_of(name).to_owned())
    }

    /// What a save would change, in words.
    fn changes(&self, model: &Model) -> Vec<Change> {
        facts::changes(&self.facts(&self.base, model), &self.facts(&self.draft, model))
    }

    /// How many lines that would be, where no labels are needed.
    fn number_of_changes(&self) -> usize {
        let facts = |draft: &Draft| facts::facts(draft, &|name| name.to_owned());
        facts::changes(&facts(&self.base), &facts(&self.draft)).len()
    }

    /// Fields in the order of Tab.
    fn order(&self, model: &Model) -> Vec<Vec<Field>> {
        let rows = layout::rows(&self.draft, self.base.key.set, draw::is_narrow(model), &|_| 0);
        layout::order(&rows, &layout::buttons(self.is_new(), model.read_only))
    }

    /// Goes to a field; what is wrong with the one that is left is told from now on.
    fn go(&mut self, field: Field) {
        if field != self.focus {
            self.told.insert(self.focus);
            self.run = None;
        }
        self.focus = field;
    }

    /// A field that is gone leaves the focus to what stands in its place.
    fn settle(&mut self, model: &Model) {
        let order = self.order(model);
        if order.iter().flatten().any(|field| *field == self.focus) {
            return;
        }
        let before = |field: &&Field| **field < self.focus;
        let place = order.iter().flatten().rfind(before).or(order.iter().flatten().next());
        self.focus = place.copied().unwrap_or(Field::Name);
    }

    /// The field so many fields ahead or, with `rows`, so many rows.
    fn step(&mut self, model: &Model, by: isize, rows: bool) {
        let order = self.order(model);
        let at = order.iter().position(|group| group.contains(&self.focus)).unwrap_or(0);
        let within = order[at].iter().position(|field| *field == self.focus).unwrap_or(0);
        let next = if rows {
            let group = at.saturating_add_signed(by).min(order.len() - 1);
            order[group].get(within).or(order[group].last()).copied()
        } else {
            let all: Vec<Field> = order.concat();
            let place = all.iter().position(|field| *field == self.focus).unwrap_or(0);
            // Tab goes round, as in every form.
            let place = place.wrapping_add_signed(by).checked_rem(all.len());
            let place = if by < 0 && all.first() == Some(&self.focus) { Some(all.len() - 1) } else { place };
            place.and_then(|place| all.get(place)).copied()
        };
        self.go(next.unwrap_or(self.focus));
    }

    fn leave(&mut self, model: &mut Model) -> Fate {
        if self.saving.is_some() {
            model.say("it is being saved and closes by itself; ^C quits");
            return Fate::Stay;
        }
        if !self.is_edited() {
            return Fate::Close;
        }
        model.dialogs.push(Box::new(leave::of_form(&self.name(), self.number_of_changes())));
        Fate::Stay
    }

    /// Takes the last change back.
    fn undo(&mut self, model: &mut Model) {
        match self.steps.pop() {
            Some((draft, field)) => {
                (self.draft, self.focus, self.run) = (draft, field, None);
                self.judge();
                self.settle(model);
                model.say("taken back");
            }
            None => model.say("there is nothing to take back"),
        }
    }

    fn press(&mut self, model: &mut Model, button: Button, out: &mut Effects) -> Fate {
        if button.mutates() && model.read_only {
            model.complain("read-only: nothing can be changed here");
            return Fate::Stay;
        }
        match button {
            Button::Save => self.save(model, out),
            Button::Test => self.test(model, out),
            Button::Delete => {
                if let Some(hook) = &self.hook {
                    model.dialogs.push(Box::new(crate::tui::dialog::confirm::delete_webhook(hook)));
                }
            }
            Button::Leave => return self.leave(model),
        }
        Fate::Stay
    }

    /// Somebody else changed the webhook: an untouched form follows.
    fn follow(&mut self, model: &Model) {
        let Some(mine) = &self.hook else { return };
        let Some(theirs) = model.hook(&mine.id).filter(|theirs| theirs.version > mine.version) else { return };
        if self.saving.is_none() && !self.is_edited() {
            let theirs = theirs.clone();
            self.base = Draft::of(&theirs);
            self.draft = self.base.clone();
            self.hook = Some(Box::new(theirs));
            self.steps.clear();
            self.judge();
            self.settle(model);
        }
    }
}

impl Page for Form {
    fn context(&self) -> Context {
        Context::Form
    }

    fn title(&self) -> String {
        if let (Some(hook), 0) = (&self.hook, self.number_of_changes()) {
            return hook.name.clone();
        }
        let changes = match self.number_of_changes() {
            0 => String::new(),
            number => format!(", {}", plural(number as u64, "change", "changes")),
        };
        match &self.hook {
            Some(hook) => format!("{} [edit{changes}]", hook.name),
            None => format!("new webhook [{}]", if self.saving.is_some() { "being saved" } else { "not saved" }),
        }
    }

    fn remark(&self, model: &Model) -> String {
        if self.saving.is_some() {
            return "saving …".to_owned();
        }
        let theirs = self.hook.as_ref().and_then(|mine| model.hook(&mine.id).map(|theirs| (mine, theirs)));
        match theirs {
            Some((mine, theirs)) if theirs.version > mine.version => format!("changed by {}", theirs.updated_by),
            Some((mine, _)) => format!("version {}", mine.version),
            None => String::new(),
        }
    }

    fn status(&self, model: &Model) -> Option<(String, Role)> {
        let label = self.focus.label();
        if let Some(problem) = self.problem(self.focus) {
            return Some((format!("! {label}: {problem}"), Role::Bad));
        }
        let key = self.focus.action().and_then(|action| Some((typing::key_of(model, action)?, action)));
        let key = key.map_or(String::new(), |(key, action)| format!("  {key}: {}", action.help()));
        let text = format!("{label}: {}", self.focus.help());
        // A hint that would be cut says less than none.
        let fits = text.len() + key.len() + 2 <= usize::from(model.size.0);
        Some((if fits { text + &key } else { text }, Role::Text))
    }

    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate {
        match action {
            Action::Back | Action::Leave => return self.leave(model),
            Action::Next => self.step(model, 1, false),
            Action::Previous => self.step(model, -1, false),
            Action::Up => self.step(model, -1, true),
            Action::Down => self.step(model, 1, true),
            Action::PageUp | Action::HalfUp => self.step(model, -8, true),
            Action::PageDown | Action::HalfDown => self.step(model, 8, true),
            Action::Save => self.save(model, out),
            Action::Test => self.test(model, out),
            Action::Schema => crate::tui::screen::schema::open_types(model, &self.draft.types),
            Action::Undo => self.undo(model),
            Action::NewKey | Action::Reveal | Action::Editor => self.special(model, action, out),
            Action::AddHeader | Action::RemoveHeader | Action::SecretHeader => self.entries(model, action),
            // Another tab was chosen.
            Action::Overview | Action::Webhooks | Action::Deliveries | Action::Events | Action::System
                if self.is_edited() =>
            {
                return self.leave(model);
            }
            _ => {}
        }
        Fate::Stay
    }

    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Option<Fate> {
        self.pressed(model, key, out)
    }

    fn paste(&mut self, model: &mut Model, text: &str) -> bool {
        self.pasted(model, text)
    }

    fn answered(&mut self, model: &mut Model, answered: &Answered, out: &mut Effects) {
        self.heard(model, answered, out);
    }

    fn edited(&mut self, model: &mut Model, text: &str, _out: &mut Effects) {
        self.came_back(model, text);
    }

    fn chosen(&mut self, model: &mut Model, choice: Choice, out: &mut Effects) {
        match choice {
            Choice::Types(types) => {
                self.go(Field::Types);
                if self.edit(model, false, |draft| draft.types = types) {
                    self.step(model, 1, true);
                }
            }
            Choice::Key(key) => self.take_key(model, key),
            Choice::Save => self.save(model, out),
            Choice::Drop => self.done = true,
            Choice::KeepMine => self.keep_mine(model, out),
            Choice::TakeTheirs => self.take_theirs(model),
        }
    }

    fn refresh(&mut self, model: &mut Model, _changed: bool, out: &mut Effects) {
        self.follow(model);
        self.settle(model);
        if self.revealed.as_ref().is_some_and(|revealed| revealed.until <= model.now) {
            self.revealed = None;
        }
        self.want_example(model, out);
    }

    fn wake(&self, model: &Model) -> Option<Duration> {
        // It counts down in seconds.
        let left = self.revealed.as_ref()?.until.since(model.now);
        let part = Duration::from_nanos(left.subsec_nanos().into());
        Some(if part.is_zero() { left.min(Duration::from_secs(1)) } else { part })
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        self.draw(model, pen);
    }

    fn is_edited(&self) -> bool {
        !self.draft.changes(&self.base).is_empty()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
