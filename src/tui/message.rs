//! Everything that can happen to the UI, and everything it can want: two closed lists.
//!
//! The UI's own state changes only in `update`, by a [`Message`]; what `update` wants done outside
//! leaves it as an [`Effect`], which `shell` performs. Nothing here does anything.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::keys::Key;
use crate::admin::client::{AuditFilter, Bulk, ClientError, DeliveryFilter, EventFilter, Walk};
use crate::admin::protocol::{
    AuditView, BulkCount, BulkRequest, ChangesView, DeliveryView, Done, EmailTested, EventTypeView, EventView, JobView,
    KeyView, NewTest, PageView, RevealView, StatsView, Status, TestView, VerifyReport, WebhookView,
};
use crate::domain::secret::Secret;

/// Something that happened.
pub enum Message {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted, or came faster than anybody types.
    Paste(String),
    /// The terminal has another size: columns, rows.
    Resize(u16, u16),
    /// The mouse wheel moved by so many lines; down is positive.
    Wheel(i32),
    /// A mouse button was pressed at a column and a row.
    Click(u16, u16),
    /// Time passed that was asked for.
    Tick,
    /// The daemon answered, or did not.
    Answered(Box<Answered>),
    /// The daemon says what changed, or does not answer.
    Changes(Result<ChangesView, Trouble>),
    /// An editor was closed: what it was for, and the text or what went wrong.
    Edited(EditFor, Result<String, String>),
    /// A signing key was made, as [`Effect::NewKey`] asks for.
    NewKey(Secret),
    /// Something outside was done: a line to tell.
    Told(Result<String, String>),
    /// The program was asleep, or another program had the terminal; it has to be drawn anew.
    Resumed,
}

impl std::fmt::Debug for Message {
    /// What is typed, pasted, edited or answered may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Paste(_) => "Paste",
            Self::Resize(..) => "Resize",
            Self::Wheel(_) => "Wheel",
            Self::Click(..) => "Click",
            Self::Tick => "Tick",
            Self::Answered(_) => "Answered",
            Self::Changes(_) => "Changes",
            Self::Edited(..) => "Edited",
            Self::NewKey(_) => "NewKey",
            Self::Told(_) => "Told",
            Self::Resumed => "Resumed",
        })
    }
}

/// An answer, with what was asked.
pub struct Answered {
    /// What was asked.
    pub ask: Ask,
    /// What came of it.
    pub got: Result<Got, Trouble>,
}

/// What an editor was opened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditFor {
    /// A field of the form.
    Field,
    /// A whole webhook as TOML, by its id; `version` is what it was made from.
    Webhook {
        /// `wh_…`
        id: String,
        /// The version that was shown.
        version: u32,
    },
}

/// A question to the daemon, or a change it is asked for.
#[derive(Clone)]
pub enum Ask {
    /// How it is doing.
    Status,
    /// Figures of the last hour.
    Stats,
    /// All webhooks.
    Webhooks,
    /// All event types.
    EventTypes,
    /// The newest deliveries, of one webhook if it is named.
    Recent {
        /// Its id.
        webhook: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// Part of the list of deliveries. `ticket` tells which list is meant.
    Deliveries {
        /// Of the list as it was when this was asked.
        ticket: u64,
        /// Which deliveries.
        filter: Box<DeliveryFilter>,
        /// Which part.
        walk: Walk,
        /// What it is wanted for.
        part: Part,
    },
    /// Part of the list of events.
    Events {
        /// Of the list as it was when this was asked.
        ticket: u64,
        /// Which events.
        filter: Box<EventFilter>,
        /// Which part.
        walk: Walk,
        /// What it is wanted for.
        part: Part,
    },
    /// One delivery, with its attempts.
    Delivery(String),
    /// The payload of a delivery, by its id.
    Payload(String),
    /// One event, with its deliveries.
    Event(String),
    /// The payload of an event, by its id.
    EventPayload(String),
    /// The schema of an event type.
    TypeSchema(String),
    /// An example of an event type.
    TypeExample(String),
    /// Makes a webhook.
    Create(Box<Value>),
    /// Changes a webhook (id or name).
    Change(String, Box<Value>),
    /// Replaces a webhook, secrets that are left out apart.
    Replace(String, Box<Value>),
    /// Makes a webhook like another.
    CloneWebhook(String, Box<Value>),
    /// Deletes a webhook: id, name.
    Delete(String, String),
    /// Takes a deletion back: id, name.
    Restore(String, String),
    /// Lets deliveries wait, or go on: id, name, which.
    Pause(String, String, bool),
    /// Active or not: id, name, which.
    Activate(String, String, bool),
    /// Tests a webhook; without an id one that is not saved. The number tells the answer from others.
    Test(Option<String>, Box<NewTest>, u64),
    /// Shows one secret: webhook, field.
    Reveal(String, String),
    /// Replaces the signing key: id, fields.
    RotateKey(String, Box<Value>),
    /// Another go at one delivery.
    Resend(String),
    /// Gives up one delivery.
    Cancel(String),
    /// Another go at each of these, or gives each up.
    Each(Bulk, Vec<String>),
    /// How many it would be.
    Count(Bulk, Box<BulkRequest>),
    /// Starts a job.
    Start(Bulk, Box<BulkRequest>),
    /// How far a job is.
    Job(String),
    /// All jobs since the daemon started.
    Jobs,
    /// Stops a job.
    StopJob(String),
    /// All ingest tokens.
    Keys,
    /// Makes an ingest token.
    CreateKey(String),
    /// Makes one worthless.
    RevokeKey(String),
    /// The newest entries of the audit log.
    Audit(Box<AuditFilter>, usize),
    /// Checks the whole store.
    Verify,
    /// Sends a test mail.
    TestMail(String),
    /// Writes deliveries that match to a file, one JSON object a line.
    ExportDeliveries(Box<DeliveryFilter>, PathBuf),
    /// Writes events that match to a file, one JSON object a line.
    ExportEvents(Box<EventFilter>, PathBuf),
}

impl std::fmt::Debug for Ask {
    /// What is asked may hold secrets that were typed into the form.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

/// What a part of a list is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It takes the place of what is there.
    Replace,
    /// It is older than what is there.
    Older,
    /// It is newer than what is there.
    Newer,
    /// Rows that are there, as they are now.
    Again,
    /// How many are newer than the newest there.
    Count,
}

/// An answer to an [`Ask`].
#[expect(missing_docs, reason = "each is named like the question it answers")]
pub enum Got {
    Status(Box<Status>),
    Stats(Box<StatsView>),
    Webhooks(Vec<WebhookView>),
    EventTypes(Vec<EventTypeView>),
    Deliveries(PageView<DeliveryView>),
    Events(PageView<EventView>),
    Delivery(Box<DeliveryView>),
    Event(Box<EventView>),
    Payload { content_type: String, bytes: Vec<u8> },
    Webhook(Box<WebhookView>),
    Tested(Box<TestView>),
    Secret(RevealView),
    Resent(Vec<String>),
    Done(Done),
    Counted(Box<BulkCount>),
    Job(Box<JobView>),
    Jobs(Vec<JobView>),
    Keys(Vec<KeyView>),
    Key(Box<KeyView>),
    Audit(PageView<AuditView>),
    Verified(Box<VerifyReport>),
    Mailed(EmailTested),
    Written(PathBuf, usize),
    Nothing,
}

/// Why a question came to nothing. Everything in it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// No daemon answers.
    Unreachable(String),
    /// The socket may not be used.
    Forbidden(String),
    /// The daemon says no.
    Refused(Box<Refused>),
    /// The answer makes no sense.
    Protocol(String),
}

/// What the daemon says when it says no.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    /// The status code.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Fields and what is wrong with each.
    pub fields: Vec<(String, String)>,
    /// On a conflict: the webhook as it is now.
    pub current: Option<Box<WebhookView>>,
}

impl Trouble {
    /// In words.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Unreachable(text) | Self::Forbidden(text) | Self::Protocol(text) => text,
            Self::Refused(refused) => &refused.detail,
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        let advice = error.advice().unwrap_or_default();
        match error {
            ClientError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            ClientError::Forbidden { .. } => Self::Forbidden(format!("{error}; {advice}")),
            ClientError::Protocol(_) => Self::Protocol(format!("{error}; {advice}")),
            ClientError::Refused(problem) => {
                let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
                let fields = problem.problems.into_iter().map(|one| (one.field, one.detail)).collect();
                let current = problem.current;
                Self::Refused(Box::new(Refused { status: problem.status, detail, fields, current }))
            }
        }
    }
}

/// Something to be done outside.
pub enum Effect {
    /// Ask the daemon.
    Ask(Ask),
    /// Put a text into the clipboard of whoever sits at the terminal.
    Copy {
        /// The text.
        text: String,
        /// What it is, to be told.
        what: String,
    },
    /// Open an editor.
    Edit {
        /// What it begins with.
        text: String,
        /// How the file's name ends, such as `.json`.
        suffix: &'static str,
        /// What becomes of it.
        purpose: EditFor,
    },
    /// Make a signing key of 32 bytes of chance, and answer with [`Message::NewKey`].
    NewKey,
    /// Show a text in the pager.
    Page(String),
    /// Write a file that is not there yet.
    Write {
        /// Its name.
        path: PathBuf,
        /// What goes into it.
        bytes: Vec<u8>,
    },
    /// Remember how lists are sorted.
    Remember(Remembered),
    /// Switch the mouse.
    Mouse(bool),
    /// Draw everything anew.
    Redraw,
    /// Put the program to sleep.
    Suspend,
    /// End.
    Quit,
}

impl std::fmt::Debug for Effect {
    /// What is copied, edited or written may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ask(ask) => write!(f, "{ask:?}"),
            Self::Copy { what, .. } => write!(f, "Copy({what})"),
            Self::Edit { purpose, .. } => write!(f, "Edit({purpose:?})"),
            Self::NewKey => f.write_str("NewKey"),
            Self::Page(_) => f.write_str("Page"),
            Self::Write { path, .. } => write!(f, "Write({})", path.display()),
            Self::Remember(remembered) => write!(f, "{remembered:?}"),
            Self::Mouse(on) => write!(f, "Mouse({on})"),
            Self::Redraw => f.write_str("Redraw"),
            Self::Suspend => f.write_str("Suspend"),
            Self::Quit => f.write_str("Quit"),
        }
    }
}

/// What is remembered from one time to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// How webhooks are sorted: the name of a column, and whether it is the other way round.
    pub webhooks_sort: Option<(String, bool)>,
    /// Whether columns are wide.
    pub wide: bool,
}

/// What `update` wants done, in order.
#[derive(Debug, Default)]
pub struct Effects(pub Vec<Effect>);

impl Effects {
    /// Asks the daemon.
    pub fn ask(&mut self, ask: Ask) {
        self.0.push(Effect::Ask(ask));
    }

    /// Anything else.
    pub fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }
}

/// How long a poll for changes waits for one.
pub const CHANGES_WAIT: Duration = Duration::from_secs(25);
