//! Event types: names, labels, wire names and groups, and which subscription matches what.
//!
//! Knows the types that ship with postrider, and what makes one of the operator's own valid. What
//! their payloads look like is not known here: schemas and examples of the former are in `catalog`,
//! those of the latter are carried along as texts.

use super::time::Timestamp;
use super::webhook::FieldProblem;

/// The heading a type is listed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Know your customer: identity verification.
    Kyc,
    /// Anti-money-laundering.
    Aml,
    /// Know your business: company verification.
    Kyb,
    /// The rest.
    Other,
}

impl Group {
    /// The heading.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kyc => "KYC",
            Self::Aml => "AML",
            Self::Kyb => "KYB",
            Self::Other => "Other",
        }
    }

    /// The group with this heading, in any letter case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Kyc, Self::Aml, Self::Kyb, Self::Other]
            .into_iter()
            .find(|group| group.as_str().eq_ignore_ascii_case(text))
    }
}

/// An event type that ships with postrider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownType {
    /// Canonical name, such as `ID_VERIFICATION_CANCELED`.
    pub name: &'static str,
    /// What people read, such as `ID VERIFICATION CANCELED`.
    pub label: &'static str,
    /// What receivers read in the event type header, such as `IDENTIFICATION_CANCELLED`.
    pub wire_name: &'static str,
    /// Its heading.
    pub group: Group,
    /// What it means, in one line.
    pub meaning: &'static str,
}

/// The legacy type, which stands for all six identity verification events.
pub const LEGACY: &str = "ID_VERIFICATION";

/// What the names of the specific ones begin with.
const LEGACY_PREFIX: &str = "ID_VERIFICATION_";

/// Subscribes to everything.
pub const WILDCARD: &str = "*";

/// The longest name of a type, in bytes.
pub const NAME_LENGTH_MAX: usize = 64;

const fn known(
    name: &'static str,
    label: &'static str,
    wire_name: &'static str,
    group: Group,
    meaning: &'static str,
) -> KnownType {
    KnownType { name, label, wire_name, group, meaning }
}

/// The 20 types, in the order they are listed.
pub const KNOWN: [KnownType; 20] = [
    known(
        "ID_VERIFICATION",
        "ID VERIFICATION",
        "IDENTIFICATION",
        Group::Kyc,
        "Legacy: any of the six identity verification events. Choose the specific types instead.",
    ),
    known(
        "ID_VERIFICATION_AUTO_FINISHED",
        "ID VERIFICATION AUTO FINISHED",
        "IDENTIFICATION_AUTO_FINISHED",
        Group::Kyc,
        "The automatic check of an identity verification ended; a manual review may follow.",
    ),
    known(
        "ID_VERIFICATION_MANUAL_FINISHED",
        "ID VERIFICATION MANUAL FINISHED",
        "IDENTIFICATION_MANUAL_FINISHED",
        Group::Kyc,
        "The manual review of an identity verification ended.",
    ),
    known(
        "ID_VERIFICATION_EXPIRED",
        "ID VERIFICATION EXPIRED",
        "IDENTIFICATION_EXPIRED",
        Group::Kyc,
        "An identity verification ran out of time before it was finished.",
    ),
    known(
        "ID_VERIFICATION_CANCELED",
        "ID VERIFICATION CANCELED",
        "IDENTIFICATION_CANCELLED",
        Group::Kyc,
        "An identity verification was canceled by the user or the system.",
    ),
    known(
        "ID_VERIFICATION_RESUBMITTED",
        "ID VERIFICATION RESUBMITTED",
        "IDENTIFICATION_RESUBMITTED",
        Group::Kyc,
        "A client uploaded additional material that was asked for.",
    ),
    known(
        "DOCUMENT_EXPIRATION",
        "DOCUMENT EXPIRATION",
        "DOCUMENT_EXPIRATION",
        Group::Kyc,
        "A verified document expires within 30, 7 or 1 days, or has expired.",
    ),
    known(
        "FACIAL_AUTHENTICATION",
        "FACIAL AUTHENTICATION",
        "FACIAL_AUTHENTICATION",
        Group::Kyc,
        "A face enrolment or authentication ended.",
    ),
    known(
        "AML_MONITORING",
        "AML MONITORING",
        "AML_MONITORING",
        Group::Aml,
        "The anti-money-laundering status of a monitored person or company changed.",
    ),
    known(
        "AML_MONITORING_EXPIRATION",
        "AML MONITORING EXPIRATION",
        "AML_MONITORING_EXPIRATION",
        Group::Aml,
        "Monitored subjects are about to expire: how many can be extended, how many will expire.",
    ),
    known("COMPANY_REVIEW", "COMPANY REVIEW", "COMPANY_REVIEW", Group::Kyb, "A company was reviewed."),
    known("COMPANY_DELETE", "COMPANY DELETE", "COMPANY_DELETE", Group::Kyb, "A company was deleted."),
    known(
        "COMPANY_AML_REVIEW",
        "COMPANY AML REVIEW",
        "COMPANY_AML_REVIEW",
        Group::Kyb,
        "An anti-money-laundering review of a company, beneficiary or shareholder changed.",
    ),
    known(
        "COMPANY_INFO_REQUEST",
        "COMPANY INFO REQUEST",
        "COMPANY_INFO_REQUEST",
        Group::Kyb,
        "More information was requested from a company, or the request ended.",
    ),
    known(
        "COMPANY_EXPIRATION",
        "COMPANY EXPIRATION",
        "COMPANY_EXPIRATION",
        Group::Kyb,
        "A company's form is about to expire or has expired.",
    ),
    known("COMPANY_SUBMIT", "COMPANY SUBMIT", "COMPANY_SUBMIT", Group::Kyb, "A company form was submitted."),
    known(
        "ACCOUNT_CHECK",
        "ACCOUNT CHECK",
        "ACCOUNT_CHECK",
        Group::Other,
        "A check of a client's online accounts ended.",
    ),
    known(
        "GOV_ORDERED_DOCUMENT",
        "GOV ORDERED DOCUMENT",
        "GOV_ORDERED_DOCUMENT",
        Group::Other,
        "A document ordered from a government registry changed its status.",
    ),
    known(
        "SOS_REPORT",
        "SOS_REPORT",
        "SOS_REPORT",
        Group::Other,
        "A Secretary of State report on a company changed its status.",
    ),
    known(
        "BANK_VERIFICATION",
        "BANK_VERIFICATION",
        "BANK_VERIFICATION",
        Group::Other,
        "A bank account verification ended.",
    ),
];

impl KnownType {
    /// Whether new webhooks should choose something else.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        self.name == LEGACY
    }

    /// The type with this name, label or wire name, in any letter case; blanks and hyphens count
    /// as underscores.
    #[must_use]
    pub fn find(text: &str) -> Option<&'static Self> {
        // The common case is the canonical name as it stands.
        if let Some(exact) = KNOWN.iter().find(|known| known.name == text) {
            return Some(exact);
        }
        let name = canonical(text);
        KNOWN.iter().find(|known| known.name == name || known.wire_name == name || canonical(known.label) == name)
    }
}

/// An event type of the operator's own. Receivers read its name in the event type header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomType {
    /// Canonical name; also its wire name.
    pub name: String,
    /// What people read; apps may post by it as well.
    pub label: String,
    /// Its heading.
    pub group: Group,
    /// What it means, in one line; may be empty.
    pub meaning: String,
    /// The JSON Schema of its payloads, as it was given.
    pub schema: Option<String>,
    /// A payload as apps post it, JSON as it was given.
    pub example: Option<String>,
    /// Rises by one with every change, from 1.
    pub version: u32,
    /// When it was defined.
    pub created_at: Timestamp,
    /// Who defined it.
    pub created_by: String,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Who changed it last.
    pub updated_by: String,
}

impl CustomType {
    /// So many of them, at most.
    pub const COUNT_MAX: usize = 200;
    /// The longest label, in characters.
    pub const LABEL_LENGTH_MAX: usize = 64;
    /// The longest meaning, in characters.
    pub const MEANING_LENGTH_MAX: usize = 200;
    /// The longest schema, and the longest example, in bytes.
    pub const TEXT_BYTES_MAX: usize = 64 << 10;
    /// All of them together, in bytes. Each segment of the journal begins with a copy of the whole
    /// configuration, which has to fit one record.
    pub const ALL_BYTES_MAX: usize = 4 << 20;

    /// Whether a name or label, in any letter case, means this type.
    #[must_use]
    pub fn is_called(&self, text: &str) -> bool {
        let name = canonical(text);
        self.name == name || canonical(&self.label) == name
    }

    /// How many bytes it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [&self.schema, &self.example].into_iter().flatten().map(String::len).sum::<usize>();
        texts + self.name.len() + self.label.len() + self.meaning.len()
    }

    /// Everything that is wrong with it on its own, apart from what its schema and example say.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let mut wrong = |field: &str, detail: String| problems.push(FieldProblem::new(field, detail));
        if !is_valid_name(&self.name) || self.name != canonical(&self.name) {
            wrong(
                "name",
                format!("must begin with a letter and have at most {NAME_LENGTH_MAX} letters, digits, '_', '.' or '/'"),
            );
        } else if self.name.starts_with(LEGACY_PREFIX) {
            wrong("name", format!("must not begin with {LEGACY_PREFIX}, which webhooks for {LEGACY} would get"));
        }
        let plain = |text: &str| text.chars().all(|c| !c.is_control());
        let label = self.label.chars().count();
        if !(1..=Self::LABEL_LENGTH_MAX).contains(&label) || !plain(&self.label) || self.label.trim() != self.label {
            wrong("label", format!("must be one line of 1 to {} characters", Self::LABEL_LENGTH_MAX));
        }
        if KnownType::find(&self.label).is_some() {
            wrong("label", "means a type that is built in".to_owned());
        }
        if self.meaning.chars().count() > Self::MEANING_LENGTH_MAX || !plain(&self.meaning) {
            wrong("meaning", format!("must be one line of at most {} characters", Self::MEANING_LENGTH_MAX));
        }
        for (field, text) in [("schema", &self.schema), ("example", &self.example)] {
            if text.as_ref().is_some_and(|text| text.len() > Self::TEXT_BYTES_MAX) {
                wrong(field, format!("must have at most {} bytes", Self::TEXT_BYTES_MAX));
            }
        }
        problems
    }
}

/// Upper case, with blanks and hyphens as underscores.
#[must_use]
pub fn canonical(text: &str) -> String {
    text.trim().chars().map(|c| if c == ' ' || c == '-' { '_' } else { c.to_ascii_uppercase() }).collect()
}

/// Whether a canonical name can be the name of a type that is not known: letters, digits, `_`,
/// `.` and `/`, at most 64 bytes, beginning with a letter.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    name.len() <= NAME_LENGTH_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/'))
}

/// The name in the event type header for a type: its wire name, or the name itself for a type
/// that is not known.
#[must_use]
pub fn wire_name(name: &str) -> &str {
    KNOWN.iter().find(|known| known.name == name).map_or(name, |known| known.wire_name)
}

/// The subscription among `subscribed` that an event of type `event_type` matches, if any. A
/// specific one is preferred to the legacy type, and that to the wildcard, because the receiver
/// is told the name it asked for.
#[must_use]
pub fn matching<'a>(subscribed: &'a [String], event_type: &str) -> Option<&'a str> {
    let find = |wanted: &str| subscribed.iter().map(String::as_str).find(|name| *name == wanted);
    find(event_type)
        .or_else(|| if event_type.starts_with(LEGACY_PREFIX) { find(LEGACY) } else { None })
        .or_else(|| find(WILDCARD))
}

/// The known or given names nearest to a misspelt one, best first, at most three.
#[must_use]
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = canonical(text);
    let mut ranked: Vec<(usize, &str)> = names
        .map(|name| (edit_distance(&wanted, name), name))
        .filter(|(far, _)| *far <= wanted.len().max(6) / 2)
        .collect();
    ranked.sort_unstable();
    ranked.truncate(3);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Levenshtein distance in bytes; both texts are names, so short.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let a = &a[..a.len().min(2 * NAME_LENGTH_MAX)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_every_type_is_found() {
        for known in &KNOWN {
            for spelling in [known.name, known.label, known.wire_name] {
                for text in [spelling.to_owned(), spelling.to_lowercase(), spelling.replace('_', " ")] {
                    assert_eq!(KnownType::find(&text).map(|found| found.name), Some(known.name), "{text}");
                }
            }
            assert!(is_valid_name(known.name));
        }
        assert_eq!(KnownType::find("ID VERIFICATION CANCELED").map(|k| k.wire_name), Some("IDENTIFICATION_CANCELLED"));
    }

    #[test]
    fn the_legacy_type_matches_all_six_and_nothing_else() {
        let legacy = [LEGACY.to_owned()];
        let matched: Vec<_> = KNOWN.iter().filter(|known| matching(&legacy, known.name).is_some()).collect();
        assert_eq!(matched.len(), 6);
        assert!(matched.iter().all(|known| known.name.starts_with("ID_VERIFICATION")));
        let both = [LEGACY.to_owned(), "ID_VERIFICATION_EXPIRED".to_owned()];
        assert_eq!(matching(&both, "ID_VERIFICATION_EXPIRED"), Some("ID_VERIFICATION_EXPIRED"));
        assert_eq!(matching(&["*".to_owned()], "SOS_REPORT"), Some("*"));
        assert_eq!(matching(&legacy, "SOS_REPORT"), None);
    }

    fn custom(name: &str, label: &str) -> CustomType {
        CustomType {
            name: name.to_owned(),
            label: label.to_owned(),
            group: Group::Other,
            meaning: String::new(),
            schema: None,
            example: None,
            version: 1,
            created_at: Timestamp::from_millis(1),
            created_by: "alice".to_owned(),
            updated_at: Timestamp::from_millis(1),
            updated_by: "alice".to_owned(),
        }
    }

    #[test]
    fn a_type_of_ones_own_can_not_be_mistaken_for_another() {
        let fields = |one: &CustomType| one.problems().into_iter().map(|problem| problem.field).collect::<Vec<_>>();
        assert_eq!(fields(&custom("ORDER/PAID", "Order paid")), [""; 0]);
        for name in ["", "1ST", "order", "ORDER PAID", "ID_VERIFICATION_X", &"X".repeat(65)] {
            assert_eq!(fields(&custom(name, "x")), ["name"], "{name:?}");
        }
        for label in ["", " x", "a\nb", "sos report", "Identification Cancelled", &"x".repeat(65)] {
            assert_eq!(fields(&custom("ORDER", label)), ["label"], "{label:?}");
        }
        let long = Some("x".repeat(CustomType::TEXT_BYTES_MAX + 1));
        let large = CustomType { schema: long.clone(), example: long, meaning: "a\nb".to_owned(), ..custom("A", "a") };
        assert_eq!(fields(&large), ["meaning", "schema", "example"]);
        assert!(custom("ORDER/PAID", "Money is here").is_called("money-is here"));
        assert!(custom("ORDER/PAID", "x").is_called("order/paid") && !custom("ORDER", "x").is_called("order/paid"));
        assert_eq!(Group::parse("kyb"), Some(Group::Kyb));
    }

    #[test]
    fn a_misspelt_type_has_a_nearest_name() {
        let names = || KNOWN.iter().map(|known| known.name);
        assert_eq!(nearest("aml monitorin", names())[0], "AML_MONITORING");
        assert_eq!(nearest("SOS_REPROT", names())[0], "SOS_REPORT");
        assert!(nearest("zzzzzzzzzzzzzzzzzzzzzzzz", names()).is_empty());
    }
}
