//! `postrider verify`: has the daemon check every record of the store.
//!
//! It reads no file of the store itself: the daemon owns them.
//!
//! Invariant: exit 0 only if nothing at all is wrong.

use super::{Ended, ExitCode, Session};
use crate::admin::protocol::VerifyReport;

pub(super) async fn run(session: &mut Session<'_>) -> Ended {
    let client = session.client().await?;
    session.output.note("checking every record; this can take long");
    let report = client.verify().await?;
    if session.output.json() {
        session.output.object(&report)?;
    } else {
        session.output.text(&in_words(&report))?;
    }
    Ok(if is_sound(&report) { ExitCode::Done } else { ExitCode::No })
}

pub(super) fn is_sound(report: &VerifyReport) -> bool {
    report.damaged == 0 && report.index_problem.is_none() && report.index_blobs == 0
}

pub(super) fn in_words(report: &VerifyReport) -> String {
    let mut text = format!(
        "journal: {} records in {} segments check out, {} damaged stretches\nindex: {} rows check out",
        report.records, report.segments, report.damaged, report.index_rows
    );
    if let Some(problem) = &report.index_problem {
        text.push_str(&format!("; {problem}"));
    }
    if report.index_blobs > 0 {
        text.push_str(&format!("; {} large-value files that should not be there", report.index_blobs));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_wrong_is_a_no() {
        assert!(is_sound(&VerifyReport { records: 3, ..VerifyReport::default() }));
        assert!(!is_sound(&VerifyReport { damaged: 1, ..VerifyReport::default() }));
        assert!(!is_sound(&VerifyReport { index_blobs: 1, ..VerifyReport::default() }));
        let odd = VerifyReport { index_problem: Some("row 3".to_owned()), ..VerifyReport::default() };
        assert!(!is_sound(&odd) && in_words(&odd).contains("row 3"));
    }
}
