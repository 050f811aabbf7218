//! The fifth tab: the daemon itself, who may post, what does not fit its schema, and who changed what.
//!
//! It judges nothing: what an operator should know are the daemon's words. Its four parts are one list
//! that is walked from end to end; where there is room they stand beside each other.

mod rows;
mod view;

use std::collections::HashMap;

use crate::admin::protocol::{AuditView, KeyView, VerifyReport};
use crate::domain::time::Timestamp;
use crate::tui::dialog::verify::{Verify, verdict};
use crate::tui::dialog::{confirm, token};
use crate::tui::keymap::Action;
use crate::tui::listing::Listing;
use crate::tui::message::{Answered, Ask, Effects, Got};
use crate::tui::model::{Asking, Model, Prompt, Topic};
use crate::tui::screen::schema;
use crate::tui::screen::viewer::Viewer;
use crate::tui::text::safe;
use crate::tui::update::{act_in_tab, change};

pub(crate) use view::view;

/// Entries of the audit log that are shown.
pub const AUDIT_MAX: usize = 100;

/// The check of the whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Not since the program started.
    #[default]
    Never,
    /// Under way, since then.
    Running(Timestamp),
    /// What it found, and when that was known.
    Done(Timestamp, Result<VerifyReport, String>),
}

/// A part of the tab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// The daemon.
    #[default]
    Daemon,
    /// Ingest tokens.
    Tokens,
    /// Event types.
    Types,
    /// The audit log.
    Audit,
}

impl Part {
    /// In order.
    pub const ALL: [Self; 4] = [Self::Daemon, Self::Tokens, Self::Types, Self::Audit];
}

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct SystemTab {
    /// Ingest tokens, once they were asked for.
    pub keys: Option<Vec<KeyView>>,
    /// The newest of the audit log, once it was asked for.
    pub audit: Option<Vec<AuditView>>,
    /// The check of the whole store.
    pub check: Check,
    /// The part that one is in.
    pub part: Part,
    /// What is looked for.
    pub filter: String,
    /// Which row of each part is chosen.
    lists: [Listing; 4],
    /// Place of the first line on screen, where the parts stand one below the other.
    top: usize,
}

impl SystemTab {
    fn list(&self, part: Part) -> &Listing {
        &self.lists[part as usize]
    }
}

/// Keys of the rows of each part, in order.
fn keys(model: &Model) -> [Vec<String>; 4] {
    Part::ALL.map(|part| {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let unique = |row: rows::Row| {
            // Two entries of one instant can look the same.
            let times = seen.entry(row.key.clone()).or_default();
            *times += 1;
            format!("{} {times}", row.key)
        };
        rows::rows(model, part).into_iter().map(unique).collect()
    })
}

/// Keeps a row of each part chosen, and the chosen one of this part on the screen.
pub(crate) fn layout(model: &mut Model) {
    if model.tab != crate::tui::model::Tab::System {
        return;
    }
    let keys = keys(model);
    let heights = view::heights(model, [0, 1, 2, 3].map(|part| keys[part].len()));
    let tab = &mut model.system;
    for (at, keys) in keys.iter().enumerate() {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        tab.lists[at].height = heights[at];
        tab.lists[at].settle(&keys);
    }
    if keys[tab.part as usize].is_empty() {
        tab.part = Part::ALL.into_iter().find(|part| !keys[*part as usize].is_empty()).unwrap_or_default();
    }
    let top = view::top(model, &keys);
    model.system.top = top;
}

/// Narrows all parts to rows that hold a text.
pub(crate) fn search(model: &mut Model, text: &str) {
    text.clone_into(&mut model.system.filter);
}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    match action {
        Action::Up | Action::PreviousMatch => go(model, -1),
        Action::Down => go(model, 1),
        Action::HalfUp | Action::HalfDown | Action::PageUp | Action::PageDown => {
            let page = isize::try_from(model.system.list(model.system.part).height.max(2)).unwrap_or(isize::MAX);
            let half = (page / 2).max(1);
            go(
                model,
                match action {
                    Action::HalfUp => -half,
                    Action::HalfDown => half,
                    Action::PageUp => -page,
                    _ => page,
                },
            );
        }
        Action::Top => go(model, isize::MIN / 2),
        Action::Bottom => go(model, isize::MAX / 2),
        Action::Next => turn(model, 1),
        Action::Previous => turn(model, 3),
        Action::Back => model.system.filter.clear(),
        Action::Search => {
            let before = model.system.filter.clone();
            model.prompt = Some(Prompt::new(Asking::Search, "find: ").with(before));
        }
        Action::New => model.prompt = Some(Prompt::new(Asking::TokenName, "name of the new token: ")),
        Action::Delete => match chosen(model) {
            Some(Chosen::Token(key)) => {
                let dialog = confirm::revoke(&key.name);
                model.dialogs.push(Box::new(dialog));
            }
            _ => model.say("choose a token to revoke: Tab goes to the tokens"),
        },
        Action::TestMail => test_mail(model),
        Action::Verify => verify(model, out),
        Action::Open => open(model),
        action => {
            act_in_tab(model, action, out);
        }
    }
}

/// Moves over all rows of all parts.
fn go(model: &mut Model, by: isize) {
    let keys = keys(model);
    let tab = &mut model.system;
    let before: usize = keys[..tab.part as usize].iter().map(Vec::len).sum();
    let own: Vec<&str> = keys[tab.part as usize].iter().map(String::as_str).collect();
    let place = before + tab.lists[tab.part as usize].place(&own).unwrap_or(0);
    let last = keys.iter().map(Vec::len).sum::<usize>().saturating_sub(1);
    let mut place = place.saturating_add_signed(by).min(last);
    for part in Part::ALL {
        let rows: Vec<&str> = keys[part as usize].iter().map(String::as_str).collect();
        if place < rows.len() {
            tab.part = part;
            return tab.lists[part as usize].to(place, &rows);
        }
        place -= rows.len();
    }
}

/// To the next part that has rows.
fn turn(model: &mut Model, step: usize) {
    let keys = keys(model);
    let from = model.system.part as usize;
    let found = (1..=4).map(|times| Part::ALL[(from + times * step) % 4]).find(|part| !keys[*part as usize].is_empty());
    model.system.part = found.unwrap_or(model.system.part);
}

/// The row that is chosen.
enum Chosen {
    Fact,
    Token(KeyView),
    Type(String),
    Entry(AuditView),
}

fn chosen(model: &Model) -> Option<Chosen> {
    let part = model.system.part;
    let keys = &keys(model)[part as usize];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let place = model.system.list(part).place(&keys)?;
    Some(match part {
        Part::Daemon => Chosen::Fact,
        Part::Tokens => Chosen::Token((*rows::tokens(model).get(place)?).clone()),
        Part::Types => Chosen::Type(rows::types(model).get(place)?.name.clone()),
        Part::Audit => Chosen::Entry((*rows::audit(model).get(place)?).clone()),
    })
}

/// What there is to a row as a whole.
fn open(model: &mut Model) {
    let (title, file, shown) = match chosen(model) {
        Some(Chosen::Type(name)) => return schema::open(model, &name),
        Some(Chosen::Token(key)) => (format!("token {}", safe(&key.name)), "token.json", serde_json::to_vec(&key)),
        Some(Chosen::Entry(entry)) => {
            (format!("{} {}", safe(&entry.action), safe(&entry.subject)), "audit.json", serde_json::to_vec(&entry))
        }
        Some(Chosen::Fact) | None => return model.say("all there is to it is shown here"),
    };
    if let Ok(content) = shown {
        model.pages.push(Box::new(Viewer::new(title, file, content)));
    }
}

fn test_mail(model: &mut Model) {
    match &model.status {
        Some(status) if !status.email.configured => {
            model.complain("no mail server is configured: set smtp in the configuration file");
        }
        _ => model.prompt = Some(Prompt::new(Asking::MailTo, "send a test mail to: ")),
    }
}

/// Begins the check, or shows the one that is under way.
fn verify(model: &mut Model, out: &mut Effects) {
    if !matches!(model.system.check, Check::Running(_)) {
        let asked = out.0.len();
        change(model, Ask::Verify, out);
        if out.0.len() == asked {
            return;
        }
        model.system.check = Check::Running(model.now);
    }
    model.dialogs.push(Box::new(Verify));
}

/// What this tab asked for: a token that was made, and what the check found.
pub(crate) fn answered(model: &mut Model, answered: &Answered) {
    match (&answered.ask, &answered.got) {
        (Ask::CreateKey(_), Ok(Got::Key(made))) => {
            model.expire(&[Topic::Keys, Topic::Audit]);
            match token::Token::new(made) {
                Some(dialog) => model.dialogs.push(Box::new(dialog)),
                None => model.complain(format!("{} was made, but the daemon did not tell the token", safe(&made.name))),
            }
        }
        (Ask::Verify, got) => {
            let found = match got {
                Ok(Got::Verified(report)) => Ok((**report).clone()),
                Ok(_) => return,
                Err(trouble) => Err(trouble.words().to_owned()),
            };
            let (told, role) = verdict(&found);
            model.note = Some(crate::tui::model::Note {
                text: format!("the check is over: {told}"),
                bad: role == crate::tui::theme::Role::Bad,
            });
            model.system.check = Check::Done(model.now, found);
        }
        _ => {}
    }
}

/// What stands at the right of the second line.
pub(crate) fn remark(model: &Model) -> String {
    let Some(status) = &model.status else { return String::new() };
    match status.problems.len() {
        0 => "no problems".to_owned(),
        1 => "1 problem".to_owned(),
        number => format!("{number} problems"),
    }
}
