//! What the daemon answered, and what changed in it.
//!
//! What is shown in several places is put into the model here; pages and dialogs then see every answer
//! and take what they asked for. Nothing is asked here but what an answer makes necessary.

use crate::admin::client::Bulk;
use crate::admin::protocol::{ChangesView, WebhookView};
use crate::domain::webhook::Webhook;
use crate::tui::keymap::Context;
use crate::tui::message::{Answered, Ask, EditFor, Effects, Got, Trouble};
use crate::tui::model::{Fate, Link, Model, Topic, Undo};
use crate::tui::text::plural;

pub(super) fn take(model: &mut Model, answered: Answered, out: &mut Effects) {
    // Whether the daemon is there at all is told by the poll for changes, which hears of it at once.
    if answered.got.is_ok() {
        heard(model);
    }
    settle_topic(model, &answered);
    match (&answered.ask, &answered.got) {
        (ask, Err(trouble)) => failed(model, ask, trouble),
        (ask, Ok(got)) => done(model, ask, got),
    }
    crate::tui::screen::viewer::answered(model, &answered, out);
    crate::tui::screen::system::answered(model, &answered);
    super::commands::answered(model, &answered);
    let mut at = 0;
    while at < model.pages.len() {
        let mut page = model.pages.remove(at);
        page.answered(model, &answered, out);
        model.pages.insert(at.min(model.pages.len()), page);
        at += 1;
    }
    let mut at = 0;
    while at < model.dialogs.len() {
        let mut dialog = model.dialogs.remove(at);
        if dialog.answered(model, &answered, out) == Fate::Stay {
            model.dialogs.insert(at.min(model.dialogs.len()), dialog);
            at += 1;
        }
    }
    take_list(model, answered);
}

fn heard(model: &mut Model) {
    model.heard_at = Some(model.now);
}

fn lost(model: &mut Model, why: String) {
    if !matches!(model.link, Link::Lost(..)) {
        model.link = Link::Lost(model.now, why);
    }
}

/// A question about a topic is answered, one way or the other.
fn settle_topic(model: &mut Model, answered: &Answered) {
    let topic = match &answered.ask {
        Ask::Status => Topic::Status,
        Ask::Stats => Topic::Stats,
        Ask::Webhooks => Topic::Webhooks,
        Ask::EventTypes => Topic::EventTypes,
        Ask::Recent { .. } => Topic::Recent,
        Ask::Keys => Topic::Keys,
        Ask::Audit(..) => Topic::Audit,
        _ => return,
    };
    model.topic(topic).busy = false;
}

/// Parts of lists are moved in, not copied.
fn take_list(model: &mut Model, answered: Answered) {
    match (answered.ask, answered.got) {
        (Ask::Deliveries { ticket, part, walk, .. }, Ok(Got::Deliveries(page))) => {
            model.deliveries.window.take(ticket, part, page, &walk);
        }
        (Ask::Deliveries { ticket, .. }, Err(trouble)) => model.deliveries.window.fail(ticket, trouble.words()),
        (Ask::Events { ticket, part, walk, .. }, Ok(Got::Events(page))) => {
            model.events.window.take(ticket, part, page, &walk);
        }
        (Ask::Events { ticket, .. }, Err(trouble)) => model.events.window.fail(ticket, trouble.words()),
        (Ask::Recent { webhook, .. }, Ok(Got::Deliveries(page))) => model.overview.recent = (webhook, page.items),
        _ => {}
    }
}

/// What was asked for came to nothing. Questions are repeated when something changes; a change that
/// was refused is told.
fn failed(model: &mut Model, ask: &Ask, trouble: &Trouble) {
    let told = match ask {
        Ask::Create(..) | Ask::Change(..) | Ask::Replace(..) | Ask::RotateKey(..) if is_waited_for(model) => return,
        Ask::Test(..)
        | Ask::Count(..)
        | Ask::Start(..)
        | Ask::Job(..)
        | Ask::Deliveries { .. }
        | Ask::Events { .. } => return,
        Ask::Status | Ask::Stats | Ask::Webhooks | Ask::EventTypes | Ask::Recent { .. } => {
            if matches!(trouble, Trouble::Unreachable(_)) {
                return;
            }
            trouble.words().to_owned()
        }
        _ => trouble.words().to_owned(),
    };
    model.complain(told);
}

/// A form or a dialog tells what came of a change, better than it could be told here.
fn is_waited_for(model: &Model) -> bool {
    model.pages.iter().any(|page| page.context() == Context::Form) || !model.dialogs.is_empty()
}

fn done(model: &mut Model, ask: &Ask, got: &Got) {
    match (ask, got) {
        (_, Got::Status(status)) => {
            model.read_only |= status.read_only;
            model.status = Some((**status).clone());
        }
        (_, Got::Stats(stats)) => model.stats = Some((**stats).clone()),
        (_, Got::Webhooks(hooks)) => model.hooks = Some(hooks.clone()),
        (_, Got::EventTypes(types)) => model.types.clone_from(types),
        (Ask::Keys, Got::Keys(keys)) => model.system.keys = Some(keys.clone()),
        (Ask::Audit(..), Got::Audit(page)) => model.system.audit = Some(page.items.clone()),
        (Ask::Delete(..) | Ask::Restore(..) | Ask::Pause(..) | Ask::Activate(..), _) => switched(model, ask),
        (Ask::CloneWebhook(..), Got::Webhook(hook)) => cloned(model, hook),
        (Ask::Create(_) | Ask::Change(..) | Ask::Replace(..) | Ask::RotateKey(..), Got::Webhook(hook)) => {
            configured(model, ask, hook);
        }
        (Ask::Resend(_), Got::Resent(warnings)) => {
            let warned = warnings.first().map_or(String::new(), |warning| format!("; {warning}"));
            model.say(format!("sent again, as a new attempt with the same webhook-id{warned}"));
            model.untouched = true;
        }
        (Ask::Cancel(_), Got::Done(done)) => {
            model.say(if done.done {
                "stopped: no more attempts; r sends it once more"
            } else {
                "there was nothing to stop"
            });
            model.untouched = true;
        }
        (Ask::Each(bulk, ids), _) => {
            let verb = if *bulk == Bulk::Resend { "sent again" } else { "stopped" };
            model.say(format!("{} {verb}", plural(ids.len() as u64, "delivery", "deliveries")));
            model.deliveries.marked.clear();
            model.untouched = true;
        }
        (Ask::RevokeKey(name), _) => {
            model.say(format!("token {name} is worthless now"));
            model.expire(&[Topic::Keys, Topic::Audit]);
        }
        (Ask::TestMail(to), Got::Mailed(mailed)) => match (&mailed.error, mailed.sent) {
            (_, true) => model.say(format!("the mail server took a mail to {to}")),
            (error, false) => {
                model.complain(format!("no mail: {}", error.as_deref().unwrap_or("the server did not take it")));
            }
        },
        (_, Got::Written(path, count)) => {
            model.say(format!("{} written to {}", plural(*count as u64, "line", "lines"), path.display()));
        }
        _ => {}
    }
}

/// A webhook was deleted, restored, paused or switched: says so, and how it is taken back.
fn switched(model: &mut Model, ask: &Ask) {
    match ask {
        Ask::Delete(id, name) => {
            let until = model.now.plus(Webhook::RESTORE_WINDOW);
            let ask = Ask::Restore(id.clone(), name.clone());
            model.undo = Some(Undo { what: format!("the deletion of {name}"), ask, until });
            model.say(format!("deleted {name}; u takes it back for 10 minutes"));
            model.expire(&[Topic::Webhooks, Topic::Stats]);
        }
        Ask::Restore(_, name) => {
            model.say(format!("restored {name}"));
            model.expire(&[Topic::Webhooks, Topic::Stats]);
        }
        Ask::Pause(id, name, paused) => {
            undoable(model, format!("the change of {name}"), Ask::Pause(id.clone(), name.clone(), !paused));
            let what = if *paused { "paused; its deliveries are made and wait" } else { "goes on" };
            model.say(format!("{name} {what}; u takes it back"));
            model.expire(&[Topic::Webhooks]);
        }
        Ask::Activate(id, name, active) => {
            undoable(model, format!("the change of {name}"), Ask::Activate(id.clone(), name.clone(), !active));
            let what = if *active { "on: it gets events from now on" } else { "off: nothing is made for it" };
            model.say(format!("{name} is {what}; u takes it back"));
            model.expire(&[Topic::Webhooks]);
        }
        _ => {}
    }
}

fn undoable(model: &mut Model, what: String, ask: Ask) {
    model.undo = Some(Undo { what, ask, until: model.now.plus(Webhook::RESTORE_WINDOW) });
}

/// A webhook was changed. Where nobody waits for that, it was an undo.
fn configured(model: &mut Model, ask: &Ask, hook: &WebhookView) {
    if matches!(ask, Ask::Change(..)) && !is_waited_for(model) {
        model.say(format!("{} is as it was before", hook.name));
    }
    model.expire(&[Topic::Webhooks, Topic::Stats]);
}

fn cloned(model: &mut Model, hook: &WebhookView) {
    model.say(format!("{} made, off for now; Enter edits it, Space turns it on", hook.name));
    model.webhooks.list.selected = Some(hook.id.clone());
    model.expire(&[Topic::Webhooks, Topic::Stats]);
}

/// What changed in the daemon since the last time. Tells whether anything did.
pub(super) fn changed(model: &mut Model, changes: Result<ChangesView, Trouble>) -> bool {
    let view = match changes {
        Ok(view) => view,
        Err(Trouble::Unreachable(why)) => {
            lost(model, why);
            return false;
        }
        Err(trouble) => {
            model.complain(trouble.words().to_owned());
            return false;
        }
    };
    let was_lost = matches!(model.link, Link::Lost(..));
    if was_lost {
        model.say("the daemon answers again");
    }
    model.link = Link::Up;
    let before = model.changes.replace(view.clone());
    let another_run = before.as_ref().is_none_or(|before| before.run != view.run);
    let moved =
        |of: fn(&ChangesView) -> u64| another_run || before.as_ref().is_some_and(|before| of(before) != of(&view));
    let (deliveries, configuration) = (moved(|view| view.deliveries), moved(|view| view.configuration));
    if another_run || was_lost {
        model.expire(&Topic::ALL);
        for topic in &mut model.topics {
            topic.busy = false;
        }
    }
    if deliveries || configuration || was_lost {
        heard(model);
    }
    if deliveries {
        model.expire(&[Topic::Status, Topic::Stats, Topic::Recent, Topic::Webhooks]);
        model.untouched = true;
    }
    if configuration {
        model.expire(&[Topic::Status, Topic::Stats, Topic::Webhooks, Topic::EventTypes, Topic::Keys, Topic::Audit]);
    }
    deliveries || configuration || was_lost
}

/// An editor was closed.
pub(super) fn edited(model: &mut Model, purpose: EditFor, result: Result<String, String>, out: &mut Effects) {
    match (purpose, result) {
        (_, Err(why)) => model.complain(why),
        (EditFor::Field, Ok(text)) => {
            if let Some(mut page) = model.pages.pop() {
                page.edited(model, &text, out);
                model.pages.push(page);
            }
        }
        (EditFor::Webhook { id, version }, Ok(text)) => {
            crate::tui::screen::webhooks::edited(model, &id, version, &text, out);
        }
    }
}
