//! Performs what `update` wants: asks the daemon, and keeps hearing what changed in it.
//!
//! One thread with one runtime, so that the thread that draws never waits for anybody. It decides
//! nothing and keeps nothing; every question ends in exactly one message, answered or not.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, Semaphore};

use super::input::Outside;
use super::message::{Answered, Ask, CHANGES_WAIT, Got, Message, Trouble};
use crate::admin::client::{Bulk, Caller, Client, ClientError, DeliveryFilter, EventFilter};
use crate::admin::protocol::{Done, EmailTest, NewKey, PageView};

/// Questions that are under way at once.
const AT_ONCE: usize = 6;
/// How long after a failure the daemon is tried again.
const AGAIN: Duration = Duration::from_millis(750);
/// Rows asked for at once when a list is written to a file.
const EXPORT_PAGE: usize = 500;

/// Where questions go.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    asks: UnboundedSender<Ask>,
}

impl Shell {
    /// Begins to answer questions, and to tell what changes.
    ///
    /// # Errors
    /// If there are no threads left.
    pub(super) fn start(candidates: Vec<PathBuf>, caller: Caller, to: Sender<Outside>) -> io::Result<Self> {
        let (asks, questions) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("daemon".to_owned()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, serve(candidates, caller, to, questions));
        })?;
        Ok(Self { asks })
    }

    /// Asks; the answer comes as a message.
    pub(super) fn ask(&self, ask: Ask) {
        // A shell that ended is one that nobody listens to.
        let _ = self.asks.send(ask);
    }
}

/// The connection: whichever socket answered last.
struct Link {
    candidates: Vec<PathBuf>,
    caller: Caller,
    client: Mutex<Option<Client>>,
}

impl Link {
    async fn client(&self) -> Result<Client, ClientError> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.candidates, &self.caller).await?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// The next question looks for a socket again.
    async fn lose(&self) {
        *self.client.lock().await = None;
    }
}

async fn serve(candidates: Vec<PathBuf>, caller: Caller, to: Sender<Outside>, mut questions: UnboundedReceiver<Ask>) {
    let link = Rc::new(Link { candidates, caller, client: Mutex::new(None) });
    tokio::task::spawn_local(watch(Rc::clone(&link), to.clone()));
    let places = Rc::new(Semaphore::new(AT_ONCE));
    while let Some(ask) = questions.recv().await {
        let (link, to, places) = (Rc::clone(&link), to.clone(), Rc::clone(&places));
        tokio::task::spawn_local(async move {
            let _place = places.acquire().await;
            let got = match link.client().await {
                Ok(client) => perform(&client, &ask).await,
                Err(error) => Err(error),
            };
            if matches!(got, Err(ClientError::Unreachable { .. })) {
                link.lose().await;
            }
            let answered = Answered { ask, got: got.map_err(Trouble::from) };
            let _ = to.send(Outside::Message(Message::Answered(Box::new(answered))));
        });
    }
}

/// Hears what changes, for as long as somebody listens.
async fn watch(link: Rc<Link>, to: Sender<Outside>) {
    let (mut after, mut wait) = (0, Duration::ZERO);
    loop {
        let changes = match link.client().await {
            Ok(client) => client.changes(after, wait).await,
            Err(error) => Err(error),
        };
        let pause = match &changes {
            Ok(view) => {
                (after, wait) = (view.revision, CHANGES_WAIT);
                Duration::ZERO
            }
            Err(_) => {
                // What comes next is another run of the daemon, or an answer at once.
                (after, wait) = (0, Duration::ZERO);
                link.lose().await;
                AGAIN
            }
        };
        if to.send(Outside::Message(Message::Changes(changes.map_err(Trouble::from)))).is_err() {
            return;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

async fn perform(client: &Client, ask: &Ask) -> Result<Got, ClientError> {
    Ok(match ask {
        Ask::Status => Got::Status(Box::new(client.status().await?)),
        Ask::Stats => Got::Stats(Box::new(client.stats("1h").await?)),
        Ask::Webhooks => Got::Webhooks(client.webhooks(false).await?.items),
        Ask::EventTypes => Got::EventTypes(client.event_types().await?.items),
        Ask::Recent { webhook, limit } => {
            let filter = DeliveryFilter { webhook: webhook.clone(), ..DeliveryFilter::default() };
            Got::Deliveries(client.deliveries(&filter, *limit, None).await?)
        }
        Ask::Deliveries { filter, walk, .. } => Got::Deliveries(client.walk_deliveries(filter, walk).await?),
        Ask::Events { filter, walk, .. } => Got::Events(client.walk_events(filter, walk).await?),
        Ask::Delivery(id) => Got::Delivery(Box::new(client.delivery(id).await?)),
        Ask::Event(id) => Got::Event(Box::new(client.event(id).await?)),
        Ask::Payload(id) => payload(client.delivery_payload(id).await?),
        Ask::EventPayload(id) => payload(client.event_payload(id).await?),
        Ask::TypeSchema(name) => payload(client.event_type_schema(name).await?),
        Ask::TypeExample(name) => payload(client.event_type_example(name).await?),
        Ask::Count(bulk, request) => Got::Counted(Box::new(client.count_bulk(*bulk, request).await?)),
        Ask::Job(id) => Got::Job(Box::new(client.job(id).await?)),
        Ask::Jobs => Got::Jobs(client.jobs().await?.items),
        Ask::Keys => Got::Keys(client.keys().await?.items),
        Ask::Audit(filter, limit) => Got::Audit(client.audit(filter, *limit, None).await?),
        Ask::ExportDeliveries(filter, path) => {
            let pages = Pages::Deliveries(filter);
            Got::Written(path.clone(), export(client, &pages, path).await?)
        }
        Ask::ExportEvents(filter, path) => {
            let pages = Pages::Events(filter);
            Got::Written(path.clone(), export(client, &pages, path).await?)
        }
        ask => return change(client, ask).await,
    })
}

fn payload(payload: crate::admin::client::Payload) -> Got {
    Got::Payload { content_type: payload.content_type, bytes: payload.bytes }
}

/// What changes something, or has a receiver asked.
async fn change(client: &Client, ask: &Ask) -> Result<Got, ClientError> {
    let hook = |hook| Got::Webhook(Box::new(hook));
    Ok(match ask {
        Ask::Create(fields) => hook(client.create_webhook(fields).await?),
        Ask::Change(id, fields) => hook(client.change_webhook(id, fields).await?),
        Ask::Replace(id, fields) => hook(client.replace_webhook(id, fields).await?),
        Ask::CloneWebhook(id, fields) => hook(client.clone_webhook(id, fields).await?),
        Ask::Delete(id, _) => nothing(client.delete_webhook(id).await)?,
        Ask::Restore(id, _) => nothing(client.restore_webhook(id).await)?,
        Ask::Pause(id, _, true) => nothing(client.pause_webhook(id).await)?,
        Ask::Pause(id, _, false) => nothing(client.resume_webhook(id).await)?,
        Ask::Activate(id, _, active) => {
            let fields = Value::from_iter([("active", Value::Bool(*active))]);
            hook(client.change_webhook(id, &fields).await?)
        }
        Ask::Test(Some(id), test, _) => Got::Tested(Box::new(client.test_webhook(id, test).await?)),
        Ask::Test(None, test, _) => Got::Tested(Box::new(client.test_unsaved(test).await?)),
        Ask::Reveal(id, field) => Got::Secret(client.secret(id, field).await?),
        Ask::RotateKey(id, fields) => nothing(client.rotate_key(id, fields).await)?,
        Ask::Resend(id) => Got::Resent(client.resend(id).await?.warnings),
        Ask::Cancel(id) => Got::Done(client.cancel(id).await?),
        Ask::Each(bulk, ids) => each(client, *bulk, ids).await?,
        Ask::Start(bulk, request) => Got::Job(Box::new(client.start_bulk(*bulk, request).await?)),
        Ask::StopJob(id) => Got::Job(Box::new(client.stop_job(id).await?)),
        Ask::CreateKey(name) => {
            let key = NewKey { name: name.clone(), types: Vec::new() };
            Got::Key(Box::new(client.create_key(&key).await?))
        }
        Ask::RevokeKey(name) => Got::Done(client.revoke_key(name).await?),
        Ask::Verify => Got::Verified(Box::new(client.verify().await?)),
        Ask::TestMail(to) => Got::Mailed(client.test_email(&EmailTest { to: to.clone() }).await?),
        // Named one by one, so that a new question has to be answered in one of the two places.
        Ask::Status
        | Ask::Stats
        | Ask::Webhooks
        | Ask::EventTypes
        | Ask::Recent { .. }
        | Ask::Deliveries { .. }
        | Ask::Events { .. }
        | Ask::Delivery(_)
        | Ask::Event(_)
        | Ask::Payload(_)
        | Ask::EventPayload(_)
        | Ask::TypeSchema(_)
        | Ask::TypeExample(_)
        | Ask::Count(..)
        | Ask::Job(_)
        | Ask::Jobs
        | Ask::Keys
        | Ask::Audit(..)
        | Ask::ExportDeliveries(..)
        | Ask::ExportEvents(..) => return Err(ClientError::Protocol("this question changes nothing".to_owned())),
    })
}

fn nothing(done: Result<(), ClientError>) -> Result<Got, ClientError> {
    done.map(|()| Got::Nothing)
}

/// One after the other, so that a refusal tells how many went before it.
async fn each(client: &Client, bulk: Bulk, ids: &[String]) -> Result<Got, ClientError> {
    for id in ids {
        match bulk {
            Bulk::Resend => client.resend(id).await.map(|_| ())?,
            Bulk::Cancel => client.cancel(id).await.map(|_| ())?,
        }
    }
    Ok(Got::Done(Done { done: true }))
}

/// A list that is written to a file.
enum Pages<'a> {
    Deliveries(&'a DeliveryFilter),
    Events(&'a EventFilter),
}

impl Pages<'_> {
    /// The rows of one page as JSON, and where the next begins.
    async fn page(&self, client: &Client, cursor: Option<&str>) -> Result<(Vec<Value>, Option<String>), ClientError> {
        match self {
            Self::Deliveries(filter) => rows(client.deliveries(filter, EXPORT_PAGE, cursor).await?),
            Self::Events(filter) => rows(client.events(filter, EXPORT_PAGE, cursor).await?),
        }
    }
}

fn rows<T: serde::Serialize>(page: PageView<T>) -> Result<(Vec<Value>, Option<String>), ClientError> {
    let json = |row: &T| serde_json::to_value(row).map_err(|error| ClientError::Protocol(error.to_string()));
    Ok((page.items.iter().map(json).collect::<Result<_, _>>()?, page.cursor))
}

/// Writes what matches to a new file, one JSON object a line, newest first; tells how many.
async fn export(client: &Client, pages: &Pages<'_>, path: &Path) -> Result<usize, ClientError> {
    let wrong = |error: io::Error| ClientError::Protocol(format!("{}: {error}", path.display()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(wrong)?;
    let mut file = io::BufWriter::new(file);
    let (mut cursor, mut lines) = (None, 0);
    loop {
        let (rows, next) = pages.page(client, cursor.as_deref()).await?;
        for row in &rows {
            writeln!(file, "{row}").map_err(wrong)?;
        }
        lines += rows.len();
        cursor = next;
        if cursor.is_none() {
            file.flush().map_err(wrong)?;
            return Ok(lines);
        }
    }
}
