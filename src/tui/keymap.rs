//! The one table of what can be done, where, and with which keys. Hint line, help, palette, man page
//! and `tui.toml` are all made from it, so none of them can be wrong.
//!
//! It does nothing itself: what an action means is in `update`. Invariants: within one context no key
//! has two meanings; every action has a name, and those that change anything say so.

mod actions;

use std::collections::{BTreeMap, HashMap};

pub use self::actions::Action;
use super::keys::Key;

/// Where a key is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Context {
    /// The first tab.
    Overview,
    /// The list of webhooks.
    Webhooks,
    /// The list of deliveries.
    Deliveries,
    /// The list of events.
    Events,
    /// The last tab.
    System,
    /// One delivery.
    Delivery,
    /// One event.
    Event,
    /// The form of a webhook: characters are typed, so only others are keys.
    Form,
    /// The schema of an event type.
    Schema,
    /// A text as a whole.
    Viewer,
    /// Help.
    Help,
}

impl Context {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Overview,
        Self::Webhooks,
        Self::Deliveries,
        Self::Events,
        Self::System,
        Self::Delivery,
        Self::Event,
        Self::Form,
        Self::Schema,
        Self::Viewer,
        Self::Help,
    ];

    /// Its name, as in `[keys.deliveries]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Webhooks => "webhooks",
            Self::Deliveries => "deliveries",
            Self::Events => "events",
            Self::System => "system",
            Self::Delivery => "delivery",
            Self::Event => "event",
            Self::Form => "form",
            Self::Schema => "schema",
            Self::Viewer => "viewer",
            Self::Help => "help",
        }
    }

    /// The context with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|context| context.as_str() == name)
    }
}

/// Where an action can be had, with which keys, and how the hint line calls it.
#[derive(Clone, Copy, Debug)]
struct Row {
    contexts: &'static [Context],
    action: Action,
    keys: &'static [&'static str],
    /// How the hint line calls it; empty where it does not.
    hint: &'static str,
    /// The hints with the lowest come first.
    rank: u8,
}

const fn row(contexts: &'static [Context], action: Action, keys: &'static [&'static str]) -> Row {
    Row { contexts, action, keys, hint: "", rank: u8::MAX }
}

const fn hint(
    contexts: &'static [Context],
    action: Action,
    keys: &'static [&'static str],
    hint: &'static str,
    rank: u8,
) -> Row {
    Row { contexts, action, keys, hint, rank }
}

use Action as A;
use Context as C;

/// Everywhere but where characters are typed.
const ALL: &[Context] = &[
    C::Overview,
    C::Webhooks,
    C::Deliveries,
    C::Events,
    C::System,
    C::Delivery,
    C::Event,
    C::Schema,
    C::Viewer,
    C::Help,
];
const LISTS: &[Context] = &[C::Overview, C::Webhooks, C::Deliveries, C::Events, C::System];
const TEXTS: &[Context] = &[C::Delivery, C::Event, C::Schema, C::Viewer, C::Help];
const SENT: &[Context] = &[C::Deliveries, C::Delivery];

const ROWS: &[Row] = &[
    // What one does in a place, in the order of its hint line.
    hint(&[C::Overview], A::Open, &["Enter"], "open", 1),
    hint(&[C::Overview], A::Recent, &["r"], "recent", 2),
    hint(&[C::Overview], A::Test, &["t"], "test", 4),
    hint(&[C::Overview], A::Command, &[":"], "command", 5),
    hint(&[C::Webhooks], A::Open, &["Enter"], "edit", 1),
    hint(&[C::Webhooks], A::New, &["n", "a"], "new", 2),
    hint(&[C::Webhooks], A::Test, &["t"], "test", 3),
    hint(&[C::Webhooks], A::Toggle, &["Space"], "on/off", 4),
    hint(&[C::Webhooks], A::Delete, &["d"], "delete", 5),
    hint(&[C::Webhooks], A::Clone, &["c"], "clone", 6),
    hint(&[C::Webhooks], A::Recent, &["r"], "recent", 7),
    hint(&[C::Webhooks], A::Search, &["/"], "find", 8),
    row(&[C::Webhooks], A::Editor, &["e"]),
    row(&[C::Webhooks], A::Schema, &["o"]),
    row(&[C::Webhooks], A::Pause, &[]),
    row(&[C::Webhooks], A::Resume, &[]),
    row(&[C::Webhooks], A::Sort, &["s"]),
    row(&[C::Webhooks], A::SortReverse, &["S"]),
    row(&[C::Webhooks], A::CopyReference, &["y"]),
    row(&[C::Webhooks], A::CopyPayload, &["Y"]),
    hint(&[C::Deliveries], A::Search, &["/"], "scanRef", 1),
    hint(&[C::Deliveries], A::Filter, &["f"], "filter", 2),
    hint(&[C::Deliveries], A::Class, &["c"], "class", 3),
    hint(SENT, A::Resend, &["r"], "resend", 4),
    hint(&[C::Deliveries], A::Mark, &["Space"], "mark", 5),
    hint(&[C::Deliveries], A::Live, &["p"], "live", 6),
    hint(&[C::Deliveries], A::Open, &["Enter"], "open", 7),
    row(&[C::Deliveries], A::ResendMany, &["R"]),
    row(&[C::Deliveries], A::StopMany, &["X"]),
    row(&[C::Deliveries], A::MarkAll, &["*"]),
    hint(&[C::Delivery], A::Stop, &["x"], "stop", 5),
    row(&[C::Deliveries], A::Stop, &["x"]),
    hint(&[C::Delivery], A::Payload, &["v"], "payload", 6),
    row(&[C::Deliveries], A::Payload, &["v"]),
    hint(&[C::Delivery], A::Request, &["i"], "headers", 7),
    hint(&[C::Delivery], A::CopyReference, &["y"], "copy", 8),
    hint(&[C::Delivery], A::CopyCurl, &["C"], "curl", 9),
    hint(&[C::Delivery], A::NextItem, &["J"], "next", 10),
    row(&[C::Delivery], A::PreviousItem, &["K"]),
    row(&[C::Delivery, C::Event], A::CopyPayload, &["Y"]),
    row(&[C::Deliveries, C::Events, C::Event, C::Viewer], A::CopyReference, &["y"]),
    row(&[C::Deliveries], A::CopyPayload, &["Y"]),
    row(&[C::Deliveries], A::CopyCurl, &["C"]),
    row(&[C::Deliveries, C::Delivery, C::Events, C::Event, C::Schema, C::Viewer], A::Export, &["e"]),
    hint(&[C::Events], A::Open, &["Enter"], "open", 1),
    hint(&[C::Events], A::Search, &["/"], "reference", 2),
    hint(&[C::Events], A::Filter, &["f"], "filter", 3),
    hint(&[C::Events], A::Live, &["p"], "live", 4),
    hint(&[C::Events], A::Schema, &["o"], "schema", 5),
    row(&[C::Events], A::Payload, &["v"]),
    hint(&[C::Event], A::Open, &["Enter"], "open delivery", 1),
    hint(&[C::Event], A::Payload, &["v"], "payload", 2),
    row(&[C::Event], A::Schema, &["o"]),
    row(&[C::Event], A::NextItem, &["J"]),
    row(&[C::Event], A::PreviousItem, &["K"]),
    hint(&[C::System], A::Open, &["Enter"], "open", 1),
    hint(&[C::System], A::Next, &["Tab"], "next part", 2),
    hint(&[C::System], A::New, &["n"], "new token", 3),
    hint(&[C::System], A::Delete, &["d"], "revoke", 4),
    hint(&[C::System], A::TestMail, &["t"], "test mail", 5),
    row(&[C::System], A::Verify, &["V"]),
    row(&[C::System], A::Search, &["/"]),
    hint(&[C::Schema], A::Search, &["/"], "search", 1),
    hint(&[C::Schema], A::Fold, &["Space"], "fold", 3),
    hint(&[C::Schema], A::FoldAll, &["a"], "all", 4),
    hint(&[C::Schema], A::Example, &["x"], "example", 5),
    hint(&[C::Schema], A::CopyReference, &["y"], "copy", 6),
    hint(&[C::Schema], A::NextItem, &["J"], "next type", 7),
    row(&[C::Schema], A::PreviousItem, &["K"]),
    hint(&[C::Viewer], A::Search, &["/"], "search", 1),
    hint(&[C::Viewer], A::Pager, &["P"], "pager", 4),
    hint(&[C::Delivery], A::Search, &["/"], "search", 11),
    row(&[C::Event], A::Search, &["/"]),
    row(&[C::Delivery, C::Event, C::Schema], A::Pager, &["P"]),
    hint(&[C::Help], A::Search, &["/"], "search", 1),
    hint(&[C::Help], A::Open, &["Enter"], "do it", 2),
    hint(TEXTS, A::NextMatch, &["n"], "next", 12),
    row(TEXTS, A::PreviousMatch, &["N"]),
    row(&[C::Deliveries, C::Events], A::NextMatch, &["n"]),
    row(&[C::Deliveries, C::Events], A::PreviousMatch, &["N"]),
    row(&[C::Webhooks, C::System], A::PreviousMatch, &["N"]),
    // The form.
    hint(&[C::Form], A::Save, &["^S"], "save", 1),
    hint(&[C::Form], A::Test, &["^T"], "test", 2),
    hint(&[C::Form], A::Schema, &["^O"], "schema", 3),
    hint(&[C::Form], A::NewKey, &["^G"], "new key", 4),
    hint(&[C::Form], A::Reveal, &["^R"], "show", 5),
    hint(&[C::Form], A::Next, &["Tab"], "next", 6),
    hint(&[C::Form], A::Back, &["Esc"], "leave", 7),
    hint(&[C::Form], A::Help, &["F1"], "help", 8),
    row(&[C::Form], A::Previous, &["S-Tab"]),
    row(&[C::Form], A::Up, &["Up"]),
    row(&[C::Form], A::Down, &["Down"]),
    row(&[C::Form], A::PageUp, &["PgUp"]),
    row(&[C::Form], A::PageDown, &["PgDn"]),
    row(&[C::Form], A::AddHeader, &["^N"]),
    row(&[C::Form], A::RemoveHeader, &["^D"]),
    row(&[C::Form], A::SecretHeader, &["^K"]),
    row(&[C::Form], A::Editor, &["^X"]),
    row(&[C::Form], A::Undo, &["^_"]),
    row(&[C::Form], A::Redraw, &["^L"]),
    row(&[C::Form], A::Suspend, &["^Z"]),
    row(&[C::Form], A::Quit, &["^C"]),
    // Everywhere else.
    row(ALL, A::Help, &["?", "F1"]),
    row(&[C::Webhooks, C::Deliveries, C::Events, C::System], A::Command, &[":"]),
    row(TEXTS, A::Command, &[":"]),
    row(ALL, A::Overview, &["1"]),
    row(ALL, A::Webhooks, &["2"]),
    row(ALL, A::Deliveries, &["3"]),
    row(ALL, A::Events, &["4"]),
    row(ALL, A::System, &["5"]),
    row(ALL, A::Up, &["k", "Up"]),
    row(ALL, A::Down, &["j", "Down"]),
    row(ALL, A::Top, &["g", "Home"]),
    row(ALL, A::Bottom, &["G", "End"]),
    row(ALL, A::PageUp, &["PgUp"]),
    row(ALL, A::PageDown, &["PgDn"]),
    row(ALL, A::HalfUp, &["^U"]),
    row(ALL, A::HalfDown, &["^D"]),
    row(ALL, A::Left, &["h", "Left"]),
    row(ALL, A::Right, &["l", "Right"]),
    row(&[C::Delivery, C::Event, C::Schema], A::Next, &["Tab"]),
    row(&[C::System, C::Delivery, C::Event, C::Schema], A::Previous, &["S-Tab"]),
    row(LISTS, A::Wide, &["w"]),
    row(ALL, A::Undo, &["u"]),
    row(ALL, A::Mouse, &["m"]),
    row(ALL, A::Redraw, &["^L"]),
    row(ALL, A::Suspend, &["^Z"]),
    row(ALL, A::Back, &["Esc"]),
    row(ALL, A::Leave, &["q"]),
    row(ALL, A::Quit, &["Q", "^C"]),
];

/// Which key does what, where: the table above with the user's own keys over it.
#[derive(Clone, Debug)]
pub struct Keymap {
    actions: HashMap<(Context, Key), Action>,
    keys: BTreeMap<(Context, Action), Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let mut map = Self { actions: HashMap::new(), keys: BTreeMap::new() };
        for row in ROWS {
            for context in row.contexts {
                for key in row.keys.iter().filter_map(|name| Key::parse(name)) {
                    map.bind(*context, key, row.action);
                }
            }
        }
        map
    }
}

impl Keymap {
    /// What a key does.
    #[must_use]
    pub fn action(&self, context: Context, key: Key) -> Option<Action> {
        self.actions.get(&(context, key)).copied()
    }

    /// The keys of an action, the one to be shown first.
    #[must_use]
    pub fn keys(&self, context: Context, action: Action) -> &[Key] {
        self.keys.get(&(context, action)).map_or(&[], Vec::as_slice)
    }

    /// The actions that can be had in a context, in the order of the table.
    pub fn offered(context: Context) -> impl Iterator<Item = Action> {
        ROWS.iter().filter(move |row| row.contexts.contains(&context)).map(|row| row.action)
    }

    fn bind(&mut self, context: Context, key: Key, action: Action) {
        self.unbind(context, key);
        self.actions.insert((context, key), action);
        self.keys.entry((context, action)).or_default().push(key);
    }

    fn unbind(&mut self, context: Context, key: Key) {
        if let Some(before) = self.actions.remove(&(context, key)) {
            let keys = self.keys.entry((context, before)).or_default();
            keys.retain(|known| *known != key);
        }
    }

    /// Takes over a line of `tui.toml`: in `[keys.CONTEXT]`, `KEY = "ACTION"`, or `"none"` to take the
    /// key's meaning away. `everywhere` is every context that has the action.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn set(&mut self, context: &str, key: &str, action: &str) -> Result<(), String> {
        let wanted =
            Key::parse(key).ok_or_else(|| format!("{key:?} is not a key; write r, R, ^S, Space, PgDn or F1"))?;
        if wanted == Key::ctrl('c') {
            return Err("^C always quits".to_owned());
        }
        let contexts: Vec<Context> = match context {
            "everywhere" => ALL.to_vec(),
            name => vec![Context::parse(name).ok_or_else(|| format!("there is no place {name:?}"))?],
        };
        if contexts.contains(&Context::Form) && wanted.typed().is_some() {
            return Err(format!("in the form {key} is typed and cannot be a key"));
        }
        if action == "none" {
            contexts.into_iter().for_each(|context| self.unbind(context, wanted));
            return Ok(());
        }
        let action = Action::parse(action).ok_or_else(|| format!("there is no action {action:?}"))?;
        let offered: Vec<Context> =
            contexts.into_iter().filter(|context| Self::offered(*context).any(|one| one == action)).collect();
        if offered.is_empty() {
            return Err(format!("{} cannot be done in {context}", action.name()));
        }
        for context in offered {
            self.bind(context, wanted, action);
            // The user's own key is the one to be shown.
            let keys = self.keys.entry((context, action)).or_default();
            keys.rotate_right(1);
        }
        Ok(())
    }

    /// What the hint line says, most useful first: the first key and the words for it.
    #[must_use]
    pub fn hints(&self, context: Context, read_only: bool) -> Vec<(Key, Action, &'static str)> {
        let mut rows: Vec<&Row> = ROWS
            .iter()
            .filter(|row| row.contexts.contains(&context) && !row.hint.is_empty())
            .filter(|row| !(read_only && row.action.mutates()))
            .collect();
        rows.sort_by_key(|row| row.rank);
        rows.into_iter()
            .filter_map(|row| Some((*self.keys(context, row.action).first()?, row.action, row.hint)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn within_a_context_no_key_has_two_meanings_and_no_action_two_rows() {
        for context in Context::ALL {
            let mut seen: HashMap<Key, Action> = HashMap::new();
            let mut actions = HashSet::new();
            for row in ROWS.iter().filter(|row| row.contexts.contains(&context)) {
                assert!(actions.insert(row.action), "{:?} is twice in {context:?}", row.action);
                for name in row.keys {
                    let key = Key::parse(name).unwrap_or_else(|| panic!("{name} is no key"));
                    let before = seen.insert(key, row.action);
                    assert_eq!(before, None, "{name} in {context:?} means {:?} as well", row.action);
                }
            }
        }
    }

    #[test]
    fn every_action_can_be_had_somewhere_and_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for action in Action::ALL {
            assert!(names.insert(action.name()), "{} is twice", action.name());
            assert!(ROWS.iter().any(|row| row.action == *action), "{} is nowhere", action.name());
            assert_eq!(Action::parse(action.name()), Some(*action));
        }
    }

    #[test]
    fn keys_that_terminals_confuse_or_swallow_are_not_used() {
        for row in ROWS {
            for name in row.keys {
                assert!(!["^H", "^M", "^I", "^J", "^B", "^A", "^Q", "[", "]", "{", "}", "\\", "@", "~"].contains(name));
                // Flow control; taken off in raw mode, but only the form asks for it.
                assert!(*name != "^S" || row.contexts == [Context::Form]);
            }
        }
    }

    #[test]
    fn characters_are_typed_in_the_form() {
        for row in ROWS.iter().filter(|row| row.contexts.contains(&Context::Form)) {
            assert!(row.keys.iter().all(|name| Key::parse(name).unwrap().typed().is_none()), "{:?}", row.action);
        }
    }

    #[test]
    fn every_context_can_be_left_and_explained() {
        let map = Keymap::default();
        for context in Context::ALL {
            for action in [Action::Help, Action::Quit, Action::Back, Action::Redraw, Action::Suspend] {
                assert!(!map.keys(context, action).is_empty(), "{} in {context:?}", action.name());
            }
            assert!(map.hints(context, false).len() >= 2, "{context:?}");
            for (_, _, words) in map.hints(context, true) {
                assert!(!["resend", "delete", "save", "new", "test"].contains(&words), "{words} is offered read-only");
            }
        }
    }

    #[test]
    fn own_keys_take_the_place_of_built_in_ones() {
        let mut map = Keymap::default();
        map.set("deliveries", "z", "resend").unwrap();
        assert_eq!(map.action(Context::Deliveries, Key::char('z')), Some(Action::Resend));
        assert_eq!(map.keys(Context::Deliveries, Action::Resend), [Key::char('z'), Key::char('r')]);
        map.set("deliveries", "r", "none").unwrap();
        assert_eq!(map.action(Context::Deliveries, Key::char('r')), None);
        assert_eq!(map.hints(Context::Deliveries, false)[3], (Key::char('z'), Action::Resend, "resend"));
        map.set("everywhere", "x", "help").unwrap();
        assert_eq!(map.action(Context::Deliveries, Key::char('x')), Some(Action::Help));
        for (context, key, action) in [
            ("deliveries", "zz", "resend"),
            ("nowhere", "z", "resend"),
            ("deliveries", "z", "explode"),
            ("events", "z", "resend"),
            ("form", "z", "save"),
            ("everywhere", "^C", "help"),
        ] {
            assert!(map.set(context, key, action).is_err(), "{context} {key} {action}");
        }
    }
}
