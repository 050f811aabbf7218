//! Logging to standard error: one event, one line.
//!
//! A small layer of our own on `tracing`, because every part of a line that can hold text from
//! outside has to pass through [`printable`], and the stock formats let most of it through. It
//! writes no files and rotates nothing. To the journal it goes with fields of its own, or, where
//! there is no socket of the journal, with the `<N>` prefix that it reads from standard error.
//!
//! Our own events are shown from the chosen level on, those of libraries from `warn` on at
//! most: their finer levels print URLs and headers.
//!
//! Invariant: whatever a message, a field or a span holds, an event is exactly one line, and
//! the line holds no control character and no invisible or direction-changing one.

mod fold;
mod journal;

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogFormat, LogLevel};
use crate::domain::text::{misleads, printable};
use crate::domain::time::Timestamp;

/// Tells the time for the lines that carry one.
pub type Now = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// The running logger; changes its level. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
}

/// Logging was set up before in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logging is set up already")]
pub struct AlreadySet;

/// Starts logging to standard error, for the whole process.
///
/// `env` is asked for `JOURNAL_STREAM` only; `now` is used by the formats with timestamps.
///
/// # Errors
///
/// [`AlreadySet`] on every call after the first.
pub fn init(
    level: LogLevel,
    format: LogFormat,
    env: &dyn Fn(&str) -> Option<OsString>,
    now: Now,
) -> Result<Logging, AlreadySet> {
    let style = style(format, is_journal(env("JOURNAL_STREAM"), std::io::stderr().as_fd()));
    let write = |line: &str| {
        // One write call a line, so that lines of other processes do not mix in. A log that
        // cannot be written must not stop deliveries, and there is nowhere to say so.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    };
    // Starts with everything open: the bridge for `log` keeps the level it first sees as a cap.
    let (filter, handle) = reload::Layer::new(targets(LogLevel::Trace));
    let journal = (style == Style::Prefixed).then(|| journal::Journal::connect(Path::new(journal::SOCKET))).flatten();
    let lines = Lines { style, now, write, journal, folding: Mutex::default() };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| AlreadySet)?;
    let logging = Logging { filter: handle };
    logging.set_level(level);
    Ok(logging)
}

impl Logging {
    /// Changes the level from now on.
    pub fn set_level(&self, level: LogLevel) {
        // Fails only if the subscriber is gone, and then nothing is logged anyway.
        let _ = self.filter.reload(targets(level));
    }
}

fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("postrider", ours).with_default(ours.min(LevelFilter::WARN))
}

/// Whether `$JOURNAL_STREAM` (`DEVICE:INODE`, decimal) is the given descriptor.
fn is_journal(journal_stream: Option<OsString>, stderr: impl AsFd) -> bool {
    let Some(stream) = journal_stream else {
        return false;
    };
    // The variable is inherited by children whose standard error went elsewhere: compare.
    rustix::fs::fstat(stderr).is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// How lines look, once `auto` is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Prefixed,
    Text,
    Json,
}

fn style(format: LogFormat, is_journal: bool) -> Style {
    match format {
        LogFormat::Journald => Style::Prefixed,
        LogFormat::Auto if is_journal => Style::Prefixed,
        LogFormat::Auto | LogFormat::Text => Style::Text,
        LogFormat::Json => Style::Json,
    }
}

/// Turns events into lines.
struct Lines<W> {
    style: Style,
    now: Now,
    write: W,
    journal: Option<journal::Journal>,
    folding: Mutex<fold::Folding>,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                of_span.named.iter().for_each(|(name, value)| fields.set(name, value.clone()));
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let target = fields.log_target.take().unwrap_or_else(|| metadata.target().to_owned());
        // Whoever asks for the finer levels wants to see everything.
        if *metadata.level() <= Level::INFO && !self.admits(std::ptr::from_ref(metadata).addr(), &fields) {
            return;
        }
        self.put(*metadata.level(), &target, fields);
    }
}

impl<W: Fn(&str)> Lines<W> {
    /// Tells what was folded before, and whether this one is shown.
    fn admits(&self, place: usize, fields: &Fields) -> bool {
        let now = (self.now)();
        let whom = fields.named.iter().find(|(name, _)| *name == "webhook").map_or("", |(_, value)| value.text());
        let text = fields.message.as_deref().unwrap_or_default();
        let mut folding = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let over = folding.over(now);
        let admits = folding.admits((place, whom.to_owned()), text, now);
        drop(folding);
        for text in over {
            let fields = Fields { message: Some(text), ..Fields::default() };
            self.put(Level::INFO, "postrider::logging", fields);
        }
        admits
    }

    fn put(&self, level: Level, target: &str, fields: Fields) {
        if let Some(journal) = &self.journal {
            let text = body(target, &fields);
            let named = fields.named.iter().map(|(name, value)| (*name, value.text()));
            let sent = journal::datagram(priority(level), target, fields.message.as_deref(), &text, named);
            if journal.send(&sent) {
                return;
            }
        }
        (self.write)(&self.line(level, target, fields));
    }

    fn line(&self, level: Level, target: &str, fields: Fields) -> String {
        match self.style {
            Style::Prefixed => format!("<{}>{}\n", priority(level), body(target, &fields)),
            Style::Text => format!("{} {level:>5} {}\n", (self.now)(), body(target, &fields)),
            Style::Json => json((self.now)(), level, target, fields),
        }
    }
}

/// The syslog priority.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// `target: message name=value name="va lue"`
fn body(target: &str, fields: &Fields) -> String {
    let mut body = printable(target).into_owned();
    body.push(':');
    if let Some(message) = &fields.message {
        body.push(' ');
        body.push_str(&printable(message));
    }
    for (name, value) in &fields.named {
        // Writing to a String cannot fail.
        let _ = match value {
            FieldValue::Plain(value) => write!(body, " {name}={value}"),
            FieldValue::Text(text) if needs_quotes(text) => {
                let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
                write!(body, " {name}=\"{}\"", printable(&quoted))
            }
            FieldValue::Text(text) => write!(body, " {name}={}", printable(text)),
        };
    }
    body
}

/// Whether a value could be taken for more than one value, so that it could forge a field.
fn needs_quotes(text: &str) -> bool {
    // What `Debug` made of a string is quoted and escaped already.
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if inner.is_some_and(is_escaped) {
        return false;
    }
    text.is_empty() || text.contains(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\\'))
}

/// Whether every quotation mark has an odd number of backslashes before it, and none is left over.
fn is_escaped(inner: &str) -> bool {
    let mut escaping = false;
    for character in inner.chars() {
        match character {
            _ if escaping => escaping = false,
            '\\' => escaping = true,
            '"' => return false,
            _ => {}
        }
    }
    !escaping
}

/// `{"time":…,"level":…,"target":…,"message":…,"fields":{…}}`
fn json(now: Timestamp, level: Level, target: &str, fields: Fields) -> String {
    let named = fields.named.into_iter().map(|(name, value)| {
        let value = match value {
            FieldValue::Text(text) => serde_json::Value::from(text),
            // Numbers and booleans are JSON as they are; NaN and 128-bit ones become text.
            FieldValue::Plain(plain) => serde_json::from_str(&plain).unwrap_or(serde_json::Value::String(plain)),
        };
        (name.to_owned(), value)
    });
    let object = serde_json::json!({
        "time": now.to_string(),
        "level": level.as_str().to_ascii_lowercase(),
        "target": target,
        "message": fields.message.unwrap_or_default(),
        "fields": serde_json::Map::from_iter(named),
    });
    let mut line = String::new();
    for character in object.to_string().chars() {
        if misleads(character) {
            // Only inside strings, where this is JSON for the same character: nothing is lost.
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// A value as it was recorded, not yet made safe to show.
#[derive(Clone, Debug)]
enum FieldValue {
    /// Digits and letters of our own making.
    Plain(String),
    /// Text that may come from anywhere.
    Text(String),
}

impl FieldValue {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Text(text) => text,
        }
    }
}

/// The fields of a span or an event, in the order they were set.
#[derive(Debug, Default)]
struct Fields {
    message: Option<String>,
    named: Vec<(&'static str, FieldValue)>,
    /// The real target of an event that came over the `log` bridge.
    log_target: Option<String>,
}

impl Fields {
    /// A field that is set again replaces the first, also one of an outer span.
    fn set(&mut self, name: &'static str, value: FieldValue) {
        match self.named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.named.push((name, value)),
        }
    }

    fn text(&mut self, field: &Field, text: String) {
        let text = bounded(text);
        match field.name() {
            "message" => self.message = Some(text),
            "log.target" => self.log_target = Some(text),
            // Where in the library's source a bridged event was made; of no use here.
            "log.module_path" | "log.file" | "log.line" => {}
            name => self.set(name, FieldValue::Text(text)),
        }
    }

    fn plain(&mut self, field: &Field, plain: String) {
        if field.name() != "log.line" {
            self.set(field.name(), FieldValue::Plain(plain));
        }
    }
}

/// The text, cut where it would drown the rest of the log.
fn bounded(mut text: String) -> String {
    const BYTES_MAX: usize = 4096;
    if text.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let cut = text.len() - end;
        text.truncate(end);
        let _ = write!(text, "… ({cut} more bytes)");
    }
    text
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value.to_string());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, value.to_string());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value.to_string());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.text(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_932_045);

    /// Everything that `scene` logs, at the given level.
    fn logged(style: Style, level: LogLevel, scene: impl FnOnce(&Logging)) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&lines);
        let write = move |line: &str| sink.lock().unwrap().push_str(line);
        let (filter, handle) = reload::Layer::new(targets(level));
        let layer = Lines { style, now: Box::new(|| NOW), write, journal: None, folding: Mutex::default() };
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::with_default(subscriber, || scene(&Logging { filter: handle }));
        lines.lock().unwrap().clone()
    }

    #[test]
    fn the_three_styles() {
        let scene = |_: &Logging| {
            let span = tracing::info_span!("attempt", webhook = "aml-watch", number = tracing::field::Empty).entered();
            span.record("number", 3);
            tracing::warn!(code = 503, ok = false, reason = "no answer", "delivery failed");
        };
        assert_eq!(
            logged(Style::Prefixed, LogLevel::Info, scene),
            "<4>postrider::logging::tests: delivery failed webhook=aml-watch number=3 code=503 ok=false reason=\"no answer\"\n"
        );
        assert_eq!(
            logged(Style::Text, LogLevel::Info, scene),
            "2026-11-23T09:25:32.045Z  WARN postrider::logging::tests: delivery failed webhook=aml-watch number=3 \
             code=503 ok=false reason=\"no answer\"\n"
        );
        let json: serde_json::Value = serde_json::from_str(&logged(Style::Json, LogLevel::Info, scene)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"time": "2026-11-23T09:25:32.045Z", "level": "warn", "target": "postrider::logging::tests",
                "message": "delivery failed",
                "fields": {"webhook": "aml-watch", "number": 3, "code": 503, "ok": false, "reason": "no answer"}})
        );
    }

    #[test]
    fn every_level_has_its_priority() {
        let scene = |_: &Logging| {
            tracing::error!("a");
            tracing::warn!("b");
            tracing::info!("c");
            tracing::debug!("d");
            tracing::trace!("e");
        };
        let text = logged(Style::Prefixed, LogLevel::Trace, scene);
        let priorities: Vec<_> = text.lines().map(|line| &line[..3]).collect();
        assert_eq!(priorities, ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }

    #[test]
    fn hostile_text_stays_one_harmless_line_wherever_it_is() {
        let hostile = "x\n<3>store damaged\u{1b}[2J\u{9b}1m\u{7f}\r\u{202e}\u{2028}\u{200b}";
        for style in [Style::Prefixed, Style::Text, Style::Json] {
            let text = logged(style, LogLevel::Info, |_| {
                let _span = tracing::info_span!("s", of_span = hostile, debug = ?hostile).entered();
                let error = std::io::Error::other(hostile);
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::info!(text = hostile, shown = %hostile, debug = ?hostile, error, "from {hostile}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            let line = text.strip_suffix('\n').expect("a whole line");
            assert!(!line.contains(misleads), "{line:?}");
            if style == Style::Json {
                let back: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(back["fields"]["text"], hostile, "escaping loses nothing");
            }
        }
    }

    #[test]
    fn a_value_cannot_pass_for_two_fields() {
        let text = logged(Style::Prefixed, LogLevel::Info, |_| {
            tracing::info!(a = "b c=d", e = "f\" g=\"h", i = "\"j\" k=\"l\"", m = ?"n \"o\"", p = "", "q");
        });
        let expected = r#" a="b c=d" e="f\" g=\"h" i="\"j\" k=\"l\"" m="n \"o\"" p="""#;
        assert_eq!(text, format!("<6>postrider::logging::tests: q{expected}\n"));
    }

    #[test]
    fn the_level_can_change_and_libraries_stay_quiet() {
        let text = logged(Style::Prefixed, LogLevel::Info, |logging| {
            // One call site: what it was told first must not stick.
            let debug = |text| tracing::debug!("{text}");
            debug("first");
            logging.set_level(LogLevel::Debug);
            debug("second");
            tracing::debug!(target: "hyper::proto", "third");
            tracing::warn!(target: "hyper::proto", "fourth");
            logging.set_level(LogLevel::Error);
            tracing::warn!(target: "hyper::proto", "fifth");
        });
        assert_eq!(text, "<7>postrider::logging::tests: second\n<4>hyper::proto: fourth\n");
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let cut = bounded("é".repeat(5000));
        assert!(cut.len() < 4200 && cut.ends_with("é… (5904 more bytes)"), "{}", &cut[4080..]);
        assert_eq!(bounded("short".to_owned()), "short");
    }

    #[test]
    fn auto_is_the_journal_only_if_standard_error_is_that_very_stream() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let this = OsString::from(format!("{}:{}", stat.st_dev, stat.st_ino));
        assert!(is_journal(Some(this), &file));
        for other in ["", "1:2", "8:x", &format!("{}:{}0", stat.st_dev, stat.st_ino)] {
            assert!(!is_journal(Some(other.into()), &file), "{other}");
        }
        assert!(!is_journal(None, &file));
        assert_eq!(style(LogFormat::Auto, true), Style::Prefixed);
        assert_eq!(style(LogFormat::Auto, false), Style::Text);
        assert_eq!(style(LogFormat::Json, true), Style::Json);
    }

    proptest! {
        #[test]
        fn any_text_is_one_line(text in any::<String>(), prefixed in any::<bool>()) {
            let style = if prefixed { Style::Prefixed } else { Style::Json };
            let line = logged(style, LogLevel::Info, |_| tracing::info!(a = text.as_str(), b = %text, "{text}"));
            prop_assert!(!line[..line.len() - 1].contains(misleads));
            prop_assert!(line.ends_with('\n'));
        }
    }
}
