//! What a command after `:` does.
//!
//! It understands what was typed with the words of `palette` and hands on; what destroys anything
//! goes through the same dialog as its key. What is not understood does nothing and says what was
//! meant.

use jiff::civil::Time;

use super::{act, change, prompt};
use crate::admin::client::Bulk;
use crate::domain::id::EventId;
use crate::domain::time::Timestamp;
use crate::tui::dialog::jobs::Jobs;
use crate::tui::dialog::{bulk, filter};
use crate::tui::keymap::{Action, Context, Keymap};
use crate::tui::message::{Answered, Ask, Effects, Got};
use crate::tui::model::{Asking, Model, Prompt, Tab};
use crate::tui::palette::{self, Command, Deed, Meaning, Takes, Verb};
use crate::tui::screen::{deliveries, schema, webhooks};
use crate::tui::text::{Glyphs, Shown, instant, safe, shown};
use crate::tui::theme::Base;

/// Does what was typed.
pub(crate) fn run_command(model: &mut Model, text: &str, out: &mut Effects) {
    let text = text.trim().trim_start_matches(':').trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
    if word.is_empty() {
        return;
    }
    if let Some(action) = refused(model, word) {
        return model.complain(format!("read-only: {} is not possible here", action));
    }
    match palette::meaning(model, word) {
        Meaning::One(Command::Verb(verb)) => run_verb(model, verb, rest, out),
        Meaning::One(Command::Action(action)) => run_action(model, action, rest, out),
        Meaning::Near(near) => not_understood(model, word, &near),
    }
}

/// The words for what would be changed, where nothing may be changed.
fn refused(model: &Model, word: &str) -> Option<&'static str> {
    if !model.read_only {
        return None;
    }
    let verb = palette::VERBS.iter().find(|verb| verb.name == word && verb.mutates).map(|verb| verb.help);
    verb.or_else(|| Action::parse(word).filter(|action| action.mutates()).map(Action::help))
}

/// It is the name of something that can be had elsewhere, or of nothing.
fn not_understood(model: &mut Model, word: &str, near: &[&str]) {
    if let Some(action) = Action::parse(word) {
        let places: Vec<&str> = Context::ALL
            .into_iter()
            .filter(|one| Keymap::offered(*one).any(|other| other == action))
            .map(Context::as_str)
            .collect();
        return model.complain(format!("{word} is not possible here, but in: {}", places.join(", ")));
    }
    let meant: Vec<String> = near.iter().take(3).map(|name| format!(":{name}")).collect();
    let meant =
        if meant.is_empty() { "; ? lists them".to_owned() } else { format!("; did you mean {}?", meant.join(" or ")) };
    model.complain(format!("there is no command {}{meant}", safe(word)));
}

fn run_action(model: &mut Model, action: Action, rest: &str, out: &mut Effects) {
    if !rest.is_empty() {
        return model.complain(format!("nothing can stand behind {}", action.name()));
    }
    if !leaves(action) || may_leave(model) {
        act(model, action, out);
    }
}

/// Whether the pages that are open would be closed.
fn leaves(action: Action) -> bool {
    matches!(action, Action::Overview | Action::Webhooks | Action::Deliveries | Action::Events | Action::System)
}

/// Whether nothing would be lost if the pages that are open were closed; says so if it would.
pub(super) fn may_leave(model: &mut Model) -> bool {
    let edited = model.pages.iter().any(|page| page.is_edited());
    if edited {
        model.complain("the form has changes that are not saved: save or drop them first");
    }
    !edited
}

fn run_verb(model: &mut Model, verb: &'static Verb, rest: &str, out: &mut Effects) {
    if rest.is_empty() && verb.takes != Takes::Nothing && verb.deed != Deed::Deliveries {
        return match palette::bare(model, verb) {
            Some(action) => run_action(model, action, "", out),
            // What is missing can be typed at once; the names are shown above it.
            None => model.prompt = Some(Prompt::new(Asking::Command, ":").with(format!("{} ", verb.name))),
        };
    }
    match verb.deed {
        Deed::Deliveries => show_deliveries(model, rest),
        Deed::Webhook(action) => on_webhook(model, action, rest, verb.mutates, out),
        Deed::Activate(active) => match palette::hook(model, rest, true).cloned() {
            Ok(hook) => change(model, Ask::Activate(hook.id, hook.name, active), out),
            Err(why) => model.complain(why),
        },
        Deed::Schema => match palette::event_type(model, rest) {
            Ok(name) => schema::open(model, &name),
            Err(why) => model.complain(why),
        },
        Deed::Many(what) => many(model, what, rest, out),
        Deed::Job => {
            model.wanted_job = Some(rest.to_owned());
            out.ask(Ask::Job(rest.to_owned()));
        }
        Deed::Jobs => out.ask(Ask::Jobs),
        Deed::Export => export(model, rest, out),
        Deed::At => go_to_time(model, rest),
        Deed::Theme => theme(model, rest),
        Deed::Zone => zone(model, rest),
        Deed::Ascii => {
            let ascii = model.glyphs == Glyphs::ASCII;
            model.glyphs = if ascii { Glyphs::UNICODE } else { Glyphs::ASCII };
            model.say(if ascii { "drawn with lines again" } else { "drawn with ASCII only" });
        }
        Deed::Act(action) => run_action(model, action, rest, out),
    }
}

fn show_deliveries(model: &mut Model, rest: &str) {
    if !may_leave(model) {
        return;
    }
    match palette::pairs(rest).and_then(|pairs| filter::delivery_filter(&pairs, model)) {
        Ok(filter) => deliveries::narrow(model, filter),
        Err(why) => model.complain(why),
    }
}

fn on_webhook(model: &mut Model, action: Action, name: &str, whole: bool, out: &mut Effects) {
    match palette::hook(model, name, whole).cloned() {
        Ok(hook) if action != Action::Recent || may_leave(model) => webhooks::act_on(model, action, &hook, out),
        Ok(_) => {}
        Err(why) => model.complain(why),
    }
}

/// Counts first, and asks then.
fn many(model: &mut Model, what: Bulk, rest: &str, out: &mut Effects) {
    match palette::pairs(rest).and_then(|pairs| filter::delivery_filter(&pairs, model)) {
        Ok(typed) => {
            let said = deliveries::describe(&typed);
            let filter = deliveries::DeliveriesTab { filter: typed, ..Default::default() }.filter(model);
            bulk::open(model, what, &filter, &said, out);
        }
        Err(why) => model.complain(why),
    }
}

/// Writes to this file what the key would ask a name for.
fn export(model: &mut Model, file: &str, out: &mut Effects) {
    if !palette::is_offered(model, Action::Export) {
        return model.complain("there is nothing to write here: Deliveries, Events, or what is opened from them");
    }
    act(model, Action::Export, out);
    if let Some(prompt) = model.prompt.take() {
        prompt::submit(model, prompt.asking, file, out);
    }
}

/// Goes to a time in the list of events, else in that of deliveries.
fn go_to_time(model: &mut Model, text: &str) {
    if !may_leave(model) {
        return;
    }
    let Some(at) = time_of(model, text) else {
        return model.complain(format!("{} is no time: 14:30, 2h, 2026-11-23 or 2026-11-23 09:30", safe(text)));
    };
    // Ids sort by time, so the smallest id of an instant is a place in the list.
    let id = EventId::first_at(at.plus(std::time::Duration::from_millis(1))).to_string();
    let tab = if model.tab == Tab::Events { Tab::Events } else { Tab::Deliveries };
    super::show(model, tab);
    if tab == Tab::Events {
        model.events.window.jump_to(id)
    } else {
        model.deliveries.window.jump_to(id)
    }
    let (when, zone) = (shown(at, &model.zone, Shown::Full), crate::tui::text::zone_name(at, &model.zone));
    model.say(format!("held at {when} {zone}; p goes live"));
}

/// An instant as `since=` takes it, or a time of the last 24 hours.
fn time_of(model: &Model, text: &str) -> Option<Timestamp> {
    if let Some(at) = deliveries::point_in_time(text, model) {
        return instant(&at);
    }
    let time: Time = text.parse().ok()?;
    let now = jiff::Timestamp::from_millisecond(i64::try_from(model.now.millis()).ok()?).ok()?;
    let today = now.to_zoned(model.zone.clone()).date();
    let of = |date: jiff::civil::Date| date.to_datetime(time).to_zoned(model.zone.clone()).ok();
    let at = of(today).filter(|at| at.timestamp() <= now).or_else(|| of(today.yesterday().ok()?))?;
    u64::try_from(at.timestamp().as_millisecond()).ok().map(Timestamp::from_millis)
}

fn theme(model: &mut Model, name: &str) {
    match Base::parse(&name.to_lowercase()) {
        Some(base) if model.mono_only && base != Base::Mono => {
            model.complain("NO_COLOR is set, so there is only the theme mono");
        }
        Some(base) => {
            model.theme.base = base;
            model.say(format!("theme {}", base.as_str()));
        }
        None => model.complain(format!("there is no theme {}: {}", safe(name), Base::ALL.map(Base::as_str).join(", "))),
    }
}

fn zone(model: &mut Model, name: &str) {
    model.zone = match name.to_lowercase().as_str() {
        "utc" => jiff::tz::TimeZone::UTC,
        "local" => model.local.clone(),
        _ => return model.complain(format!("{} is no zone to choose: utc or local", safe(name))),
    };
    model.say(format!("times are shown in {}", crate::tui::text::zone_name(model.now, &model.zone)));
}

/// What a command asked for.
pub(super) fn answered(model: &mut Model, answered: &Answered) {
    match (&answered.ask, &answered.got) {
        (Ask::Job(id), got) if model.wanted_job.as_ref() == Some(id) => {
            model.wanted_job = None;
            match got {
                Ok(Got::Job(job)) => bulk::follow(model, job),
                Ok(_) => {}
                Err(trouble) => model.complain(trouble.words().to_owned()),
            }
        }
        (Ask::Jobs, Ok(Got::Jobs(jobs))) if jobs.is_empty() => {
            model.say("nothing was resent or stopped in bulk since the daemon started");
        }
        (Ask::Jobs, Ok(Got::Jobs(jobs))) => model.dialogs.push(Box::new(Jobs::new(jobs.clone()))),
        _ => {}
    }
}
