//! What a list is narrowed to, and how that is said in a query.
//!
//! It does not check the values: the daemon does, and names the field that is wrong.
//!
//! Invariant: a filter that is not set does not appear in the query.

/// Pairs of a query, in order.
pub(super) type Query = Vec<(&'static str, String)>;

/// Which deliveries are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// A whole reference or its prefix.
    pub reference: Option<String>,
    /// Like `reference`, but payloads are searched as well.
    pub text: Option<String>,
    /// Id or name of the webhook.
    pub webhook: Option<String>,
    /// Name, label or wire name of the event type.
    pub event_type: Option<String>,
    /// Classes of the last attempt: `0`, `2xx`, …; empty for any.
    pub classes: Vec<String>,
    /// Status code of the last attempt.
    pub code: Option<u16>,
    /// `pending`, `delivered`, `failed`, `cancelled` or `skipped`.
    pub state: Option<String>,
    /// Made at or after this instant (RFC 3339).
    pub since: Option<String>,
    /// Made before this instant (RFC 3339).
    pub until: Option<String>,
}

impl DeliveryFilter {
    /// As a query, without limit and cursor.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let classes = (!self.classes.is_empty()).then(|| self.classes.join(","));
        let code = self.code.map(|code| code.to_string());
        set([
            ("ref", &self.reference),
            ("q", &self.text),
            ("webhook", &self.webhook),
            ("type", &self.event_type),
            ("class", &classes),
            ("code", &code),
            ("state", &self.state),
            ("since", &self.since),
            ("until", &self.until),
        ])
    }
}

/// Which events are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// A whole reference or its prefix.
    pub reference: Option<String>,
    /// Name, label or wire name of the event type.
    pub event_type: Option<String>,
    /// Accepted at or after this instant (RFC 3339).
    pub since: Option<String>,
    /// Accepted before this instant (RFC 3339).
    pub until: Option<String>,
}

impl EventFilter {
    /// As a query, without limit and cursor.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        set([("ref", &self.reference), ("type", &self.event_type), ("since", &self.since), ("until", &self.until)])
    }
}

/// Which entries of the audit log are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Name or id of a webhook, name of a token, id of a delivery.
    pub subject: Option<String>,
    /// Who did it.
    pub by: Option<String>,
    /// An action (`webhook.edit`) or all of a noun (`webhook`).
    pub action: Option<String>,
    /// Done at or after this instant (RFC 3339).
    pub since: Option<String>,
    /// Done before this instant (RFC 3339).
    pub until: Option<String>,
}

impl AuditFilter {
    /// As a query, without limit and cursor.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        set([
            ("subject", &self.subject),
            ("by", &self.by),
            ("action", &self.action),
            ("since", &self.since),
            ("until", &self.until),
        ])
    }
}

/// Those that are set.
fn set<const N: usize>(fields: [(&'static str, &Option<String>); N]) -> Query {
    fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}

/// Adds which part of the list is wanted.
pub(super) fn page(mut query: Query, limit: usize, cursor: Option<&str>) -> Query {
    query.push(("limit", limit.to_string()));
    query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_not_asked_for() {
        assert_eq!(DeliveryFilter::default().query(), []);
        let filter = DeliveryFilter {
            reference: Some("8f3a".to_owned()),
            classes: vec!["0".to_owned(), "5xx".to_owned()],
            code: Some(503),
            ..DeliveryFilter::default()
        };
        let expected = [("ref", "8f3a"), ("class", "0,5xx"), ("code", "503"), ("limit", "20"), ("cursor", "abc")];
        assert_eq!(page(filter.query(), 20, Some("abc")), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn an_event_filter_names_its_fields_as_the_protocol_does() {
        let text = |text: &str| Some(text.to_owned());
        let filter = EventFilter {
            reference: text("r"),
            event_type: text("AML_MONITORING"),
            since: text("2026-11-23T00:00:00Z"),
            until: text("2026-11-24T00:00:00Z"),
        };
        let names: Vec<_> = filter.query().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ref", "type", "since", "until"]);
    }
}
