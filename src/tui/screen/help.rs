//! Help: what can be done where one is, with which keys; what can be done everywhere; the words for
//! how things stand; and the commands.
//!
//! It is made from the tables of keys and of commands and holds no texts of its own about them, so it
//! cannot be wrong about them. What would be refused because nothing may be changed is left out.

use std::collections::BTreeSet;

use crate::tui::keymap::{Action, Context, Keymap};
use crate::tui::message::Effects;
use crate::tui::model::{Asking, Fate, Model, Page, Prompt};
use crate::tui::palette::{Takes, VERBS, Verb};
use crate::tui::text::safe;
use crate::tui::theme::Role;
use crate::tui::update::{act, run_command};
use crate::tui::view::pen::Pen;

/// Actions that are halves of one thing share a line, with words for the whole.
const TOGETHER: &[(&[Action], &str)] = &[
    (&[Action::Overview, Action::Webhooks, Action::Deliveries, Action::Events, Action::System], "go to a tab"),
    (&[Action::Down, Action::Up], "move"),
    (&[Action::Top, Action::Bottom], "top (and go live), bottom"),
    (&[Action::PageDown, Action::PageUp], "a page down, up"),
    (&[Action::HalfDown, Action::HalfUp], "half a page down, up"),
    (&[Action::Left, Action::Right], "sideways"),
    (&[Action::NextMatch, Action::PreviousMatch], "next, previous match"),
    (&[Action::Next, Action::Previous], "next, previous part or field"),
    (&[Action::NextItem, Action::PreviousItem], "next, previous one"),
];

/// The words for how things stand.
const WORDS: &[(&str, &str)] = &[
    ("0", "no response: see WHY of the attempt"),
    ("queued", "waits for its first try"),
    ("2xx", "success: the receiver took it"),
    ("sending", "on its way now"),
    ("3xx", "redirection: not followed, not taken"),
    ("retry", "was not taken, waits for the next try"),
    ("4xx", "client error: the receiver refuses it"),
    ("done", "taken with 2xx"),
    ("5xx", "server error: the receiver failed"),
    ("failed", "not taken, no try is left"),
    ("LIVE", "the list follows what arrives"),
    ("stopped", "given up by hand; resend it any time"),
    ("PAUSED +3", "the list is held, 3 are newer"),
    ("skipped", "the webhook's filter did not let it through"),
    ("drift", "payloads that did not fit their schema"),
    ("paused", "waits because its webhook is paused"),
];

/// What a line does.
#[derive(Clone, Debug)]
enum Deed {
    /// Nothing: it only says something.
    Say,
    /// One of these actions.
    Act(Vec<Action>),
    /// A command.
    Command(&'static Verb),
}

/// What is said in one line.
#[derive(Clone, Debug)]
struct Entry {
    keys: String,
    text: String,
    deed: Deed,
}

/// A line of the page.
#[derive(Clone, Debug)]
enum Line {
    /// Names of one section or of two beside each other.
    Rule(&'static str, &'static str),
    /// One entry or two, by their places.
    Entries(Option<usize>, Option<usize>),
    Text(String),
    Blank,
}

/// All of it, laid out.
struct Content {
    entries: Vec<Entry>,
    lines: Vec<Line>,
}

/// Help for one place.
pub struct HelpPage {
    of: Context,
    filter: String,
    /// Line and column of the chosen entry.
    at: (usize, usize),
    top: usize,
    height: usize,
}

/// Opens help for where one is; closes it when it is open.
pub(crate) fn open(model: &mut Model) {
    if model.context() == Context::Help {
        drop(model.pages.pop());
        return;
    }
    let page = HelpPage { of: model.context(), filter: String::new(), at: (0, 0), top: 0, height: 20 };
    model.pages.push(Box::new(page));
}

/// The keys of actions as they are shown: the first of each, then the others. Without a key the command.
fn keys_of(model: &Model, of: Context, actions: &[Action]) -> String {
    let keys: Vec<_> = actions.iter().map(|action| model.keymap.keys(of, *action)).collect();
    let most = keys.iter().map(|keys| keys.len()).max().unwrap_or(0);
    let shown: Vec<String> =
        (0..most).flat_map(|at| keys.iter().filter_map(move |keys| keys.get(at))).map(ToString::to_string).collect();
    if shown.is_empty() {
        return actions.iter().map(|action| format!(":{}", action.name())).collect::<Vec<_>>().join(" ");
    }
    shown.join(" ")
}

/// Entries for actions, those that belong together in one.
fn entries_of(model: &Model, of: Context, actions: &[Action]) -> Vec<Entry> {
    let mut done: BTreeSet<Action> = BTreeSet::new();
    let mut entries = Vec::new();
    for action in actions {
        if done.contains(action) {
            continue;
        }
        let group = TOGETHER.iter().find(|(group, _)| group.contains(action));
        let together: Vec<Action> = group.map_or_else(
            || vec![*action],
            |(group, _)| group.iter().copied().filter(|one| actions.contains(one)).collect(),
        );
        let text = match group {
            Some((group, words)) if together.len() == group.len() => *words,
            _ => action.help(),
        };
        done.extend(&together);
        let keys = keys_of(model, of, &together);
        entries.push(Entry { keys, text: text.to_owned(), deed: Deed::Act(together) });
    }
    entries
}

impl HelpPage {
    /// Actions that can be had here only, and those that can be had everywhere.
    fn actions(&self, model: &Model) -> (Vec<Action>, Vec<Action>) {
        let others: Vec<Context> =
            Context::ALL.into_iter().filter(|context| !matches!(context, Context::Form | Context::Help)).collect();
        let everywhere = |action: &Action| {
            self.of != Context::Form
                && others.iter().all(|context| Keymap::offered(*context).any(|offered| offered == *action))
        };
        Keymap::offered(self.of)
            .filter(|action| !(model.read_only && action.mutates()))
            .partition(|action| !everywhere(action))
    }

    fn content(&self, model: &Model) -> Content {
        let (here, everywhere) = self.actions(model);
        let here = entries_of(model, self.of, &here);
        let everywhere = entries_of(model, self.of, &everywhere);
        let say = |(word, means): &(&str, &str)| Entry {
            keys: (*word).to_owned(),
            text: (*means).to_owned(),
            deed: Deed::Say,
        };
        let words: Vec<Entry> = WORDS.iter().map(say).collect();
        // In the form a colon is typed.
        let offered = |verb: &&Verb| self.of != Context::Form && !(model.read_only && verb.mutates);
        let commands: Vec<Entry> = VERBS.iter().filter(offered).map(command).collect();
        let mut content = Content { entries: Vec::new(), lines: Vec::new() };
        if !self.filter.is_empty() {
            let wanted = self.filter.to_lowercase();
            let all = here.into_iter().chain(everywhere).chain(words).chain(commands);
            let found = all.filter(|entry| {
                let name = if let Deed::Act(actions) = &entry.deed { actions[0].name() } else { "" };
                [&entry.keys, &entry.text, name].iter().any(|text| text.to_lowercase().contains(&wanted))
            });
            content.single("Found", found.collect());
            return content;
        }
        if model.size.0 >= 80 {
            let (left, right) = if everywhere.is_empty() {
                let half = here.len().div_ceil(2);
                (here[..half].to_vec(), here[half..].to_vec())
            } else {
                (here, everywhere)
            };
            content.beside(("This screen", if self.of == Context::Form { "" } else { "Everywhere" }), left, right);
            let (left, right) = halves(words);
            content.beside(("What the words mean", ""), left, right);
        } else {
            content.single("This screen", here);
            content.single("Everywhere", everywhere);
            content.single("What the words mean", words);
        }
        if !commands.is_empty() {
            content.single("Commands: type : then", commands);
        }
        content.lines.push(Line::Text(
            "Keys can be changed: /etc/postrider/tui.toml or ~/.config/postrider/tui.toml".to_owned(),
        ));
        content
    }

    /// Brings the chosen entry to one that is there, and onto the screen.
    fn settle(&mut self, model: &Model) {
        self.height = model.body_height().max(1);
        let content = self.content(model);
        let first = content.lines.iter().position(|line| matches!(line, Line::Entries(..))).unwrap_or(0);
        let last = content.lines.iter().rposition(|line| matches!(line, Line::Entries(..))).unwrap_or(0);
        self.at.0 = self.at.0.clamp(first, last);
        while content.entry(self.at).is_none() && self.at.0 > first {
            self.at.0 -= 1;
        }
        // The line above the first entry is its name, and what follows the last belongs to it.
        let begin = if self.at.0 == first { 0 } else { self.at.0 };
        let end = if self.at.0 == last { content.lines.len() } else { self.at.0 + 1 };
        let lowest = end.saturating_sub(self.height);
        self.top = self.top.clamp(lowest, begin.max(lowest));
    }

    fn by(&mut self, model: &Model, lines: isize) {
        let content = self.content(model);
        let last = content.lines.len().saturating_sub(1);
        let step = if lines < 0 { -1 } else { 1 };
        let mut to = self.at.0.saturating_add_signed(lines).min(last);
        // Names of sections are passed over.
        while !matches!(content.lines.get(to), Some(Line::Entries(..))) && to > 0 && to < last {
            to = to.saturating_add_signed(step);
        }
        if matches!(content.lines.get(to), Some(Line::Entries(..))) {
            self.at.0 = to;
        }
        self.settle(model);
    }

    /// Does what the chosen line says, on what lies below this page.
    fn perform(&self, model: &mut Model, out: &mut Effects) -> Fate {
        let content = self.content(model);
        match content.entry(self.at).map(|entry| (&entry.deed, &entry.keys)) {
            Some((Deed::Act(actions), _)) if actions.len() == 1 => {
                act(model, actions[0], out);
                Fate::Close
            }
            Some((Deed::Act(_), keys)) => {
                model.say(format!("press one of  {keys}"));
                Fate::Stay
            }
            Some((Deed::Command(verb), _)) => {
                if verb.takes == Takes::Nothing {
                    run_command(model, verb.name, out);
                } else {
                    model.prompt = Some(Prompt::new(Asking::Command, ":").with(format!("{} ", verb.name)));
                }
                Fate::Close
            }
            Some((Deed::Say, _)) | None => Fate::Stay,
        }
    }
}

fn command(verb: &'static Verb) -> Entry {
    let keys = format!(":{} {}", verb.name, verb.arguments).trim_end().to_owned();
    Entry { keys, text: verb.help.to_owned(), deed: Deed::Command(verb) }
}

/// Every other one, so that the table reads line by line.
fn halves(entries: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
    let (left, right): (Vec<_>, Vec<_>) = entries.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let strip = |half: Vec<(usize, Entry)>| half.into_iter().map(|(_, entry)| entry).collect();
    (strip(left), strip(right))
}

impl Content {
    fn single(&mut self, title: &'static str, entries: Vec<Entry>) {
        self.lines.push(Line::Rule(title, ""));
        for entry in entries {
            self.lines.push(Line::Entries(Some(self.entries.len()), None));
            self.entries.push(entry);
        }
        self.lines.push(Line::Blank);
    }

    fn beside(&mut self, titles: (&'static str, &'static str), left: Vec<Entry>, right: Vec<Entry>) {
        self.lines.push(Line::Rule(titles.0, titles.1));
        let begin = self.entries.len();
        let (ahead, behind) = (left.len(), right.len());
        for at in 0..ahead.max(behind) {
            let left = (at < ahead).then_some(begin + at);
            let right = (at < behind).then_some(begin + ahead + at);
            self.lines.push(Line::Entries(left, right));
        }
        self.entries.extend(left);
        self.entries.extend(right);
        self.lines.push(Line::Blank);
    }

    /// The entry at a line and a column, or the one beside it.
    fn entry(&self, at: (usize, usize)) -> Option<&Entry> {
        let Line::Entries(left, right) = self.lines.get(at.0)? else { return None };
        let place = if at.1 == 1 { right.or(*left) } else { left.or(*right) };
        self.entries.get(place?)
    }
}

impl Page for HelpPage {
    fn context(&self) -> Context {
        Context::Help
    }

    fn title(&self) -> String {
        "Help".to_owned()
    }

    fn remark(&self, _model: &Model) -> String {
        if self.filter.is_empty() { String::new() } else { format!("only {}  Esc: all", safe(&self.filter)) }
    }

    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate {
        let page = isize::try_from(self.height.max(2) - 1).unwrap_or(isize::MAX);
        match action {
            Action::Back if !self.filter.is_empty() => self.filter.clear(),
            Action::Back | Action::Leave => return Fate::Close,
            Action::Open => return self.perform(model, out),
            Action::Search => {
                model.prompt = Some(Prompt::new(Asking::Search, "search help: ").with(self.filter.clone()));
            }
            Action::Up | Action::PreviousMatch => self.by(model, -1),
            Action::Down | Action::NextMatch => self.by(model, 1),
            Action::HalfUp => self.by(model, -(page / 2).max(1)),
            Action::HalfDown => self.by(model, (page / 2).max(1)),
            Action::PageUp => self.by(model, -page),
            Action::PageDown => self.by(model, page),
            Action::Top => self.by(model, isize::MIN / 2),
            Action::Bottom => self.by(model, isize::MAX / 2),
            Action::Left => self.at.1 = 0,
            Action::Right => self.at.1 = 1,
            _ => {}
        }
        Fate::Stay
    }

    fn search(&mut self, _model: &mut Model, text: &str, _out: &mut Effects) {
        text.clone_into(&mut self.filter);
        self.at = (0, 0);
    }

    fn refresh(&mut self, model: &mut Model, _changed: bool, _out: &mut Effects) {
        self.settle(model);
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        let content = self.content(model);
        let half = pen.width() / 2;
        for (y, (number, line)) in content.lines.iter().enumerate().skip(self.top).take(pen.height()).enumerate() {
            match line {
                Line::Blank => {}
                Line::Text(text) => drop(pen.text(1, y, text, Role::Dim)),
                Line::Rule(left, "") => pen.rule(y, left, ""),
                Line::Rule(left, right) => {
                    let columns = pen.width();
                    pen.part(0, y, half - 1, 1).rule(0, left, "");
                    pen.part(half, y, columns - half, 1).rule(0, right, "");
                }
                Line::Entries(left, right) => {
                    let two = right.is_some() || (left.is_some() && model.size.0 >= 80 && is_beside(&content, number));
                    let mut draw = |place: &Option<usize>, column: usize| {
                        let Some(entry) = place.and_then(|place| content.entries.get(place)) else { return };
                        let chosen = self.at.0 == number && (self.at.1 == column || left.is_none() || right.is_none());
                        let x = if column == 1 { half } else { 0 };
                        let columns = if two { half - 1 } else { pen.width() };
                        draw_entry(entry, chosen, two, &mut pen.part(x, y, columns, 1));
                    };
                    draw(left, 0);
                    draw(right, 1);
                }
            }
        }
        if content.entries.is_empty() {
            pen.text(2, 1, "nothing here is called that; Esc shows all", Role::Text);
        }
    }
}

/// Whether the section that a line belongs to has two columns.
fn is_beside(content: &Content, line: usize) -> bool {
    let section = content.lines[..line].iter().rev().take_while(|line| matches!(line, Line::Entries(..)));
    section.into_iter().any(|line| matches!(line, Line::Entries(_, Some(_))))
        || matches!(content.lines.get(line), Some(Line::Entries(_, Some(_))))
}

fn draw_entry(entry: &Entry, chosen: bool, narrow: bool, pen: &mut Pen<'_>) {
    let columns = if narrow { 14 } else { 22 };
    pen.text(0, 0, if chosen { ">" } else { " " }, Role::Text);
    pen.part(2, 0, columns + 1, 1).text(0, 0, &entry.keys, Role::Key);
    let end = pen.text(columns + 4, 0, &entry.text, Role::Text);
    if chosen {
        pen.choose(1, 0, end.saturating_sub(1));
    }
}
