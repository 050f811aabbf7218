//! Searching the audit log: newest first, page by page, with a bound on what one page may look at.
//!
//! It knows no webhooks: an entry concerns one when it is its subject or when the detail names its
//! id. Invariant: a page goes on exactly where the one before it stopped, whatever was added since.

use super::rows;
use super::walk::Order;
use super::{Index, Result, contained};
use crate::domain::audit::AuditRecord;
use crate::domain::id::WebhookId;
use crate::domain::time::Timestamp;

/// What is looked for. Everything given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The subject as it was noted.
    pub subject: Option<String>,
    /// The webhook behind that subject: entries that name its id match as well, so that a renamed
    /// webhook is found with all of its past.
    pub webhook: Option<WebhookId>,
    /// The whole name, or the name before a remark in brackets.
    pub by: Option<String>,
    /// The action, or the part of it before the dot.
    pub action: Option<String>,
    /// Done at or after.
    pub since: Option<Timestamp>,
    /// Done before.
    pub until: Option<Timestamp>,
}

/// Where an entry stands in the log: opaque to everyone but the index.
pub type AuditPlace = [u8; 16];

/// Part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// Newest first.
    pub rows: Vec<AuditRecord>,
    /// Go on before this one; `None` at the end of the log.
    pub next: Option<AuditPlace>,
}

impl Index {
    /// What was done, newest first: at most `limit` entries, of at most `budget` looked at.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn audit(
        &self,
        query: &AuditQuery,
        before: Option<AuditPlace>,
        limit: usize,
        budget: usize,
    ) -> Result<AuditPage> {
        contained(|| {
            let first = rows::audit_key(query.since.unwrap_or_default(), 0);
            let until = query.until.map(|until| rows::audit_key(until, 0));
            let end = until.into_iter().chain(before).min().unwrap_or([0xff; 16]);
            let mut page = AuditPage { rows: Vec::new(), next: None };
            let mut looked_at = 0;
            for day in self.days_with(&["audit."]) {
                let outside = rows::audit_key(day.end(), 0) <= first || rows::audit_key(day.start(), 0) >= end;
                let Some(shelf) = self.existing(&format!("audit.{day}"))?.filter(|_| !outside && first < end) else {
                    continue;
                };
                for item in shelf.range(&first, Some(&end), Order::NewestFirst)? {
                    let (key, row) = item?;
                    let record = rows::audit_from(&key, &row)?;
                    if query.matches(&record) {
                        page.rows.push(record);
                    }
                    looked_at += 1;
                    if page.rows.len() >= limit || looked_at >= budget {
                        page.next = AuditPlace::try_from(&*key).ok();
                        return Ok(page);
                    }
                }
            }
            Ok(page)
        })
    }
}

impl AuditQuery {
    /// Whether an entry is one of those looked for, apart from its time.
    fn matches(&self, record: &AuditRecord) -> bool {
        let named = |webhook: WebhookId| record.detail.contains(&format!("\"{webhook}\""));
        let subject = self.subject.as_ref().is_none_or(|wanted| *wanted == record.subject);
        let begins = |text: &str, wanted: &str, behind: &str| {
            text.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(behind))
        };
        (subject || self.webhook.is_some_and(named))
            && self.by.as_ref().is_none_or(|wanted| begins(&record.by, wanted, " ("))
            && self.action.as_ref().is_none_or(|wanted| begins(&record.action, wanted, "."))
    }
}
