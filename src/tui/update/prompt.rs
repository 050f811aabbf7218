//! The line at the bottom: what is typed there, and what becomes of it.
//!
//! It knows how to type and whom to hand the text to, not what the text means there.

use std::path::PathBuf;

use serde_json::json;

use super::{change, run_command, type_into};
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Ask, Effect, Effects};
use crate::tui::model::{Asking, Model, Tab};
use crate::tui::screen::{deliveries, events, system, webhooks};

/// Commands that are remembered.
const HISTORY_MAX: usize = 50;

pub(super) fn press(model: &mut Model, key: Key, out: &mut Effects) {
    let Some(mut prompt) = model.prompt.take() else { return };
    match key.code {
        Code::Esc => {
            if prompt.asking == Asking::Search {
                typed(model, "", out);
            }
            return;
        }
        Code::Backspace if prompt.input.value().is_empty() => return,
        Code::Enter => return submit(model, prompt.asking, prompt.input.value(), out),
        Code::Tab if prompt.asking == Asking::Command => {
            if let Some(best) = crate::tui::palette::matches(model, prompt.input.value()).into_iter().next() {
                prompt.input = tui_input::Input::new(best.completion);
            }
        }
        Code::Up if prompt.asking == Asking::Command => {
            let current = prompt.input.value();
            let at = model.history.iter().rposition(|one| one == current).unwrap_or(model.history.len());
            if let Some(before) = at.checked_sub(1).and_then(|at| model.history.get(at)) {
                prompt.input = tui_input::Input::new(before.clone());
            }
        }
        _ => {
            type_into(&mut prompt.input, key);
            if prompt.asking == Asking::Search {
                let text = prompt.input.value().to_owned();
                model.prompt = Some(prompt);
                return typed(model, &text, out);
            }
        }
    }
    model.prompt = Some(prompt);
}

/// Lists in memory are narrowed while the text is typed.
fn typed(model: &mut Model, text: &str, out: &mut Effects) {
    if !model.pages.is_empty() {
        return search(model, text, out);
    }
    match model.tab {
        Tab::Webhooks => webhooks::search(model, text),
        Tab::System => system::search(model, text),
        Tab::Overview | Tab::Deliveries | Tab::Events => {}
    }
}

fn search(model: &mut Model, text: &str, out: &mut Effects) {
    if let Some(mut page) = model.pages.pop() {
        page.search(model, text, out);
        return model.pages.push(page);
    }
    match model.tab {
        Tab::Overview => {}
        Tab::Webhooks => webhooks::search(model, text),
        Tab::Deliveries => deliveries::search(model, text),
        Tab::Events => events::search(model, text),
        Tab::System => system::search(model, text),
    }
}

pub(super) fn submit(model: &mut Model, asking: Asking, text: &str, out: &mut Effects) {
    let text = text.trim();
    match asking {
        Asking::Search => search(model, text, out),
        Asking::Command => {
            if !text.is_empty() {
                model.history.retain(|one| one != text);
                model.history.push(text.to_owned());
                if model.history.len() > HISTORY_MAX {
                    model.history.remove(0);
                }
            }
            run_command(model, text, out);
        }
        _ if text.is_empty() => model.say("nothing was done"),
        Asking::CloneName(id) => {
            change(model, Ask::CloneWebhook(id, Box::new(json!({"name": text, "active": false}))), out);
        }
        Asking::TokenName => change(model, Ask::CreateKey(text.to_owned()), out),
        Asking::MailTo => {
            model.say("sending a test mail …");
            change(model, Ask::TestMail(text.to_owned()), out);
        }
        Asking::ExportTo => {
            let path = in_directory(model, text);
            model.say("writing …");
            out.ask(match model.tab {
                Tab::Events => Ask::ExportEvents(Box::new(model.events.filter(model)), path),
                _ => Ask::ExportDeliveries(Box::new(model.deliveries.filter(model)), path),
            });
        }
        Asking::WriteTo(bytes) => {
            let path = in_directory(model, text);
            out.push(Effect::Write { path, bytes });
        }
    }
}

/// A name alone is meant in the directory that the program was started in.
fn in_directory(model: &Model, text: &str) -> PathBuf {
    model.directory.join(text)
}
