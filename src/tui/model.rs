//! Everything the UI knows. Only `update` changes it, and `view` reads nothing else.
//!
//! It does no I/O and reads no clock: `now` is set by whoever delivers a message. What belongs to one
//! screen is in that screen's module; here is what they share.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use tui_input::Input;

use super::dialog::Choice;
use super::keymap::{Action, Context, Keymap};
use super::keys::Key;
use super::message::{Answered, Ask, Effects};
use super::screen::deliveries::DeliveriesTab;
use super::screen::events::EventsTab;
use super::screen::overview::OverviewTab;
use super::screen::system::SystemTab;
use super::screen::viewer::Wanted;
use super::screen::webhooks::WebhooksTab;
use super::text::Glyphs;
use super::theme::{Role, Theme};
use super::view::pen::Pen;
use crate::admin::protocol::{ChangesView, EventTypeView, StatsView, Status, WebhookStats, WebhookView};
use crate::domain::time::Timestamp;

/// A tab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Is anything wrong?
    #[default]
    Overview,
    /// What is configured.
    Webhooks,
    /// What was sent.
    Deliveries,
    /// What apps posted.
    Events,
    /// The daemon itself.
    System,
}

impl Tab {
    /// In order.
    pub const ALL: [Self; 5] = [Self::Overview, Self::Webhooks, Self::Deliveries, Self::Events, Self::System];

    /// What it is called.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Webhooks => "Webhooks",
            Self::Deliveries => "Deliveries",
            Self::Events => "Events",
            Self::System => "System",
        }
    }

    /// Where keys are looked up.
    #[must_use]
    pub const fn context(self) -> Context {
        match self {
            Self::Overview => Context::Overview,
            Self::Webhooks => Context::Webhooks,
            Self::Deliveries => Context::Deliveries,
            Self::Events => Context::Events,
            Self::System => Context::System,
        }
    }
}

/// The connection to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not answered yet.
    Connecting,
    /// It answers.
    Up,
    /// It does not, since then, and why.
    Lost(Timestamp, String),
}

/// A line to the user; stays until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is said.
    pub text: String,
    /// Whether it is bad news.
    pub bad: bool,
}

/// How the last change is taken back.
#[derive(Clone, Debug)]
pub struct Undo {
    /// What is taken back, such as `the deletion of aml-watch`.
    pub what: String,
    /// How.
    pub ask: Ask,
    /// Until when that is possible.
    pub until: Timestamp,
}

/// What a line is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// What to look for, here.
    Search,
    /// A command.
    Command,
    /// The name of a copy of this webhook (id).
    CloneName(String),
    /// The name of a new ingest token.
    TokenName,
    /// Whom a test mail goes to.
    MailTo,
    /// Where the deliveries of the present filter are written.
    ExportTo,
    /// Where a text is written.
    WriteTo(Vec<u8>),
}

/// The line at the bottom in which something is typed.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// What it is for.
    pub asking: Asking,
    /// What stands before it.
    pub label: &'static str,
    /// What is typed.
    pub input: Input,
}

impl Prompt {
    /// An empty one.
    #[must_use]
    pub fn new(asking: Asking, label: &'static str) -> Self {
        Self { asking, label, input: Input::default() }
    }

    /// One that already holds something.
    #[must_use]
    pub fn with(mut self, text: impl Into<String>) -> Self {
        self.input = Input::new(text.into());
        self
    }
}

/// What becomes of a page or a dialog after it dealt with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stay,
    /// It is done.
    Close,
}

/// A page over the tabs: one delivery, the form, help, ….
pub trait Page {
    /// Where its keys are looked up.
    fn context(&self) -> Context;
    /// What it is called in the first line, after where it was opened from.
    fn title(&self) -> String;
    /// What stands at the right of the second line.
    fn remark(&self, _model: &Model) -> String {
        String::new()
    }
    /// What the line above the hints says while nothing else is to be said.
    fn status(&self, _model: &Model) -> Option<(String, Role)> {
        None
    }
    /// Does an action. [`Action::Back`] and [`Action::Leave`] come here first.
    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate;
    /// Whether an action would do something now; the hint line leaves out what would not.
    fn offers(&self, _action: Action) -> bool {
        true
    }
    /// A key before it is looked up; `None` when it is no text to it.
    fn key(&mut self, _model: &mut Model, _key: Key, _out: &mut Effects) -> Option<Fate> {
        None
    }
    /// A pasted text; `false` when it has no place for one.
    fn paste(&mut self, _model: &mut Model, _text: &str) -> bool {
        false
    }
    /// An answer of the daemon, its own or another's.
    fn answered(&mut self, _model: &mut Model, _answered: &Answered, _out: &mut Effects) {}
    /// What was chosen in a dialog that it opened.
    fn chosen(&mut self, _model: &mut Model, _choice: Choice, _out: &mut Effects) {}
    /// The text of a closed editor.
    fn edited(&mut self, _model: &mut Model, _text: &str, _out: &mut Effects) {}
    /// The search line was filled in.
    fn search(&mut self, _model: &mut Model, _text: &str, _out: &mut Effects) {}
    /// Something changed in the daemon, or time passed.
    fn refresh(&mut self, _model: &mut Model, _changed: bool, _out: &mut Effects) {}
    /// When it wants to be woken, at the latest.
    fn wake(&self, _model: &Model) -> Option<Duration> {
        None
    }
    /// Draws it below the two lines at the top and above the two at the bottom.
    fn view(&self, model: &Model, pen: &mut Pen<'_>);
    /// Whether something would be lost if the program ended now.
    fn is_edited(&self) -> bool {
        false
    }
    /// Whether an answer or a choice has ended it: it closes by itself.
    fn is_done(&self) -> bool {
        false
    }
}

/// A dialog over everything.
pub trait Dialog {
    /// A key. Dialogs have few, and show them.
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate;
    /// A pasted text.
    fn paste(&mut self, _model: &mut Model, _text: &str) {}
    /// An answer of the daemon, its own or another's.
    fn answered(&mut self, _model: &mut Model, _answered: &Answered, _out: &mut Effects) -> Fate {
        Fate::Stay
    }
    /// When it wants to be woken, at the latest.
    fn wake(&self, _model: &Model) -> Option<Duration> {
        None
    }
    /// Time passed.
    fn tick(&mut self, _model: &mut Model, _out: &mut Effects) {}
    /// Draws it over what is there.
    fn view(&self, model: &Model, pen: &mut Pen<'_>);
}

/// What is fetched as a whole and kept fresh while it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// [`Status`]
    Status,
    /// [`StatsView`]
    Stats,
    /// All webhooks.
    Webhooks,
    /// All event types.
    EventTypes,
    /// The newest deliveries, for the overview and beside a webhook.
    Recent,
    /// Ingest tokens.
    Keys,
    /// The newest of the audit log.
    Audit,
}

impl Topic {
    pub(super) const ALL: [Self; 7] =
        [Self::Status, Self::Stats, Self::Webhooks, Self::EventTypes, Self::Recent, Self::Keys, Self::Audit];
}

/// How fresh a topic is.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// It may have changed since it was asked for.
    pub stale: bool,
    /// It is being asked for.
    pub busy: bool,
    /// When it was last asked for.
    pub asked_at: Timestamp,
}

/// Everything the UI knows.
pub struct Model {
    /// The time at which the message that is dealt with arrived.
    pub now: Timestamp,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// For showing instants.
    pub zone: TimeZone,
    /// The zone of the system, for `:tz local`.
    pub local: TimeZone,
    /// Characters to draw with.
    pub glyphs: Glyphs,
    /// How things look.
    pub theme: Theme,
    /// Colours are not wanted, whatever is chosen: `NO_COLOR` is set.
    pub mono_only: bool,
    /// What keys do.
    pub keymap: Keymap,
    /// Name of this machine.
    pub host: String,
    /// The connection.
    pub link: Link,
    /// Nothing may be changed.
    pub read_only: bool,
    /// When anything was last heard from the daemon.
    pub heard_at: Option<Timestamp>,
    /// What it last said about itself.
    pub status: Option<Status>,
    /// Figures of the last hour.
    pub stats: Option<StatsView>,
    /// All webhooks, once they were asked for.
    pub hooks: Option<Vec<WebhookView>>,
    /// All event types.
    pub types: Vec<EventTypeView>,
    /// What changed, as far as it is known.
    pub changes: Option<ChangesView>,
    /// The tab that is shown, or lies below the pages.
    pub tab: Tab,
    /// First tab.
    pub overview: OverviewTab,
    /// Second tab.
    pub webhooks: WebhooksTab,
    /// Third tab.
    pub deliveries: DeliveriesTab,
    /// Fourth tab.
    pub events: EventsTab,
    /// Fifth tab.
    pub system: SystemTab,
    /// Pages over the tab; the last is shown.
    pub pages: Vec<Box<dyn Page>>,
    /// Dialogs over that; the last has the keys.
    pub dialogs: Vec<Box<dyn Dialog>>,
    /// The line in which something is typed.
    pub prompt: Option<Prompt>,
    /// What was last said.
    pub note: Option<Note>,
    /// How the last change is taken back.
    pub undo: Option<Undo>,
    /// Columns have their whole width.
    pub wide: bool,
    /// Columns that a wide list is shifted by.
    pub shift: usize,
    /// The mouse is on.
    pub mouse: bool,
    /// Where files are written.
    pub directory: PathBuf,
    /// How fresh each topic is.
    pub topics: [Freshness; 7],
    /// When lists were last told that something changed.
    pub touched_at: Timestamp,
    /// Lists are to be told that something changed.
    pub untouched: bool,
    /// Commands that were typed, oldest first.
    pub history: Vec<String>,
    /// What is waited for, and of which delivery or event.
    pub wanted: Vec<(Wanted, String)>,
    /// The job that was asked for by its id, and is shown when it is there.
    pub wanted_job: Option<String>,
    /// Tests that were begun; tells which answer belongs to which.
    pub tickets: u64,
}

impl Model {
    /// A model that knows nothing yet.
    #[must_use]
    pub fn new(now: Timestamp, size: (u16, u16)) -> Self {
        let never = Freshness { stale: true, busy: false, asked_at: Timestamp::from_millis(0) };
        Self {
            now,
            size,
            zone: TimeZone::UTC,
            local: TimeZone::UTC,
            glyphs: Glyphs::UNICODE,
            theme: Theme::default(),
            mono_only: false,
            keymap: Keymap::default(),
            host: String::new(),
            link: Link::Connecting,
            read_only: false,
            heard_at: None,
            status: None,
            stats: None,
            hooks: None,
            types: Vec::new(),
            changes: None,
            tab: Tab::default(),
            overview: OverviewTab::default(),
            webhooks: WebhooksTab::default(),
            deliveries: DeliveriesTab::default(),
            events: EventsTab::default(),
            system: SystemTab::default(),
            pages: Vec::new(),
            dialogs: Vec::new(),
            prompt: None,
            note: None,
            undo: None,
            wide: false,
            shift: 0,
            mouse: false,
            directory: PathBuf::from("."),
            topics: [never; 7],
            touched_at: Timestamp::from_millis(0),
            untouched: false,
            history: Vec::new(),
            wanted: Vec::new(),
            wanted_job: None,
            tickets: 0,
        }
    }

    /// Where keys are looked up.
    #[must_use]
    pub fn context(&self) -> Context {
        self.pages.last().map_or(self.tab.context(), |page| page.context())
    }

    /// Says something.
    pub fn say(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), bad: false });
    }

    /// Says that something went wrong.
    pub fn complain(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), bad: true });
    }

    /// The webhook with this id or name.
    #[must_use]
    pub fn hook(&self, name: &str) -> Option<&WebhookView> {
        self.hooks.as_deref()?.iter().find(|hook| hook.id == name || hook.name == name)
    }

    /// The figures of the webhook with this id.
    #[must_use]
    pub fn stats_of(&self, id: &str) -> Option<&WebhookStats> {
        self.stats.as_ref()?.webhooks.iter().find(|hook| hook.id == id)
    }

    /// What people call an event type.
    #[must_use]
    pub fn label_of<'a>(&'a self, name: &'a str) -> &'a str {
        if name == "*" {
            return "every event";
        }
        self.types.iter().find(|one| one.name == name).map_or(name, |one| &one.label)
    }

    /// Seconds from now until an instant as the daemon writes it; `None` when it is over.
    #[must_use]
    pub fn seconds_until(&self, instant: Option<&str>) -> Option<u64> {
        let at = super::text::instant(instant?)?;
        (at > self.now).then(|| at.since(self.now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }

    /// Seconds since an instant as the daemon writes it.
    #[must_use]
    pub fn seconds_since(&self, instant: &str) -> Option<u64> {
        Some(self.now.since(super::text::instant(instant)?).as_secs())
    }

    /// How fresh a topic is.
    pub fn topic(&mut self, topic: Topic) -> &mut Freshness {
        &mut self.topics[topic as usize]
    }

    /// These have to be asked for anew.
    pub fn expire(&mut self, topics: &[Topic]) {
        topics.iter().for_each(|topic| self.topic(*topic).stale = true);
    }

    /// Whether the terminal is too small for anything but a message.
    #[must_use]
    pub fn is_too_small(&self) -> bool {
        self.size.0 < 60 || self.size.1 < 12
    }

    /// Whether only one line at the top and one at the bottom go to what is always shown.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.size.0 < 80 || self.size.1 < 20
    }

    /// Rows between the lines at the top and at the bottom.
    #[must_use]
    pub fn body_height(&self) -> usize {
        usize::from(self.size.1).saturating_sub(if self.is_small() { 2 } else { 4 })
    }

    /// Whether there is room for panes beside or below the list.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.size.0 >= 110 && self.size.1 >= 34
    }
}
