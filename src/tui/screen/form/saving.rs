//! How the form is saved and tested, and what the daemon's answers do.
//!
//! Only what was changed is sent, with the version it was changed from. Invariant: whatever the daemon
//! answers, and if it does not, what was typed stays until it is saved or given up by hand.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::field::Field;
use super::{Form, Revealed, SHOWN_FOR};
use crate::admin::protocol::{NewTest, WebhookView};
use crate::domain::secret::Secret;
use crate::domain::webhook::Webhook;
use crate::tui::dialog::{conflict, trial};
use crate::tui::message::{Answered, Ask, Effects, Got, Refused, Trouble};
use crate::tui::model::{Model, Topic, Undo};
use crate::tui::text::plural;
use crate::tui::update::is_linked;

/// What was sent and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saving {
    /// Fields; the key is to be replaced after them.
    Fields { then_key: bool },
    /// The key alone.
    Key,
}

impl Form {
    /// The first field that is wrong gets the focus.
    fn stop_at_problem(&mut self, model: &mut Model, without_name: bool) -> bool {
        let all = self.problems.iter().map(|(field, _)| *field);
        self.told.extend(all);
        let wrong = self.problems.iter().find(|(field, _)| !(without_name && *field == Field::Name)).cloned();
        let Some((field, why)) = wrong else { return false };
        self.go(field);
        let more = self.problems.len() - 1;
        let more = if more == 0 { String::new() } else { format!("; {more} more to mend") };
        model.complain(format!("{}: {why}{more}", field.label()));
        true
    }

    pub(super) fn save(&mut self, model: &mut Model, out: &mut Effects) {
        if model.read_only {
            return model.complain("read-only: nothing can be changed here");
        }
        if self.saving.is_some() {
            return model.say("it is being saved");
        }
        if self.hook.is_some() && self.draft.changes(&self.base).is_empty() {
            self.done = true;
            return model.say("nothing was changed");
        }
        if self.stop_at_problem(model, false) || !is_linked(model) {
            return;
        }
        let Some(hook) = &self.hook else {
            self.saving = Some(Saving::Fields { then_key: false });
            return out.ask(Ask::Create(Box::new(self.draft.for_create().into())));
        };
        let mut changes = self.draft.changes(&self.base);
        let rotates = self.rotates();
        if rotates {
            // The verb that replaces a key keeps the old one for a day; a change of the field does not.
            changes.remove("signing_key");
        }
        if changes.is_empty() {
            return self.replace_key(out);
        }
        changes.insert("version".to_owned(), hook.version.into());
        self.saving = Some(Saving::Fields { then_key: rotates });
        out.ask(Ask::Change(hook.id.clone(), Box::new(changes.into())));
    }

    /// A key takes the place of another, which goes on signing for a day.
    fn rotates(&self) -> bool {
        self.base.key.set && self.draft.keep_old && self.draft.key.typed().is_some()
    }

    fn replace_key(&mut self, out: &mut Effects) {
        if let (Some(id), Some(key)) = (self.id().map(str::to_owned), self.draft.key.typed()) {
            let fields = json!({"signing_key": key});
            self.saving = Some(Saving::Key);
            out.ask(Ask::RotateKey(id, Box::new(fields)));
        }
    }

    /// Tests what stands in the form, saved or not.
    pub(super) fn test(&mut self, model: &mut Model, out: &mut Effects) {
        if self.stop_at_problem(model, true) {
            return;
        }
        let unsaved = self.hook.is_none() || !self.draft.changes(&self.base).is_empty();
        let fields = match self.hook {
            Some(_) => self.draft.changes(&self.base),
            None => self.draft.for_create(),
        };
        let webhook = unsaved.then_some(Value::Object(fields));
        let test = NewTest { webhook, ..NewTest::default() };
        let id = self.id().map(str::to_owned);
        trial::open(model, trial::Trial::of_form(self.name(), id, test, unsaved), out);
    }

    pub(super) fn heard(&mut self, model: &mut Model, answered: &Answered, out: &mut Effects) {
        let mine = |id: &String| self.id() == Some(id.as_str());
        match (&answered.ask, &answered.got) {
            (Ask::Create(_), got) if self.is_new() && self.saving.is_some() => self.settled(model, got, out),
            (Ask::Change(id, _), got) if mine(id) && matches!(self.saving, Some(Saving::Fields { .. })) => {
                self.settled(model, got, out);
            }
            (Ask::RotateKey(id, _), got) if mine(id) && self.saving == Some(Saving::Key) => {
                self.settled(model, got, out);
            }
            (Ask::Reveal(id, _), got) if mine(id) => {
                let field = self.revealing.take();
                if let (Some(field), Ok(Got::Secret(secret))) = (field, got) {
                    let until = model.now.plus(SHOWN_FOR);
                    let value = Secret::new(secret.value.clone());
                    self.revealed = Some(Revealed { field, value, until, noted: true });
                }
            }
            (Ask::Delete(id, _), Ok(_)) if mine(id) => self.done = true,
            (Ask::TypeExample(name), Ok(Got::Payload { bytes, .. })) => {
                if let Some((of, text)) = self.example.as_mut().filter(|(of, _)| of == name) {
                    let _ = of;
                    *text = Some(String::from_utf8_lossy(bytes).into_owned());
                }
            }
            _ => {}
        }
    }

    fn settled(&mut self, model: &mut Model, got: &Result<Got, Trouble>, out: &mut Effects) {
        let Some(saving) = self.saving.take() else { return };
        match got {
            Ok(Got::Webhook(saved)) => match saving {
                Saving::Fields { then_key: true } => {
                    // What was saved is not sent again should the key be refused.
                    let typed = self.draft.key.clone();
                    self.base = Draft::of(saved);
                    self.draft = Draft { key: typed, keep_old: true, ..self.base.clone() };
                    self.hook = Some(saved.clone());
                    self.replace_key(out);
                }
                Saving::Fields { then_key: false } => self.saved(model, saved, false),
                Saving::Key => self.saved(model, saved, true),
            },
            Ok(_) => model.complain("the daemon's answer makes no sense; look whether it was saved"),
            Err(Trouble::Refused(refused)) => self.refused(model, refused),
            Err(trouble) => {
                model.complain(format!("not known to be saved: {}; nothing typed is lost", trouble.words()));
            }
        }
    }

    /// It is saved: says what that means, and closes.
    fn saved(&mut self, model: &mut Model, saved: &WebhookView, new_key: bool) {
        model.webhooks.list.selected = Some(saved.id.clone());
        model.expire(&[Topic::Webhooks, Topic::Stats, Topic::EventTypes, Topic::Audit]);
        self.done = true;
        let name = &saved.name;
        let Some(before) = &self.hook else {
            return model.say(match (saved.active, saved.paused) {
                (false, _) => format!("{name} made, off for now: nothing is made for it until it is on"),
                (true, true) => format!("{name} made, paused: deliveries are made and wait"),
                (true, false) => format!("{name} made: it gets its events from now on"),
            });
        };
        let waiting = plural(saved.lane.pending, "waiting delivery", "waiting deliveries");
        let waiting = match (saved.lane.pending, saved.active && !saved.paused) {
            (0, _) => String::new(),
            (_, true) => format!("; {waiting} go by what was saved"),
            (_, false) => format!("; {waiting} stay until it goes on"),
        };
        let undo = undo_of(before, saved, &self.draft.changes(&self.base));
        let taken_back = match (&undo, new_key) {
            (Some(_), _) => "; u takes it back",
            (None, true) => "; the old key signs as well for a day",
            (None, false) => "",
        };
        if let Some(undo) = undo.filter(|_| !new_key) {
            let what = format!("the change of {name}");
            let ask = Ask::Change(saved.id.clone(), Box::new(undo.into()));
            model.undo = Some(Undo { what, ask, until: model.now.plus(Webhook::RESTORE_WINDOW) });
        }
        model.say(format!("{name} saved{waiting}{taken_back}"));
    }

    fn refused(&mut self, model: &mut Model, refused: &Refused) {
        if let Some(current) = &refused.current {
            self.theirs = Some(current.clone());
            let rows = self.clash(model, current);
            let dialog = conflict::Conflict::new(&current.name, &current.updated_by, rows);
            return model.dialogs.push(Box::new(dialog));
        }
        self.refused = refused
            .fields
            .iter()
            .filter_map(|(path, why)| Some((self.there(Field::of_path(path)?), why.clone())))
            .collect();
        if refused.fields.is_empty() && refused.status == 409 {
            // The only thing about a webhook that can be taken is its name.
            self.refused.push((Field::Name, refused.detail.clone()));
        }
        self.refused.sort_by_key(|(field, _)| *field);
        let first = self.refused.first().cloned();
        match first {
            Some((field, why)) => {
                self.go(field);
                self.settle(model);
                model.complain(format!("not saved: {}: {why}", field.label()));
            }
            None => model.complain(format!("not saved: {}", refused.detail)),
        }
    }

    /// The field that stands for one that is not shown.
    fn there(&self, field: Field) -> Field {
        match field {
            Field::HeaderName(_) | Field::HeaderValue(_) if self.draft.headers.is_empty() => Field::AddHeader,
            Field::Path(_) | Field::Value(_) if self.draft.conditions.is_empty() => Field::AddCondition,
            Field::IntervalMax if !self.draft.exponential => Field::Interval,
            Field::Endpoint | Field::Token | Field::Request if !self.draft.oauth => Field::OAuth,
            Field::Value(at) if self.draft.conditions.get(at).is_some_and(|one| !one.test.takes_value()) => {
                Field::Test(at)
            }
            field => field,
        }
    }

    /// What two people made of it, field by field.
    fn clash(&self, model: &Model, current: &WebhookView) -> Vec<conflict::Clash> {
        let base = self.facts(&self.base, model);
        let theirs = self.facts(&Draft::of(current), model);
        let mine = super::facts::changes(&base, &self.facts(&self.draft, model));
        let theirs = super::facts::changes(&base, &theirs);
        let gone = || "(removed)".to_owned();
        let mut rows: Vec<conflict::Clash> = Vec::new();
        for change in &mine {
            let other = theirs.iter().find(|other| other.label == change.label);
            rows.push(conflict::Clash {
                label: change.label.clone(),
                mine: Some(change.after.clone().unwrap_or_else(gone)),
                theirs: other.map(|other| other.after.clone().unwrap_or_else(gone)),
            });
        }
        for change in theirs.iter().filter(|change| !mine.iter().any(|other| other.label == change.label)) {
            let theirs = Some(change.after.clone().unwrap_or_else(gone));
            rows.push(conflict::Clash { label: change.label.clone(), mine: None, theirs });
        }
        rows
    }

    pub(super) fn keep_mine(&mut self, model: &mut Model, out: &mut Effects) {
        let Some(theirs) = self.theirs.take() else { return };
        (self.base, self.draft) = self.draft.rebased(&self.base, &theirs);
        self.hook = Some(theirs);
        self.steps.clear();
        self.judge();
        self.settle(model);
        self.save(model, out);
    }

    pub(super) fn take_theirs(&mut self, model: &mut Model) {
        let Some(theirs) = self.theirs.take() else { return };
        self.base = Draft::of(&theirs);
        self.draft = self.base.clone();
        self.hook = Some(theirs);
        self.steps.clear();
        self.refused.clear();
        self.told.clear();
        self.judge();
        self.settle(model);
        model.say("this is the webhook as it is now; your changes are gone");
    }
}

/// What brings back how it was, without the secrets that nobody has any more; `None` when nothing can
/// be brought back.
pub(crate) fn undo_of(
    before: &WebhookView,
    saved: &WebhookView,
    changes: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let was = Draft::of(before).document();
    let mut undo = Map::new();
    for (name, change) in changes {
        let lost = |field: &str, set: bool| set && change.get(field).is_some();
        let value = match name.as_str() {
            "signing_key" if before.signing_key.set => continue,
            "signing_key" => Value::Null,
            "headers" if loses_a_secret(before, change) => continue,
            "oauth" => match &before.oauth {
                None => Value::Null,
                Some(oauth) if change.is_null() && (oauth.token.set || oauth.request.set) => continue,
                Some(oauth) if lost("token", oauth.token.set) || lost("request", oauth.request.set) => continue,
                Some(oauth) => {
                    let mut back = Map::from_iter([("endpoint".to_owned(), json!(oauth.endpoint))]);
                    let added = ["token", "request"].into_iter().filter(|field| change.get(*field).is_some());
                    back.extend(added.map(|field| (field.to_owned(), Value::Null)));
                    back.into()
                }
            },
            "tls" => match &before.tls {
                None => Value::Null,
                Some(tls) if tls.client_key.set && (change.is_null() || change.get("client_key").is_some()) => continue,
                Some(tls) => {
                    let mut back = json!({"ca": tls.ca, "client_certificate": tls.client_certificate});
                    if change.get("client_key").is_some() {
                        back["client_key"] = Value::Null;
                    }
                    back
                }
            },
            "version" => continue,
            name => match was.get(name) {
                Some(value) => value.clone(),
                None => continue,
            },
        };
        undo.insert(name.clone(), value);
    }
    if undo.is_empty() {
        return None;
    }
    undo.insert("version".to_owned(), saved.version.into());
    Some(undo)
}

/// Whether a secret header is not among the new ones under its name, or has another value there.
fn loses_a_secret(before: &WebhookView, change: &Value) -> bool {
    let kept: Vec<&str> = change
        .as_array()
        .into_iter()
        .flatten()
        .filter(|header| header.get("value").is_none())
        .filter_map(|header| header.get("name").and_then(Value::as_str))
        .collect();
    let count = |names: &[&str], name: &str| names.iter().filter(|one| one.eq_ignore_ascii_case(name)).count();
    let secret: Vec<&str> =
        before.headers.iter().filter(|header| header.secret).map(|header| header.name.as_str()).collect();
    secret.iter().any(|name| count(&kept, name) != count(&secret, name))
}
