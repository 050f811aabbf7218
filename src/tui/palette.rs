//! What can be typed after `:`, and which of it is meant by what was typed.
//!
//! It does nothing itself: `update::commands` does. Every action that can be had where one is is a
//! command by its name; besides, the verbs below take words that say on what. Invariant: nothing is
//! offered that would be refused, because nothing may be changed.

mod words;

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use super::keymap::{Action, Keymap};
use super::model::Model;
use crate::admin::client::Bulk;

pub(crate) use words::{closest, event_type, hook, pairs};

/// What stands behind a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// The name of a webhook.
    Webhook,
    /// The name of an event type.
    EventType,
    /// What a list of deliveries is narrowed to, as `KEY=VALUE`; may be left out.
    Filter,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any text.
    Text,
}

/// What a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is explained by the help of its verb")]
pub enum Deed {
    Deliveries,
    Webhook(Action),
    Activate(bool),
    Schema,
    Many(Bulk),
    Job,
    Jobs,
    Export,
    At,
    Theme,
    Zone,
    Ascii,
    Act(Action),
}

/// A command that is more than the name of an action.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// What is typed.
    pub name: &'static str,
    /// What stands behind it.
    pub takes: Takes,
    /// The same as it is shown.
    pub arguments: &'static str,
    /// Whether it changes anything in the daemon, or has a receiver asked.
    pub mutates: bool,
    /// What it does, in words.
    pub help: &'static str,
    /// What it does.
    pub deed: Deed,
}

const fn verb(
    name: &'static str,
    takes: Takes,
    arguments: &'static str,
    mutates: bool,
    help: &'static str,
    deed: Deed,
) -> Verb {
    Verb { name, takes, arguments, mutates, help, deed }
}

use Action as A;
use Takes as T;

const PAIRS: &str = "KEY=VALUE …";

/// All of them, the most useful first.
pub const VERBS: &[Verb] = &[
    verb("d", T::Filter, PAIRS, false, "deliveries that match: class=5xx webhook=NAME since=1h", Deed::Deliveries),
    verb("hook", T::Webhook, "NAME", false, "open a webhook", Deed::Webhook(A::Open)),
    verb("recent", T::Webhook, "NAME", false, "recently sent to a webhook", Deed::Webhook(A::Recent)),
    verb("at", T::Text, "TIME", false, "go to a time in the list: 14:30, 2h, 2026-11-23 09:30", Deed::At),
    verb("resend", T::Filter, PAIRS, true, "resend many; says first how many", Deed::Many(Bulk::Resend)),
    verb("stop", T::Filter, PAIRS, true, "stop retrying many; says first how many", Deed::Many(Bulk::Cancel)),
    verb("test", T::Webhook, "NAME", true, "test a webhook as it is saved", Deed::Webhook(A::Test)),
    verb("pause", T::Webhook, "NAME", true, "pause sending: deliveries are made and wait", Deed::Webhook(A::Pause)),
    verb("resume", T::Webhook, "NAME", true, "resume sending", Deed::Webhook(A::Resume)),
    verb("enable", T::Webhook, "NAME", true, "turn a webhook on", Deed::Activate(true)),
    verb("disable", T::Webhook, "NAME", true, "turn a webhook off: nothing is made for it", Deed::Activate(false)),
    verb("delete", T::Webhook, "NAME", true, "delete a webhook; asks for its name", Deed::Webhook(A::Delete)),
    verb("clone", T::Webhook, "NAME", true, "make a webhook like another", Deed::Webhook(A::Clone)),
    verb("type", T::EventType, "NAME", false, "JSON schema and example of an event type", Deed::Schema),
    verb("jobs", T::Nothing, "", false, "what was resent or stopped in bulk", Deed::Jobs),
    verb("job", T::Text, "ID", false, "how far a job is", Deed::Job),
    verb("export", T::Text, "FILE", false, "write what is on screen to a file", Deed::Export),
    verb("theme", T::OneOf(&["mono", "ansi16", "dark", "light"]), "NAME", false, "change colours", Deed::Theme),
    verb("tz", T::OneOf(&["utc", "local"]), "utc|local", false, "show times in UTC, or in the local zone", Deed::Zone),
    verb("ascii", T::Nothing, "", false, "draw with ASCII only, or not", Deed::Ascii),
    verb("hooks", T::Nothing, "", false, "tab Webhooks", Deed::Act(A::Webhooks)),
    verb("q", T::Nothing, "", false, "quit", Deed::Act(A::Quit)),
];

/// Something that can be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What is typed in the end; a blank at its end says that more has to follow.
    pub completion: String,
    /// What may follow.
    pub arguments: &'static str,
    /// What it does.
    pub help: String,
    /// Return does this, with what is typed now.
    pub sure: bool,
}

/// A verb or an action that can be had where one is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// A verb.
    Verb(&'static Verb),
    /// An action, by its name.
    Action(Action),
}

impl Command {
    /// What is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verb(verb) => verb.name,
            Self::Action(action) => action.name(),
        }
    }

    fn mutates(self) -> bool {
        match self {
            Self::Verb(verb) => verb.mutates,
            Self::Action(action) => action.mutates(),
        }
    }
}

/// Whether an action can be had where one is.
pub(crate) fn is_offered(model: &Model, action: Action) -> bool {
    Keymap::offered(model.context()).any(|one| one == action)
}

/// The action that a verb is when nothing stands behind it, if that can be had here.
pub(crate) fn bare(model: &Model, verb: &Verb) -> Option<Action> {
    Action::parse(verb.name).filter(|action| is_offered(model, *action))
}

/// All that can be typed here, in the order of the tables.
pub(crate) fn commands(model: &Model) -> Vec<Command> {
    let verbs = VERBS.iter().map(Command::Verb);
    let is_verb = |action: &Action| VERBS.iter().any(|verb| verb.name == action.name());
    let actions = Keymap::offered(model.context()).filter(|action| !is_verb(action)).map(Command::Action);
    verbs.chain(actions).filter(|command| !(model.read_only && command.mutates())).collect()
}

/// What a word may mean.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// This.
    One(Command),
    /// None of them for certain; these are near.
    Near(Vec<&'static str>),
}

/// What a word means: its own name, or the only one that begins with it. A word that is misspelt
/// means nothing for certain, except when only one harmless command has its letters in this order.
pub(crate) fn meaning(model: &Model, word: &str) -> Meaning {
    let word = word.to_lowercase();
    let all = commands(model);
    if let Some(one) = all.iter().find(|command| command.name() == word) {
        return Meaning::One(*one);
    }
    let begins: Vec<Command> =
        all.iter().copied().filter(|command| word.len() > 1 && command.name().starts_with(&word)).collect();
    if let [one] = begins.as_slice() {
        return Meaning::One(*one);
    }
    if !begins.is_empty() {
        return Meaning::Near(begins.iter().map(|command| command.name()).collect());
    }
    let mut score = scorer(&word);
    let holds: Vec<Command> = all.iter().copied().filter(|command| score(command.name()).is_some()).collect();
    match holds.as_slice() {
        [one] if word.len() > 2 && !one.mutates() => Meaning::One(*one),
        [] => Meaning::Near(closest(&word, all.iter().map(|command| command.name()))),
        _ => Meaning::Near(holds.iter().take(3).map(|command| command.name()).collect()),
    }
}

/// How well texts match; `None` for not at all.
pub(crate) fn scorer(typed: &str) -> impl FnMut(&str) -> Option<u32> + use<> {
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::new(typed, CaseMatching::Ignore, Normalization::Smart, AtomKind::Fuzzy);
    let mut buffer = Vec::new();
    move |text: &str| pattern.score(Utf32Str::new(text, &mut buffer), &mut matcher)
}

/// What may be meant, the best first.
#[must_use]
pub fn matches(model: &Model, typed: &str) -> Vec<Match> {
    let typed = typed.trim_start().trim_start_matches(':');
    if let Some((word, rest)) = typed.split_once(' ') {
        return match meaning(model, word) {
            Meaning::One(Command::Verb(verb)) => words::arguments(model, verb, rest.trim_start()),
            _ => Vec::new(),
        };
    }
    let sure = match meaning(model, typed) {
        Meaning::One(command) if !typed.is_empty() => Some(command.name()),
        _ => None,
    };
    let mut score = scorer(typed);
    let mut found: Vec<(u32, Match)> = Vec::new();
    for command in commands(model) {
        let one = offer(model, command, sure);
        let name = command.name();
        // The name counts for more than what is said about it, and its beginning for most.
        let of_name = score(name).map(|score| 2 * score + 1000);
        let of_help = (typed.len() > 1).then(|| score(&one.help)).flatten();
        let Some(best) = of_name.max(of_help) else { continue };
        let begins = !typed.is_empty() && name.starts_with(&typed.to_lowercase());
        let bonus = u32::from(begins) * 10_000 + u32::from(one.sure) * 100_000;
        found.push((best + bonus, one));
    }
    // The order of the tables decides between equals.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, one)| one).collect()
}

fn offer(model: &Model, command: Command, sure: Option<&str>) -> Match {
    let name = command.name();
    let (arguments, help, action) = match command {
        Command::Verb(verb) => {
            let bare = bare(model, verb);
            let help = bare.map_or(verb.help, Action::help);
            (verb.arguments, help, bare)
        }
        Command::Action(action) => ("", action.help(), Some(action)),
    };
    let key = action.and_then(|action| model.keymap.keys(model.context(), action).first().copied());
    let key = key.map_or(String::new(), |key| format!("  ({key})"));
    let wants = matches!(command, Command::Verb(verb) if !matches!(verb.takes, T::Nothing));
    let completion = if wants { format!("{name} ") } else { name.to_owned() };
    Match { completion, arguments, help: format!("{help}{key}"), sure: sure == Some(name) }
}
