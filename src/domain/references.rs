//! The ids an event can be found by. Which fields of a payload hold them is listed here; cutting
//! them out of the bytes is ingest's work.

/// The payload's top-level fields whose texts are references, besides the list `scanRefList`.
/// `scanRef` comes first because it is also shown on its own.
pub const PAYLOAD_FIELDS: [&str; 6] = ["scanRef", "clientId", "companyId", "externalRef", "monitoringId", "id"];

/// Searchable ids of one event: each once, in the order found, bounded in length and number, so
/// that an index row stays small whatever is posted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References(Vec<String>);

impl References {
    /// The longest reference that is searchable, in bytes; a longer one is cut at a character.
    pub const LENGTH_MAX: usize = 128;
    /// The most references of one event. Those beyond it are not searchable.
    pub const COUNT_MAX: usize = 32;

    /// Adds one, unless it is empty, known or beyond the bounds.
    pub fn add(&mut self, reference: &str) {
        let mut end = reference.len().min(Self::LENGTH_MAX);
        while !reference.is_char_boundary(end) {
            end -= 1;
        }
        let reference = &reference[..end];
        if !reference.is_empty() && self.0.len() < Self::COUNT_MAX && !self.0.iter().any(|known| known == reference) {
            self.0.push(reference.to_owned());
        }
    }

    /// In the order found.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Gives up the list.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

impl From<Vec<String>> for References {
    fn from(list: Vec<String>) -> Self {
        let mut references = Self::default();
        for reference in &list {
            references.add(reference);
        }
        references
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_distinct() {
        let mut references = References::default();
        for text in ["a", "", "a", "b"] {
            references.add(text);
        }
        assert_eq!(references.as_slice(), ["a", "b"]);
        references.add(&"é".repeat(100));
        assert_eq!(references.as_slice()[2].len(), 128);
        for number in 0..100 {
            references.add(&number.to_string());
        }
        assert_eq!(references.as_slice().len(), References::COUNT_MAX);
    }
}
