//! How the model changes: one message at a time, with everything that is wanted outside as effects.
//!
//! Pure: it performs nothing, waits for nothing and reads no clock. The order is always the same: a
//! dialog has the keys, else the line in which something is typed, else the page, else the tab; what
//! has become stale and is looked at is asked for at the end.

mod answers;
mod commands;
mod fresh;
mod prompt;

pub use fresh::wake_in;

use super::dialog::Choice;
use super::keymap::{Action, Context};
use super::keys::{Code, Key};
use super::message::{Ask, Effect, Effects, Message};
use super::model::{Asking, Fate, Link, Model, Prompt, Tab};
use super::screen::{deliveries, events, overview, system, webhooks};
use crate::domain::time::Timestamp;

pub(super) use commands::run_command;

/// Deals with one message that arrived at `now`.
pub fn update(model: &mut Model, message: Message, now: Timestamp) -> Effects {
    let mut out = Effects::default();
    model.now = now;
    let mut changed = false;
    match message {
        Message::Key(key) => press(model, key, &mut out),
        Message::Paste(text) => paste(model, &text),
        Message::Resize(columns, rows) => model.size = (columns, rows),
        Message::Wheel(lines) => wheel(model, lines, &mut out),
        Message::Click(column, row) => click(model, column, row, &mut out),
        Message::Tick => tick(model, &mut out),
        Message::Answered(answered) => answers::take(model, *answered, &mut out),
        Message::Changes(changes) => changed = answers::changed(model, changes),
        Message::Edited(purpose, result) => answers::edited(model, purpose, result, &mut out),
        Message::NewKey(key) => super::dialog::choose(model, Choice::Key(key), &mut out),
        Message::Told(Ok(text)) => model.say(text),
        Message::Told(Err(text)) => model.complain(text),
        Message::Resumed => out.push(Effect::Redraw),
    }
    model.pages.retain(|page| !page.is_done());
    fresh::refresh(model, changed, &mut out);
    out
}

fn press(model: &mut Model, key: Key, out: &mut Effects) {
    if key == Key::ctrl('c') {
        return quit(model, out);
    }
    model.note = None;
    if let Some(mut dialog) = model.dialogs.pop() {
        let at = model.dialogs.len();
        if dialog.key(model, key, out) == Fate::Stay {
            model.dialogs.insert(at.min(model.dialogs.len()), dialog);
        }
        return;
    }
    if model.prompt.is_some() {
        return prompt::press(model, key, out);
    }
    if model.is_too_small() {
        // The message is all there is to see, so only these act.
        match key.code {
            Code::Char('q' | 'Q') => out.push(Effect::Quit),
            Code::Char(':') => model.prompt = Some(Prompt::new(Asking::Command, ":")),
            _ => {}
        }
        return;
    }
    if let Some(mut page) = model.pages.pop() {
        let at = model.pages.len();
        let handled = page.key(model, key, out);
        let fate = handled.unwrap_or(Fate::Stay);
        if fate == Fate::Stay {
            model.pages.insert(at.min(model.pages.len()), page);
        }
        if handled.is_some() {
            return;
        }
    }
    if let Some(action) = model.keymap.action(model.context(), key) {
        act(model, action, out);
    }
}

/// Does an action, wherever it was chosen: by a key, in the palette, in help.
pub(super) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    if action.mutates() && model.read_only {
        return model.complain(format!("read-only: {} is not possible here", action.help()));
    }
    match action {
        Action::Quit => return quit(model, out),
        Action::Redraw => return out.push(Effect::Redraw),
        Action::Suspend => return out.push(Effect::Suspend),
        Action::Undo if model.context() != Context::Form => return undo(model, out),
        Action::Command => return model.prompt = Some(Prompt::new(Asking::Command, ":")),
        Action::Mouse => {
            model.mouse = !model.mouse;
            model.say(if model.mouse { "mouse on; Shift and drag selects text" } else { "mouse off" });
            return out.push(Effect::Mouse(model.mouse));
        }
        Action::Help => return super::screen::help::open(model),
        _ => {}
    }
    if let Some(mut page) = model.pages.pop() {
        let at = model.pages.len();
        let fate = page.act(model, action, out);
        let stays = fate == Fate::Stay && tab_of(action).is_none_or(|_| page.is_edited());
        if stays {
            model.pages.insert(at.min(model.pages.len()), page);
        } else if tab_of(action).is_some() {
            go_to(model, action);
        }
        return;
    }
    if go_to(model, action) {
        return;
    }
    match model.tab {
        Tab::Overview => overview::act(model, action, out),
        Tab::Webhooks => webhooks::act(model, action, out),
        Tab::Deliveries => deliveries::act(model, action, out),
        Tab::Events => events::act(model, action, out),
        Tab::System => system::act(model, action, out),
    }
}

fn tab_of(action: Action) -> Option<Tab> {
    match action {
        Action::Overview => Some(Tab::Overview),
        Action::Webhooks => Some(Tab::Webhooks),
        Action::Deliveries => Some(Tab::Deliveries),
        Action::Events => Some(Tab::Events),
        Action::System => Some(Tab::System),
        _ => None,
    }
}

fn go_to(model: &mut Model, action: Action) -> bool {
    let Some(tab) = tab_of(action) else { return false };
    show(model, tab);
    true
}

/// Shows a tab, without any page over it; a page that would lose something is shown instead.
pub(super) fn show(model: &mut Model, tab: Tab) {
    if let Some(edited) = model.pages.iter().rposition(|page| page.is_edited()) {
        model.pages.truncate(edited + 1);
        return model.complain("there are changes that are not saved; save them, or leave with Esc, first");
    }
    model.tab = tab;
    model.shift = 0;
    model.pages.clear();
}

/// What a tab does with an action that means the same in all of them. `true` when it was one.
pub(super) fn act_in_tab(model: &mut Model, action: Action, out: &mut Effects) -> bool {
    match action {
        Action::Leave => quit(model, out),
        Action::Left => model.shift = model.shift.saturating_sub(8),
        Action::Right => model.shift = (model.shift + 8).min(200),
        Action::Wide => {
            model.wide = !model.wide;
            model.shift = 0;
            remember(model, out);
        }
        _ => return false,
    }
    true
}

/// Has what is to be remembered written down.
pub(super) fn remember(model: &Model, out: &mut Effects) {
    out.push(Effect::Remember(super::message::Remembered {
        webhooks_sort: Some((model.webhooks.sort.title().to_owned(), model.webhooks.reverse)),
        wide: model.wide,
    }));
}

/// Ends; asks first when something would be lost.
pub(super) fn quit(model: &mut Model, out: &mut Effects) {
    if model.pages.iter().any(|page| page.is_edited()) && model.dialogs.is_empty() {
        let dialog = super::dialog::confirm::unsaved();
        return model.dialogs.push(Box::new(dialog));
    }
    out.push(Effect::Quit);
}

fn undo(model: &mut Model, out: &mut Effects) {
    match model.undo.take() {
        Some(undo) if undo.until > model.now => {
            model.say(format!("taking back {}", undo.what));
            out.ask(undo.ask);
        }
        Some(undo) => model.complain(format!("{} can not be taken back any more", undo.what)),
        None => model.say("there is nothing to take back"),
    }
}

/// Pasted text goes where text goes, and never acts.
fn paste(model: &mut Model, text: &str) {
    // Line ends of a paste into one line are blanks, and what steers terminals is nothing.
    let text: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some(mut dialog) = model.dialogs.pop() {
        dialog.paste(model, &text);
        return model.dialogs.push(dialog);
    }
    if let Some(prompt) = &mut model.prompt {
        return insert(&mut prompt.input, &text);
    }
    if let Some(mut page) = model.pages.pop() {
        let taken = page.paste(model, &text);
        model.pages.push(page);
        if taken {
            return;
        }
    }
    model.say("pasted text was ignored: there is no field here; / or : open one");
}

/// Puts a text in at the cursor.
pub(super) fn insert(input: &mut tui_input::Input, text: &str) {
    let (value, cursor) = (input.value(), input.cursor());
    let before: String = value.chars().take(cursor).collect();
    let after: String = value.chars().skip(cursor).collect();
    let place = cursor + text.chars().count();
    *input = tui_input::Input::new(format!("{before}{text}{after}")).with_cursor(place);
}

/// What a key does to a line in which is typed; `false` when it does nothing to it.
pub(super) fn type_into(input: &mut tui_input::Input, key: Key) -> bool {
    use tui_input::InputRequest as R;
    let request = match (key.code, key.ctrl) {
        (Code::Char(character), false) if !key.alt => R::InsertChar(character),
        (Code::Backspace, _) | (Code::Char('h'), true) => R::DeletePrevChar,
        (Code::Delete, _) => R::DeleteNextChar,
        (Code::Left, _) => R::GoToPrevChar,
        (Code::Right, _) => R::GoToNextChar,
        (Code::Home, _) | (Code::Char('a'), true) => R::GoToStart,
        (Code::End, _) | (Code::Char('e'), true) => R::GoToEnd,
        (Code::Char('w'), true) => R::DeletePrevWord,
        (Code::Char('u'), true) => R::DeleteFromStart,
        _ => return false,
    };
    input.handle(request);
    true
}

fn wheel(model: &mut Model, lines: i32, out: &mut Effects) {
    if model.dialogs.is_empty() && model.prompt.is_none() {
        let action = if lines < 0 { Action::Up } else { Action::Down };
        (0..lines.unsigned_abs().min(10)).for_each(|_| act(model, action, out));
    }
}

/// A click on a tab goes there; others mean nothing, because a row that moves is easily missed.
fn click(model: &mut Model, column: u16, row: u16, out: &mut Effects) {
    if row != 1 || model.is_small() || !model.dialogs.is_empty() || model.prompt.is_some() {
        return;
    }
    if let Some(tab) = super::view::tab_at(usize::from(column)) {
        let actions = [Action::Overview, Action::Webhooks, Action::Deliveries, Action::Events, Action::System];
        act(model, actions[tab as usize], out);
    }
}

fn tick(model: &mut Model, out: &mut Effects) {
    for at in (0..model.dialogs.len()).rev() {
        if at < model.dialogs.len() {
            let mut dialog = model.dialogs.remove(at);
            dialog.tick(model, out);
            model.dialogs.insert(at.min(model.dialogs.len()), dialog);
        }
    }
    if matches!(&model.undo, Some(undo) if undo.until <= model.now) {
        model.undo = None;
    }
}

/// Whether the daemon answers; says so when it does not.
pub(super) fn is_linked(model: &mut Model) -> bool {
    if let Link::Lost(..) = model.link {
        model.complain("the daemon does not answer; nothing was changed, try again when it is back");
        return false;
    }
    true
}

/// Asks for a change, unless the daemon does not answer or nothing may be changed.
pub(super) fn change(model: &mut Model, ask: Ask, out: &mut Effects) {
    if model.read_only {
        return model.complain("read-only: nothing can be changed here");
    }
    if is_linked(model) {
        out.ask(ask);
    }
}
