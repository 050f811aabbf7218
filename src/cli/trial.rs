//! `postrider webhook test`: has a webhook tested, and tells how it went, step by step.
//!
//! The daemon sends the request; nothing is sent from here, so what works is what works for
//! deliveries. Invariant: it ends with 0 only if the receiver answered 2xx.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use serde_json::value::RawValue;

use super::output::{Cell, Style};
use super::{Ended, ExitCode, Failure, Session, input};
use crate::admin::protocol::{NewTest, StepView, TestView};

#[derive(Debug, Args)]
pub(super) struct Test {
    /// Name or id
    name: String,
    /// Event type to send [default: the first that the webhook wants]
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// File with the JSON payload; - is standard input [default: an example of the type]
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Send to this URL instead, without saving it; the webhook's secrets go there too
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) async fn run(session: &mut Session<'_>, arguments: &Test) -> Ended {
    let payload = match &arguments.payload {
        None => None,
        Some(file) => {
            let refused = |error: &dyn std::fmt::Display| {
                Failure::new(ExitCode::BadData, format!("{}: not JSON: {error}", file.display()))
            };
            let text = String::from_utf8(input::payload(file)?).map_err(|error| refused(&error))?;
            // As it stands in the file, but for blanks around it.
            Some(RawValue::from_string(text.trim().to_owned()).map_err(|error| refused(&error))?)
        }
    };
    let webhook = arguments.url.as_ref().map(|url| json!({"url": url}));
    let test = NewTest { event_type: arguments.event_type.clone(), payload, webhook };
    let result = session.client().await?.test_webhook(&arguments.name, &test).await?;
    if session.output.json() {
        session.output.object(&result)?;
    } else {
        let rows: Vec<(&str, Cell)> = result.steps.iter().map(|step| (step.name.as_str(), line(step))).collect();
        session.output.fields(&rows)?;
        session.output.text(&verdict(&arguments.name, &result))?;
    }
    Ok(if result.delivered { ExitCode::Done } else { ExitCode::No })
}

/// A step in a line.
fn line(step: &StepView) -> Cell {
    let (word, style) = match step.state.as_str() {
        "ok" => ("ok", Style::Good),
        "failed" => ("FAIL", Style::Bad),
        _ => ("skip", Style::Dim),
    };
    let took = step.duration_ms.map_or_else(String::new, |took| format!("{took:.1} ms"));
    Cell::styled(format!("{word:<4}  {took:>10}  {}", step.detail), style)
}

/// All of it in a line.
fn verdict(name: &str, result: &TestView) -> String {
    let failed = result.steps.iter().find(|step| step.state == "failed");
    match failed {
        None => format!("{name} works: {} to {} in {:.0} ms", result.code, result.event_type, result.duration_ms),
        Some(step) => {
            let cause = step.cause.as_ref().map_or_else(String::new, |cause| format!("; likely cause: {cause}"));
            format!("{name} failed at {}{cause}", step.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::{look, memory};

    fn step(name: &str, state: &str, cause: Option<&str>) -> StepView {
        let detail = "what was found".to_owned();
        let cause = cause.map(ToOwned::to_owned);
        StepView { name: name.to_owned(), state: state.to_owned(), duration_ms: Some(1.25), detail, cause }
    }

    #[test]
    fn steps_and_verdict_are_a_line_each() {
        let (mut output, out, _) = memory(look());
        let rows = [("dns", line(&step("dns", "ok", None))), ("tls", line(&step("tls", "failed", None)))];
        output.fields(&rows).unwrap();
        assert_eq!(out.text(), "dns  ok        1.2 ms  what was found\ntls  FAIL      1.2 ms  what was found\n");
        let steps = vec![
            step("dns", "ok", None),
            step("connect", "failed", Some("nothing listens")),
            step("tls", "not_tried", None),
        ];
        let failed = TestView { steps, ..TestView::default() };
        assert_eq!(verdict("aml", &failed), "aml failed at connect; likely cause: nothing listens");
        let works =
            TestView { code: 204, event_type: "SOS_REPORT".to_owned(), duration_ms: 12.4, ..TestView::default() };
        assert_eq!(verdict("aml", &works), "aml works: 204 to SOS_REPORT in 12 ms");
    }
}
