//! What keys and pasted text do in the form.
//!
//! Nothing is asked of the daemon here but a secret that is to be shown. Invariant: every change goes
//! through `edit`, which refuses it where nothing may be changed and remembers what was there before.

use tui_input::Input;

use super::draft::{ConditionDraft, Draft, HeaderDraft, TestKind};
use super::field::Field;
use super::{Form, Revealed, SHOWN_FOR};
use crate::domain::secret::Secret;
use crate::tui::dialog::picker;
use crate::tui::keymap::{Action, Context};
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Ask, EditFor, Effect, Effects};
use crate::tui::model::{Fate, Model};
use crate::tui::update::{change, insert, type_into};

/// Changes that can be taken back.
const STEPS_MAX: usize = 200;

/// The key of an action in the form.
pub(super) fn key_of(model: &Model, action: Action) -> Option<Key> {
    model.keymap.keys(Context::Form, action).first().copied()
}

/// Whether a header of this name is likely to hold something that nobody should see.
fn is_delicate(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    matches!(name.as_str(), "authorization" | "proxy-authorization" | "cookie")
        || name.ends_with("-key")
        || name.ends_with("-token")
        || name.ends_with("-secret")
}

/// PEM that was pasted into one line has its line ends back.
fn mended_pem(text: &str) -> String {
    let mut mended = String::new();
    for (at, part) in text.trim().split("-----").enumerate() {
        if at % 2 == 1 {
            mended.push_str(&format!("-----{}-----\n", part.trim()));
        } else {
            part.split_whitespace().for_each(|line| mended.extend([line, "\n"]));
        }
    }
    mended
}

impl Form {
    /// Changes what stands there. With `run`, changes of one field that follow each other are one.
    /// `false` when nothing may be changed.
    pub(super) fn edit(&mut self, model: &mut Model, run: bool, change: impl FnOnce(&mut Draft)) -> bool {
        if model.read_only {
            model.complain("read-only: nothing can be changed here");
            return false;
        }
        if self.saving.is_some() {
            model.say("it is being saved");
            return false;
        }
        if !run || self.run != Some(self.focus) {
            self.steps.push((self.draft.clone(), self.focus));
            if self.steps.len() > STEPS_MAX {
                self.steps.remove(0);
            }
        }
        self.run = run.then_some(self.focus);
        change(&mut self.draft);
        let part = self.focus.part();
        self.refused.retain(|(field, _)| field.part() != part);
        if self.revealed.as_ref().is_some_and(|revealed| revealed.field == self.focus) {
            self.revealed = None;
        }
        self.judge();
        true
    }

    pub(super) fn pressed(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Option<Fate> {
        if let Field::Button(button) = self.focus
            && (key.code == Code::Enter || key.typed() == Some(' '))
        {
            return Some(self.press(model, button, out));
        }
        // Ctrl and a letter may edit the line, where they mean nothing else.
        let bound = (key.ctrl || key.alt) && model.keymap.action(Context::Form, key).is_some();
        if bound || matches!(key.code, Code::Esc | Code::Tab | Code::BackTab) {
            return None;
        }
        match (key.code, self.focus) {
            (Code::Enter, Field::Types) => self.pick(model, ""),
            (Code::Enter, Field::AddHeader | Field::AddCondition) => self.entries(model, Action::AddHeader),
            (Code::Enter, _) => self.step(model, 1, false),
            (Code::Char(character), Field::Types) if key.typed().is_some() => {
                let filter = character.to_string();
                self.pick(model, if character == ' ' { "" } else { &filter });
            }
            (Code::Char(' '), Field::AddHeader | Field::AddCondition) => self.entries(model, Action::AddHeader),
            (Code::Char(_), field) if field.is_box() && key.typed().is_some() => {
                if key.typed() == Some(' ') {
                    self.edit(model, false, |draft| draft.toggle(field));
                    self.settle(model);
                } else {
                    model.say("Space switches it");
                }
            }
            (Code::Char(' ') | Code::Right, field) if field.is_choice() => self.turn(model, 1),
            (Code::Left, field) if field.is_choice() => self.turn(model, -1),
            (Code::Left | Code::Right, field) if self.draft.input(field).is_none() => {
                let by = if key.code == Code::Left { -1 } else { 1 };
                self.beside(model, by);
            }
            _ => return self.line(model, key),
        }
        Some(Fate::Stay)
    }

    /// A key in a line of text.
    fn line(&mut self, model: &mut Model, key: Key) -> Option<Fate> {
        let field = self.focus;
        let erases = matches!(key.code, Code::Backspace | Code::Delete);
        let moves = matches!(key.code, Code::Left | Code::Right | Code::Home | Code::End);
        if field.is_pem() {
            return self.pem_key(model, key, erases);
        }
        // Without an input there is nothing to type in.
        self.draft.input(field)?;
        if moves || (key.ctrl && matches!(key.code, Code::Char('a' | 'e'))) {
            self.draft.input_mut(field).map(|input| type_into(input, key));
            return Some(Fate::Stay);
        }
        if key.typed().is_none() && !erases && !(key.ctrl && matches!(key.code, Code::Char('h' | 'u' | 'w'))) {
            return None;
        }
        self.edit(model, true, |draft| type_in(draft, field, key));
        Some(Fate::Stay)
    }

    fn pem_key(&mut self, model: &mut Model, key: Key, erases: bool) -> Option<Fate> {
        if erases {
            self.put(model, String::new());
        } else if key.typed().is_some() {
            let editor = key_of(model, Action::Editor).map_or(String::new(), |key| key.to_string());
            model.say(format!("{editor} opens it in $EDITOR; a pasted PEM is taken, too"));
        } else {
            return None;
        }
        Some(Fate::Stay)
    }

    /// The field beside this one, in its row.
    fn beside(&mut self, model: &Model, by: isize) {
        let order = self.order(model);
        let Some(group) = order.iter().find(|group| group.contains(&self.focus)) else { return };
        let at = group.iter().position(|field| *field == self.focus).unwrap_or(0);
        self.go(group[at.saturating_add_signed(by).min(group.len() - 1)]);
    }

    /// The next of several words.
    fn turn(&mut self, model: &mut Model, by: isize) {
        let field = self.focus;
        self.edit(model, false, |draft| match field {
            Field::Backoff => draft.exponential = !draft.exponential,
            Field::Test(at) => {
                if let Some(condition) = draft.conditions.get_mut(at) {
                    let all = TestKind::ALL;
                    let now = all.iter().position(|test| *test == condition.test).unwrap_or(0);
                    condition.test = all[(now + all.len()).wrapping_add_signed(by) % all.len()];
                }
            }
            _ => {}
        });
    }

    fn pick(&mut self, model: &mut Model, filter: &str) {
        if model.read_only {
            return model.complain("read-only: nothing can be changed here");
        }
        let dialog = picker::EventTypes::several(model, &self.draft.types, filter);
        model.dialogs.push(Box::new(dialog));
    }

    /// Puts a whole text into the field that has the focus.
    fn put(&mut self, model: &mut Model, text: String) -> bool {
        let field = self.focus;
        self.edit(model, false, move |draft| {
            if let Some(pem) = draft.pem_mut(field) {
                *pem = text;
            } else if let Some(secret) = draft.secret_mut(field) {
                let was_empty = secret.input.value().is_empty();
                secret.cleared = text.is_empty() && was_empty && !secret.cleared;
                secret.replace(text);
            } else if let Some(input) = draft.input_mut(field) {
                *input = Input::new(text);
            }
        })
    }

    pub(super) fn pasted(&mut self, model: &mut Model, text: &str) -> bool {
        let field = self.focus;
        if field.is_pem() {
            return if text.contains("-----BEGIN ") {
                self.put(model, mended_pem(text)) || model.read_only
            } else {
                model.say("what was pasted is no PEM: it begins with -----BEGIN");
                true
            };
        }
        if self.draft.input(field).is_none() {
            return false;
        }
        let text = text.to_owned();
        self.edit(model, false, |draft| {
            if let Some(secret) = draft.secret_mut(field) {
                secret.cleared = false;
            }
            if let Some(input) = draft.input_mut(field) {
                insert(input, &text);
            }
            follow_name(draft, field);
        });
        true
    }

    /// A new key, a secret to be shown, or the editor.
    pub(super) fn special(&mut self, model: &mut Model, action: Action, out: &mut Effects) {
        match action {
            Action::NewKey => out.push(Effect::NewKey),
            Action::Reveal => self.reveal(model, out),
            _ => self.open_editor(model, out),
        }
    }

    /// A key that was made.
    pub(super) fn take_key(&mut self, model: &mut Model, key: Secret) {
        self.go(Field::Key);
        if self.edit(model, false, |draft| draft.key.replace(key.expose().to_owned())) {
            let show = key_of(model, Action::Reveal).map_or(String::new(), |key| key.to_string());
            model.say(if self.base.key.set {
                format!("a new key; once saved, the old one signs as well for a day.  {show}: show the new one")
            } else {
                format!("a new key; give it to the receiver.  {show}: show it")
            });
        }
    }

    fn reveal(&mut self, model: &mut Model, out: &mut Effects) {
        if self.revealed.as_ref().is_some_and(|revealed| revealed.field == self.focus) {
            self.revealed = None;
            return;
        }
        let field = self.focus;
        let (typed, name) = match (self.draft.secret(field), field) {
            (Some(secret), _) => (secret.typed().map(str::to_owned), field.secret_name().map(str::to_owned)),
            (None, Field::HeaderName(at) | Field::HeaderValue(at)) => match self.draft.headers.get(at) {
                Some(header) if header.is_kept() => {
                    (None, header.kept_as.clone().map(|name| format!("headers.{name}")))
                }
                Some(header) if header.secret => (Some(header.value.value().to_owned()), None),
                _ => return model.say("it is no secret"),
            },
            _ => return model.say("there is no secret in this field"),
        };
        let field = if let Field::HeaderName(at) = field { Field::HeaderValue(at) } else { field };
        if let Field::HeaderValue(at) = field
            && typed.is_none()
            && self.draft.headers.get(at).is_some_and(|header| header.same_before > 0)
        {
            return model.say("several headers have this name, and only the first can be shown");
        }
        if let Some(typed) = typed {
            let until = model.now.plus(SHOWN_FOR);
            self.revealed = Some(Revealed { field, value: Secret::new(typed), until, noted: false });
            return;
        }
        let there = self.draft.secret(field).is_none_or(|secret| secret.set && !secret.cleared);
        match (self.id().map(str::to_owned), name) {
            (Some(id), Some(name)) if there => {
                self.revealing = Some(field);
                change(model, Ask::Reveal(id, name), out);
            }
            _ => model.say("there is no secret yet"),
        }
    }

    fn open_editor(&mut self, model: &mut Model, out: &mut Effects) {
        if model.read_only {
            return model.complain("read-only: nothing can be changed here");
        }
        let field = self.focus;
        let text = match field {
            Field::Ca => self.draft.ca.clone(),
            Field::Certificate => self.draft.certificate.clone(),
            field => match self.draft.input(field) {
                Some(input) => input.value().to_owned(),
                None => return model.say("this field is not typed; Space switches or chooses"),
            },
        };
        let suffix = match field {
            field if field.is_pem() => ".pem",
            Field::Request | Field::Value(_) => ".json",
            _ => ".txt",
        };
        self.editing = Some(field);
        out.push(Effect::Edit { text, suffix, purpose: EditFor::Field });
    }

    /// The editor was closed.
    pub(super) fn came_back(&mut self, model: &mut Model, text: &str) {
        let Some(field) = self.editing.take() else { return };
        self.go(field);
        let before = match field {
            Field::Ca => self.draft.ca.as_str(),
            Field::Certificate => self.draft.certificate.as_str(),
            field => self.draft.input(field).map_or("", Input::value),
        };
        let many = field.is_pem() || matches!(field, Field::Request | Field::Value(_));
        let text =
            if many { text.trim_end().to_owned() } else { text.split_whitespace().collect::<Vec<_>>().join(" ") };
        let text = if field.is_pem() && !text.is_empty() { format!("{text}\n") } else { text };
        if text.trim_end() == before.trim_end() {
            return model.say("nothing was changed");
        }
        self.put(model, text);
    }

    /// Adds or removes a header or a condition, or makes a header secret.
    pub(super) fn entries(&mut self, model: &mut Model, action: Action) {
        let focus = self.focus;
        match (action, focus.part()) {
            (Action::AddHeader, "filter") => {
                self.edit(model, false, |draft| draft.conditions.push(ConditionDraft::default()));
                self.go(Field::Path(self.draft.conditions.len().saturating_sub(1)));
            }
            (Action::AddHeader, _) => {
                if self.edit(model, false, |draft| draft.headers.push(HeaderDraft::default())) {
                    self.go(Field::HeaderName(self.draft.headers.len().saturating_sub(1)));
                }
            }
            (Action::RemoveHeader, _) => self.remove(model),
            (_, "headers") => self.toggle_secret(model),
            _ => model.say("only a header is secret or not; go to one first"),
        }
        self.settle(model);
    }

    fn remove(&mut self, model: &mut Model) {
        let removed = match self.focus {
            Field::HeaderName(at) | Field::HeaderValue(at) => self.edit(model, false, |draft| {
                draft.headers.remove(at);
            }),
            Field::Path(at) | Field::Test(at) | Field::Value(at) => self.edit(model, false, |draft| {
                draft.conditions.remove(at);
            }),
            _ => return model.say("only a header or a condition is removed; go to one first"),
        };
        if removed {
            // Those behind it have other places now.
            let part = self.focus.part();
            self.told.retain(|field| field.part() != part);
            let undo = key_of(model, Action::Undo).map_or(String::new(), |key| key.to_string());
            model.say(format!("removed; {undo} takes it back"));
        }
    }

    fn toggle_secret(&mut self, model: &mut Model) {
        let (Field::HeaderName(at) | Field::HeaderValue(at)) = self.focus else {
            return model.say("there is no header yet");
        };
        let was_kept = self.draft.headers.get(at).is_some_and(HeaderDraft::is_kept);
        let done = self.edit(model, false, |draft| {
            if let Some(header) = draft.headers.get_mut(at) {
                header.secret = !header.secret;
                header.by_hand = true;
            }
        });
        if done && was_kept {
            model.say("no secret any more: its value has to be typed, the kept one is not shown");
        }
    }
}

/// A key in the line of a field.
fn type_in(draft: &mut Draft, field: Field, key: Key) {
    if let Some(secret) = draft.secret_mut(field) {
        if secret.input.value().is_empty() && key.typed().is_none() {
            // Nothing was typed, so it is the kept one that is erased.
            secret.cleared = secret.set;
            return;
        }
        secret.cleared = false;
    }
    if let Some(input) = draft.input_mut(field) {
        type_into(input, key);
    }
    follow_name(draft, field);
}

/// Whether a new header is secret follows from its name, until somebody decides.
fn follow_name(draft: &mut Draft, field: Field) {
    if let Field::HeaderName(at) = field
        && let Some(header) = draft.headers.get_mut(at).filter(|header| !header.by_hand)
    {
        header.secret = is_delicate(header.name.value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_that_was_pasted_into_one_line_is_whole_again() {
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\nBBBB\n-----END PRIVATE KEY-----\n";
        let two = format!("{pem}{pem}");
        assert_eq!(mended_pem(&two.replace('\n', " ")), two);
        assert_eq!(mended_pem(&two), two);
    }

    #[test]
    fn headers_that_hold_secrets_are_known_by_their_names() {
        for name in ["Authorization", "cookie", "X-Api-Key", "x-auth-token"] {
            assert!(is_delicate(name), "{name}");
        }
        for name in ["X-Env", "Keyboard", "X-Tokens"] {
            assert!(!is_delicate(name), "{name}");
        }
    }
}
