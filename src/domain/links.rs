//! Links in a payload that have died since it was posted.
//!
//! Payloads carry links to files that work for an hour, so what is sent again later may point to
//! nothing. It follows no link and does not know whether a file is still there: it reads what a
//! link says of itself, and where it says nothing takes an hour for the files' own fields. Its
//! invariant: it looks at each value once, and what it returns is bounded whatever the payload is.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::time::Timestamp;

/// How long a link to a file works when it does not say so itself.
pub const LIFETIME: Duration = Duration::from_hours(1);

/// Links that are likely dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLinks {
    /// How many there are.
    pub count: usize,
    /// Where the first of them are, as JSON Pointers (RFC 6901).
    pub pointers: Vec<String>,
}

impl DeadLinks {
    /// The most pointers.
    pub const POINTERS_MAX: usize = 10;
}

/// Fields that hold links to files, or objects and lists of such links, by how their names end.
const OF_FILES: [&str; 8] = ["fileurls", "fileurl", "pdfurls", "pdfurl", "file", "files", "photo", "photos"];
/// Parameters of a signed link; any of them means that it does not work for ever.
const OF_SIGNED: [&str; 6] =
    ["x-amz-signature", "x-goog-signature", "x-amz-expires", "x-goog-expires", "signature", "expires"];

/// The links of a payload that no longer work at `now`. Without an instant of their own they work
/// for [`LIFETIME`] from `posted_at` on.
#[must_use]
pub fn dead(payload: &Value, posted_at: Timestamp, now: Timestamp) -> DeadLinks {
    let mut search = Search { aged: posted_at.plus(LIFETIME) <= now, now, found: DeadLinks::default() };
    search.visit(payload, &mut String::new(), false);
    search.found
}

struct Search {
    /// A link that does not say until when it works is dead.
    aged: bool,
    now: Timestamp,
    found: DeadLinks,
}

impl Search {
    /// Goes as deep as the value does, which its parser has bounded.
    fn visit(&mut self, value: &Value, pointer: &mut String, of_file: bool) {
        let length = pointer.len();
        match value {
            Value::String(text) if self.is_dead(text, of_file) => {
                self.found.count += 1;
                if self.found.pointers.len() < DeadLinks::POINTERS_MAX {
                    self.found.pointers.push(pointer.clone());
                }
            }
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    pointer.push_str(&format!("/{place}"));
                    self.visit(item, pointer, of_file);
                    pointer.truncate(length);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    pointer.push('/');
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    self.visit(field, pointer, of_file || is_of_files(name));
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn is_dead(&self, text: &str, of_file: bool) -> bool {
        let scheme = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        if !scheme.starts_with("http://") && !scheme.starts_with("https://") {
            return false;
        }
        // A field of files that holds what is no URL holds no link either.
        let Ok(url) = Url::parse(text) else { return false };
        match expiry(&url) {
            Some(until) => until <= self.now,
            None => self.aged && (of_file || is_signed(&url)),
        }
    }
}

/// Whether a name's last words are those of files: `reportFile` and `report_file`, not `profile`.
fn is_of_files(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    OF_FILES.iter().filter_map(|end| lower.strip_suffix(end)).any(|before| {
        let starts_word = name.as_bytes().get(before.len()).is_some_and(u8::is_ascii_uppercase);
        before.is_empty() || before.ends_with(['_', '-', ' ']) || starts_word
    })
}

fn param<'a>(url: &'a Url, name: &str) -> Option<Cow<'a, str>> {
    url.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn is_signed(url: &Url) -> bool {
    // Two letters mean a signature only together.
    let azure = param(url, "sig").is_some() && param(url, "se").is_some();
    azure || url.query_pairs().any(|(key, _)| OF_SIGNED.iter().any(|name| key.eq_ignore_ascii_case(name)))
}

/// Until when a link says that it works.
fn expiry(url: &Url) -> Option<Timestamp> {
    for vendor in ["x-amz", "x-goog"] {
        let from = param(url, &format!("{vendor}-date")).and_then(|text| instant(&text));
        let seconds = param(url, &format!("{vendor}-expires")).and_then(|text| text.parse().ok());
        if let (Some(from), Some(seconds)) = (from, seconds) {
            return Some(from.plus(Duration::from_secs(seconds)));
        }
    }
    if param(url, "sig").is_some()
        && let Some(until) = param(url, "se").and_then(|text| instant(&text))
    {
        return Some(until);
    }
    // Seconds since 1970; a small number is something else.
    let seconds: u64 = param(url, "expires")?.parse().ok()?;
    (seconds >= 1_000_000_000).then(|| Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// An instant as signed links have it, `20261123T092532Z` or RFC 3339.
fn instant(text: &str) -> Option<Timestamp> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(instant.as_millisecond()).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// 2026-11-23T09:25:32Z
    const NOW: Timestamp = Timestamp::from_millis(1_795_425_932_000);

    fn after(payload: &Value, age: Duration) -> DeadLinks {
        dead(payload, NOW.minus(age), NOW)
    }

    fn is_dead(url: &str, minutes: u64) -> bool {
        after(&json!({"x": url}), Duration::from_mins(minutes)).count == 1
    }

    #[test]
    fn links_of_files_die_after_an_hour() {
        let payload = json!({
            "fileUrls": {"FRONT": "https://f.example/1.png", "a/b~": "http://f.example/2", "NOTE": "none", "BACK": null},
            "additionalStepPdfUrls": ["HTTPS://f.example/3.pdf", "ftp://f.example/4"],
            "facePhoto": "https://f.example/5",
            "reportFile": "https://f.example/6",
            "data_file": "https://f.example/7",
            "url": "https://news.example/article", "profile": {"link": "https://example.net/"},
            "file": {"size": 1}, "profiles": ["https://example.net/"],
        });
        let found = after(&payload, Duration::from_hours(1));
        let mut pointers = found.pointers.clone();
        pointers.sort();
        let expected = [
            "/additionalStepPdfUrls/0",
            "/data_file",
            "/facePhoto",
            "/fileUrls/FRONT",
            "/fileUrls/a~1b~0",
            "/reportFile",
        ];
        assert_eq!((found.count, pointers), (6, expected.map(str::to_owned).to_vec()));
        assert!(found.pointers.iter().all(|pointer| payload.pointer(pointer).is_some_and(Value::is_string)));
        assert_eq!(after(&payload, Duration::from_secs(3599)), DeadLinks::default());
    }

    #[test]
    fn a_link_that_says_until_when_is_believed() {
        for (url, minutes, expected) in [
            // 09:20:00 and five minutes; and six.
            ("https://a.example/?X-Amz-Date=20261123T092000Z&X-Amz-Expires=300&X-Amz-Signature=a", 1, true),
            ("https://a.example/?X-Amz-Date=20261123T092000Z&X-Amz-Expires=360&X-Amz-Signature=a", 300, false),
            ("https://a.example/?x-goog-date=20261123T092000Z&x-goog-expires=300", 1, true),
            ("https://a.example/?Expires=1795425931&Signature=a", 1, true),
            ("https://a.example/?Expires=1795425933&Signature=a", 300, false),
            ("https://a.example/?se=2026-11-23T09%3A25%3A00Z&sig=a", 1, true),
            ("https://a.example/?se=2026-11-23T09%3A26%3A00Z&sig=a", 300, false),
            // What says nothing of use lives as long as the rest.
            ("https://a.example/?X-Amz-Date=soon&X-Amz-Expires=300", 59, false),
            ("https://a.example/?X-Amz-Date=soon&X-Amz-Expires=300", 60, true),
            ("https://a.example/?Expires=60&Signature=a", 60, true),
            ("https://a.example/?se=x&sig=y", 60, true),
            ("https://a.example/?se=2020-01-01T00%3A00%3A00Z", 600, false),
            ("https://a.example/?X-Amz-Date=20261123T092000Z&X-Amz-Expires=99999999999999999999", 59, false),
            ("https://a.example/?Expires=99999999999999999999", 59, false),
        ] {
            assert_eq!(is_dead(url, minutes), expected, "{url} after {minutes} min");
        }
    }

    #[test]
    fn the_examples_of_the_catalogue_are_recognised() {
        for (text, links) in [
            (include_str!("../catalog/examples/SOS_REPORT.json"), 2),
            (include_str!("../catalog/examples/FACIAL_AUTHENTICATION.json"), 1),
            (include_str!("../catalog/examples/GOV_ORDERED_DOCUMENT.json"), 1),
            (include_str!("../catalog/examples/AML_MONITORING.json"), 0),
        ] {
            let found = after(&serde_json::from_str(text).unwrap(), Duration::from_hours(2));
            assert_eq!(found.count, links, "{text}");
        }
    }

    #[test]
    fn there_are_ten_pointers_at_most() {
        let many: Vec<String> = (0..1000).map(|number| format!("https://f.example/{number}")).collect();
        let found = after(&json!({"files": many}), LIFETIME);
        assert_eq!((found.count, found.pointers.len()), (1000, DeadLinks::POINTERS_MAX));
    }

    fn values() -> impl Strategy<Value = Value> {
        let texts = prop_oneof![any::<String>(), "https?://[a-z.%é\\[]{0,9}(\\?[A-Za-z=&0-9-]{0,30})?"];
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), texts.prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let names = prop_oneof![any::<String>(), Just("fileUrls".to_owned())];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((names, inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_pointer_leads_to_a_link(payload in values(), hours in 0_u64..100) {
            let found = after(&payload, Duration::from_hours(hours));
            prop_assert_eq!(found.pointers.len(), found.count.min(DeadLinks::POINTERS_MAX));
            for pointer in &found.pointers {
                let text = payload.pointer(pointer).and_then(Value::as_str).unwrap();
                prop_assert!(text.to_ascii_lowercase().starts_with("http"));
            }
            // Time only kills.
            prop_assert!(after(&payload, Duration::from_hours(hours + 1)).count >= found.count);
        }
    }
}
