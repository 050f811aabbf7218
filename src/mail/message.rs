//! How a mail reads, and its bytes: subject, plain text, attachments, headers. Pure.
//!
//! It reads no payload (they are handed in) and sends nothing. Its invariant: whatever names, URLs
//! and ids hold, a mail has exactly the headers and recipients that it should have, and tells of a
//! payload nothing but its `scanRef`, unless the payload itself goes along.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr as _;
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment as Attached, Body, Mailbox, Mailboxes, Message, MultiPart, SinglePart, header};

use super::digest::{Entry, Kind, Told};
use super::hints;
use super::queue::{About, Notice};
use crate::domain::text::printable;
use crate::domain::time::Timestamp;

/// A mail as it is handed to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The sender, a bare address.
    pub from: String,
    /// The recipients, bare addresses.
    pub to: Vec<String>,
    /// One line.
    pub subject: String,
    /// Plain text, lines ended by `\n`.
    pub text: String,
    /// Payloads.
    pub attachments: Vec<Attachment>,
    /// Without brackets.
    pub message_id: String,
    /// When it was written.
    pub date: Timestamp,
}

/// A payload that goes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// `<delivery id>.json`
    pub name: String,
    /// As it was posted.
    pub content_type: String,
    /// As posted, perhaps cut.
    pub bytes: Vec<u8>,
}

/// The payload of a listed delivery, or why there is none.
pub type Payload = Result<(String, Vec<u8>), String>;

/// Deliveries of a mail whose payloads go along at most.
pub const ATTACHED_MAX: usize = 5;
/// Bytes of payloads in a mail.
pub const ATTACHED_BYTES_MAX: usize = 32 << 10;
/// The longest text of somebody else's, in characters.
const SHOWN_MAX: usize = 200;

/// Text from outside, in one line, made safe, and cut.
fn shown(text: &str, most: usize) -> String {
    let mut cut: String = text.chars().take(most).collect();
    if text.chars().nth(most).is_some() {
        cut.push('…');
    }
    printable(&cut).into_owned()
}

/// `scheme://host/path`; what follows may be secret.
fn shown_url(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url) => {
            let more = url.query().is_some();
            url.set_query(None);
            url.set_fragment(None);
            // Nothing can be wrong with removing them.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            shown(&format!("{url}{}", if more { "?…" } else { "" }), SHOWN_MAX)
        }
        Err(_) => "(not a URL)".to_owned(),
    }
}

/// An instant to the second.
fn second(at: Timestamp) -> String {
    Timestamp::from_millis(at.seconds() * 1000).to_string().replace(".000Z", "Z")
}

fn deliveries(count: u64) -> String {
    if count == 1 { "1 delivery".to_owned() } else { format!("{count} deliveries") }
}

/// What stands in the subject for a result: a code, or the word of an error kind.
fn subject_of(about: &About, told: &Told) -> String {
    // A name that looks like an encoded word would be decoded by whoever reads the mail.
    let name = shown(&about.name, 64).replace("=?", "= ?");
    let count = told.fresh.count;
    let mut results = told.fresh.results.keys();
    let what = match (results.next(), results.next()) {
        (Some(only), None) => format!(" ({})", shown(only, 20)),
        _ => String::new(),
    };
    let what = match (told.kind, count) {
        (Kind::Recovery, 0) => "recovered".to_owned(),
        (Kind::Recovery, _) => format!("recovered, after {} failed{what}", deliveries(count)),
        (Kind::Failures, _) => format!("{} failed{what}", deliveries(count)),
    };
    format!("[postrider] {name}: {what}")
}

/// How the webhook is called in a command: by its name when a shell takes that as it is.
fn in_commands(notice: &Notice, about: &About) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = &about.name;
    let usable = !name.is_empty() && !name.starts_with('-') && name.chars().all(plain);
    if usable { name.clone() } else { notice.webhook.to_string() }
}

fn table(text: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    for (place, (name, count)) in counts.iter().enumerate() {
        let title = if place == 0 { title } else { "" };
        let name = if name.is_empty() { "(not known)".to_owned() } else { shown(name, SHOWN_MAX) };
        let _ = writeln!(text, "  {title:<10}{name}: {count}");
    }
}

fn summary(text: &mut String, about: &About, told: &Told, host: &str) {
    let fresh = &told.fresh;
    let name = shown(&about.name, 64);
    let _ = match told.kind {
        Kind::Failures => writeln!(text, "postrider on {host} has given up on {} of webhook", deliveries(fresh.count)),
        Kind::Recovery => writeln!(text, "The receiver takes deliveries of postrider on {host} again, for webhook"),
    };
    let _ = writeln!(text, "{name}.\n\n  webhook   {name}\n  receiver  {}", shown_url(&about.url));
    if let Some(at) = told.recovered_at {
        let _ = writeln!(text, "  took one  {}", second(at));
    }
    let _ = writeln!(text, "  since     {}", second(told.since));
    let _ = writeln!(text, "  failed    {}", deliveries(told.total));
    if !fresh.is_empty() && fresh.count < told.total {
        let _ = writeln!(text, "  new       {} of them were not told before", fresh.count);
    }
    table(text, "answers", &fresh.results);
    table(text, "types", &fresh.types);
    if told.kind == Kind::Recovery {
        let _ = writeln!(text, "\nWhat had failed before is not sent again by itself.");
    }
}

fn advice(text: &mut String, notice: &Notice, about: &About) {
    let told = &notice.told;
    if !told.fresh.is_empty() {
        let _ = writeln!(text, "\nWhat to look at\n");
        for result in told.fresh.results.keys() {
            let _ = writeln!(text, "  {}: {}", shown(result, 20), hints::of_result(result));
        }
    }
    let webhook = in_commands(notice, about);
    if told.fresh.results.contains_key("410") {
        let _ = writeln!(text, "\nTo let it go on\n\n  postrider webhook resume {webhook}");
    }
    let _ = writeln!(text, "\nTo send again what failed\n");
    match (&told.fresh.listed[..], told.total) {
        ([one], 1) => {
            let _ = writeln!(text, "  postrider delivery resend {}", one.delivery);
        }
        _ => {
            let chosen = format!("--webhook {webhook} --state failed --since {}", second(told.oldest));
            let _ = writeln!(text, "  postrider delivery list {chosen}\n  postrider delivery resend {chosen}");
        }
    }
}

fn list(text: &mut String, told: &Told) {
    let fresh = &told.fresh;
    if fresh.is_empty() {
        return;
    }
    let all = fresh.listed.len() as u64 == fresh.count;
    let title =
        if all { "What failed".to_owned() } else { format!("The first {} of {}", fresh.listed.len(), fresh.count) };
    let _ = writeln!(text, "\n{title}");
    for entry in &fresh.listed {
        let Entry { delivery, event_type, scan_ref, at, attempts, result, .. } = entry;
        let event_type = if event_type.is_empty() { "(type not known)".to_owned() } else { shown(event_type, 64) };
        let scan_ref = scan_ref.as_ref().map_or("no scanRef".to_owned(), |text| format!("scanRef {}", shown(text, 64)));
        let tries = if *attempts == 1 { "attempt" } else { "attempts" };
        let _ = writeln!(
            text,
            "\n  {delivery}\n    {event_type}, {scan_ref}\n    {}, {attempts} {tries}, {result}",
            second(*at)
        );
    }
    if !all {
        let _ = writeln!(text, "\n  … and {} more", fresh.count - fresh.listed.len() as u64);
    }
}

/// Takes as many payloads as there is room for; says what is left out.
fn attach(text: &mut String, told: &Told, payloads: Vec<(String, Payload)>) -> Vec<Attachment> {
    let mut attachments = Vec::new();
    if payloads.is_empty() {
        return attachments;
    }
    let _ = writeln!(text, "\nAttached\n");
    let only = told.fresh.count == 1;
    let mut room = ATTACHED_BYTES_MAX;
    for (delivery, payload) in payloads {
        let delivery = shown(&delivery, SHOWN_MAX);
        let (content_type, mut bytes) = match payload {
            Ok(payload) => payload,
            Err(why) => {
                let _ = writeln!(text, "  {delivery}: not attached, {}", shown(&why, SHOWN_MAX));
                continue;
            }
        };
        let length = bytes.len();
        if length > room && !only {
            let _ = writeln!(text, "  {delivery}: not attached, its {length} bytes are too many");
            continue;
        }
        let cut = length > room;
        bytes.truncate(room);
        room -= bytes.len();
        let note = if cut { format!("the first {} of {length} bytes", bytes.len()) } else { format!("{length} bytes") };
        let _ = writeln!(text, "  {delivery}.json: {note}");
        attachments.push(Attachment { name: format!("{delivery}.json"), content_type, bytes });
    }
    let left = told.fresh.count - (told.fresh.count.min(ATTACHED_MAX as u64));
    if left > 0 {
        let _ = writeln!(text, "  of {left} more nothing is attached; see `postrider delivery payload ID`");
    }
    attachments
}

/// Writes a mail. `payloads` are those of the first listed deliveries, when they go along.
#[must_use]
pub fn compose(notice: &Notice, about: &About, payloads: Vec<(String, Payload)>, from: &str, host: &str) -> Letter {
    let mut text = String::new();
    summary(&mut text, about, &notice.told, host);
    advice(&mut text, notice, about);
    list(&mut text, &notice.told);
    let attachments = attach(&mut text, &notice.told, payloads);
    let _ = writeln!(
        text,
        "\n-- \nSent by postrider on {host} because the webhook names this address (failure_email).\n\
         Do not answer; nobody reads it."
    );
    Letter {
        from: from.to_owned(),
        to: about.to.clone(),
        subject: subject_of(about, &notice.told),
        text,
        attachments,
        message_id: notice.message_id.clone(),
        date: notice.made_at,
    }
}

/// A mail that only shows that mail works.
#[must_use]
pub fn test_letter(to: &str, from: &str, host: &str, message_id: String, date: Timestamp) -> Letter {
    Letter {
        from: from.to_owned(),
        to: vec![to.to_owned()],
        subject: "[postrider] a test".to_owned(),
        text: format!(
            "Mail from postrider on {host} arrives.\n\nSomebody ran `postrider email test`; there is nothing to do.\n"
        ),
        attachments: Vec::new(),
        message_id,
        date,
    }
}

/// Tells other programs not to answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// A bare address as the wire wants it: the domain in ASCII.
///
/// # Errors
/// That it is not one.
pub fn address(text: &str) -> Result<Address, String> {
    let wrong = || format!("{} is not a mail address", printable(text));
    crate::domain::email::check_address(text).map_err(|_| wrong())?;
    let (local, domain) = text.rsplit_once('@').unwrap_or_default();
    let domain = url::Host::parse(domain).map_err(|_| wrong())?.to_string();
    Address::from_str(&format!("{local}@{domain}")).map_err(|_| wrong())
}

impl Letter {
    /// The whole mail as it is sent, before its dots are doubled. Recipients whose addresses can
    /// not be written are left out.
    ///
    /// # Errors
    /// What can not be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mailbox = |text: &str| address(text).map(|address| Mailbox::new(None, address));
        let to: Mailboxes = self.to.iter().filter_map(|one| mailbox(one).ok()).collect();
        let date = UNIX_EPOCH + Duration::from_secs(self.date.seconds());
        let builder = Message::builder()
            .from(mailbox(&self.from)?)
            .mailbox(header::To::from(to))
            .subject(printable(&self.subject))
            .date(date)
            .message_id(Some(format!("<{}>", printable(&self.message_id))))
            .header(AutoSubmitted);
        let plain = SinglePart::plain(self.text.clone());
        let message = if self.attachments.is_empty() {
            builder.singlepart(plain)
        } else {
            let parts = self.attachments.iter().map(attached);
            builder.multipart(parts.fold(MultiPart::mixed().singlepart(plain), MultiPart::singlepart))
        };
        message.map(|message| message.formatted()).map_err(|error| error.to_string())
    }
}

fn attached(attachment: &Attachment) -> SinglePart {
    let content_type = ContentType::parse(&attachment.content_type).or_else(|_| ContentType::parse("application/json"));
    // Base64 always: what was posted arrives byte for byte.
    let body =
        Body::new_with_encoding(attachment.bytes.clone(), ContentTransferEncoding::Base64).unwrap_or_else(Body::new);
    let name = printable(&attachment.name).into_owned();
    Attached::new(name).body(body, content_type.unwrap_or(ContentType::TEXT_PLAIN))
}

#[cfg(test)]
mod tests;
