//! Event types to choose from: several of them for a webhook, or one to look at.
//!
//! What is typed narrows the list, letters of a name in order being enough. It knows the types that the
//! daemon named; another name may be typed, and is the daemon's to judge.

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use tui_input::Input;

use super::{Choice, choose};
use crate::admin::protocol::EventTypeView;
use crate::domain::event_type::{WILDCARD, canonical, is_valid_name};
use crate::tui::keys::{Code, Key};
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::screen::schema;
use crate::tui::text::{plural, wrapped};
use crate::tui::theme::Role;
use crate::tui::update::{insert, type_into};
use crate::tui::view::pen::Pen;

/// Headings, in order.
const GROUPS: [&str; 4] = ["KYC", "AML", "KYB", "Other"];

/// What stands in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Heading(String),
    /// Every event.
    All,
    /// A type, by its name.
    Type(String),
    /// A name that the daemon did not tell.
    Other(String),
}

/// The dialog.
pub struct EventTypes {
    types: Vec<EventTypeView>,
    /// Names that are ticked; `None` when one is chosen to be looked at.
    ticked: Option<Vec<String>>,
    /// Something was ticked or unticked here.
    touched: bool,
    filter: Input,
    /// Place among the entries that can be chosen.
    at: usize,
}

impl EventTypes {
    /// For a webhook that gets these.
    #[must_use]
    pub(crate) fn several(model: &Model, chosen: &[String], filter: &str) -> Self {
        let filter = Input::new(filter.to_owned());
        let mut picker =
            Self { types: model.types.clone(), ticked: Some(chosen.to_vec()), touched: false, filter, at: 0 };
        if picker.filter.value().is_empty() {
            let first = chosen.first();
            let entries = picker.choices();
            picker.at = entries.iter().position(|entry| name_of(entry).as_ref() == first).unwrap_or(0);
        }
        picker
    }

    /// To look at the schema of one.
    #[must_use]
    pub(crate) fn one(model: &Model) -> Self {
        Self { types: model.types.clone(), ticked: None, touched: false, filter: Input::default(), at: 0 }
    }

    /// What is listed, best first while something is looked for.
    fn entries(&self) -> Vec<Entry> {
        let wanted = self.filter.value().trim();
        if wanted.is_empty() {
            let mut entries: Vec<Entry> = if self.ticked.is_some() { vec![Entry::All] } else { Vec::new() };
            for group in GROUPS {
                let of_group: Vec<Entry> = self
                    .types
                    .iter()
                    .filter(|one| one.group == group)
                    .map(|one| Entry::Type(one.name.clone()))
                    .collect();
                if !of_group.is_empty() {
                    entries.push(Entry::Heading(group.to_owned()));
                    entries.extend(of_group);
                }
            }
            entries.extend(self.unknown().into_iter().map(Entry::Other));
            return entries;
        }
        let mut matcher = Matcher::new(Config::DEFAULT);
        let pattern = Pattern::new(wanted, CaseMatching::Ignore, Normalization::Smart, AtomKind::Fuzzy);
        let mut letters = Vec::new();
        let mut score = |text: &str| pattern.score(Utf32Str::new(text, &mut letters), &mut matcher);
        let mut found: Vec<(u32, Entry)> = Vec::new();
        for one in &self.types {
            // What it is called counts for more than what it means.
            let name = score(&one.label).max(score(&one.name)).map(|score| score + 1000);
            let best = name.or_else(|| score(&one.meaning));
            found.extend(best.map(|score| (score, Entry::Type(one.name.clone()))));
        }
        found.extend(score("every event").filter(|_| self.ticked.is_some()).map(|score| (score, Entry::All)));
        found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let mut entries: Vec<Entry> = found.into_iter().map(|(_, entry)| entry).collect();
        let name = canonical(wanted);
        let known = self.types.iter().any(|one| one.name == name || one.label.eq_ignore_ascii_case(wanted));
        if !known && is_valid_name(&name) && self.ticked.is_some() {
            entries.push(Entry::Other(name));
        }
        entries
    }

    /// Ticked names that the daemon did not tell.
    fn unknown(&self) -> Vec<String> {
        let known = |name: &String| name == WILDCARD || self.types.iter().any(|one| one.name == *name);
        self.ticked.iter().flatten().filter(|name| !known(name)).cloned().collect()
    }

    fn choices(&self) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| !matches!(entry, Entry::Heading(_))).collect()
    }

    fn chosen(&self) -> Option<String> {
        self.choices().get(self.at).and_then(name_of)
    }

    fn toggle(&mut self) {
        let Some(name) = self.chosen() else { return };
        let Some(ticked) = &mut self.ticked else { return };
        self.touched = true;
        if ticked.contains(&name) {
            ticked.retain(|one| *one != name);
        } else if name == WILDCARD {
            *ticked = vec![name];
        } else {
            // Every event and some events are not both meant.
            ticked.retain(|one| one != WILDCARD);
            ticked.push(name);
        }
    }

    /// What Enter takes: those that were ticked here, else the one that is chosen.
    fn taken(&self) -> Option<Vec<String>> {
        let ticked = self.ticked.as_ref()?;
        if self.touched || self.choices().is_empty() {
            return Some(ticked.clone()).filter(|ticked| !ticked.is_empty());
        }
        let name = self.chosen()?;
        // One of several that are ticked was only looked at.
        if ticked.len() > 1 && ticked.contains(&name) { Some(ticked.clone()) } else { Some(vec![name]) }
    }

    fn label(&self, name: &str) -> String {
        if name == WILDCARD {
            return "every event".to_owned();
        }
        self.types.iter().find(|one| one.name == name).map_or_else(|| name.to_owned(), |one| one.label.clone())
    }

    fn foot(&self) -> String {
        let enter = match (&self.ticked, self.taken()) {
            (None, _) => "look at it".to_owned(),
            (_, None) => "nothing is ticked".to_owned(),
            (_, Some(taken)) => match taken.as_slice() {
                [one] => format!("only {}", self.label(one)),
                several => format!("these {}", several.len()),
            },
        };
        let space = if self.ticked.is_some() { "Space: tick   " } else { "" };
        format!("{space}Enter: {enter}   Esc: Cancel")
    }

    fn line(&self, entry: &Entry, y: usize, pen: &mut Pen<'_>) {
        let tick = |name: &str| match &self.ticked {
            None => "",
            Some(ticked) if ticked.iter().any(|one| one == name) => "[x] ",
            Some(_) => "[ ] ",
        };
        let known = |name: &str| self.types.iter().find(|one| one.name == name);
        let (label, meaning) = match entry {
            Entry::Heading(group) => {
                pen.text(1, y, group, Role::Heading);
                return;
            }
            Entry::All => ("every event".to_owned(), "all types there are and will be".to_owned()),
            Entry::Other(name) => (name.clone(), "as typed; the daemon says whether it takes it".to_owned()),
            Entry::Type(name) => match known(name) {
                Some(kind) if kind.deprecated => (format!("{} (legacy)", kind.label), kind.meaning.clone()),
                Some(kind) => (kind.label.clone(), kind.meaning.clone()),
                None => (name.clone(), String::new()),
            },
        };
        let name = name_of(entry).unwrap_or_default();
        let x = pen.text(2, y, tick(&name), Role::Text);
        let x = pen.text(x, y, &label, Role::Text);
        if pen.width() > 66 {
            pen.text(x.max(37) + 2, y, &meaning, Role::Dim);
        }
    }

    /// What the chosen one means, in full.
    fn meaning(&self, entry: Option<&Entry>) -> String {
        match entry {
            Some(Entry::All) => "all types there are and will be".to_owned(),
            Some(Entry::Other(_)) => "a name as typed; the daemon says whether it takes it".to_owned(),
            Some(Entry::Type(name)) => {
                self.types.iter().find(|one| one.name == *name).map_or(String::new(), |one| one.meaning.clone())
            }
            _ => String::new(),
        }
    }
}

fn name_of(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Heading(_) => None,
        Entry::All => Some(WILDCARD.to_owned()),
        Entry::Type(name) | Entry::Other(name) => Some(name.clone()),
    }
}

impl Dialog for EventTypes {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        let last = self.choices().len().saturating_sub(1);
        match key.code {
            Code::Esc => return Fate::Close,
            Code::Up | Code::BackTab => self.at = self.at.saturating_sub(1),
            Code::Down | Code::Tab => self.at = (self.at + 1).min(last),
            Code::PageUp => self.at = self.at.saturating_sub(8),
            Code::PageDown => self.at = (self.at + 8).min(last),
            Code::Char(' ') if self.ticked.is_some() => self.toggle(),
            Code::Enter => match (&self.ticked, self.chosen(), self.taken()) {
                (None, Some(name), _) => {
                    schema::open(model, &name);
                    return Fate::Close;
                }
                (Some(_), _, Some(types)) => {
                    choose(model, Choice::Types(types), out);
                    return Fate::Close;
                }
                _ => {}
            },
            _ => {
                if type_into(&mut self.filter, key) {
                    self.at = self.at.min(self.choices().len().saturating_sub(1));
                    if key.typed().is_some() {
                        self.at = 0;
                    }
                }
            }
        }
        Fate::Stay
    }

    fn paste(&mut self, _model: &mut Model, text: &str) {
        insert(&mut self.filter, text);
        self.at = 0;
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let columns = pen.width().saturating_sub(8).min(92);
        let most = self.types.len() + GROUPS.len() + 5;
        let rows = pen.height().saturating_sub(if pen.height() < 20 { 2 } else { 6 }).min(most);
        let title = if self.ticked.is_some() { "Event types" } else { "Choose an event type" };
        let mut inside = pen.dialog(columns, rows, title, &self.foot());
        let x = inside.text(1, 0, "find: ", Role::Key);
        let (width, height) = (inside.width(), inside.height());
        let ticked = self.ticked.as_ref().map_or(0, Vec::len) as u64;
        let number =
            if self.ticked.is_some() { format!("{} ticked ", plural(ticked, "type", "types")) } else { String::new() };
        let room = width.saturating_sub(x + number.len() + 1);
        inside.field(x, 0, room, &self.filter, true);
        inside.right(0, &number, Role::Dim);
        let entries = self.entries();
        if entries.is_empty() {
            inside.text(2, 2, "no event type is called so", Role::Dim);
            return;
        }
        let place = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !matches!(entry, Entry::Heading(_)))
            .nth(self.at)
            .map_or(0, |(place, _)| place);
        let meaning = wrapped(&self.meaning(entries.get(place)), width.saturating_sub(3));
        for (y, line) in meaning.iter().take(2).enumerate() {
            inside.text(2, height.saturating_sub(2) + y, line, Role::Text);
        }
        let shown = height.saturating_sub(3).max(1);
        // A little of what comes next is seen, too.
        let top = (place + 2).saturating_sub(shown).min(entries.len().saturating_sub(shown)).min(place);
        for (y, (number, entry)) in entries.iter().enumerate().skip(top).take(shown).enumerate() {
            self.line(entry, y + 1, &mut inside);
            if number == place {
                inside.text(0, y + 1, ">", Role::Text);
                inside.choose(1, y + 1, width.saturating_sub(1));
            }
        }
    }
}
