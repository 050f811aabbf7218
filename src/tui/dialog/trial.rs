//! The result of a test: a step a line, the one that failed named with its likely cause.
//!
//! It sends nothing itself; the daemon does, on the path of every delivery. Invariant: an answer is
//! shown in the dialog that asked for it and nowhere else, however late it comes.

use crate::admin::client::curl;
use crate::admin::protocol::{NewTest, StepView, TestView, WebhookView};
use crate::domain::attempt::Class;
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Answered, Ask, Effect, Effects, Got, Trouble};
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::screen::viewer::Viewer;
use crate::tui::screen::words;
use crate::tui::text::{bytes, took, width, wrapped};
use crate::tui::theme::{Role, of_class};
use crate::tui::update::is_linked;
use crate::tui::view::pen::{Pen, Span, span};

/// The dialog.
pub struct Trial {
    name: String,
    id: Option<String>,
    test: NewTest,
    /// Fields that are not saved are tested.
    unsaved: bool,
    /// Tells its answer from those to others.
    ticket: u64,
    result: Option<Result<Box<TestView>, Vec<String>>>,
    /// Lines that have gone by at the top.
    top: usize,
}

impl Trial {
    /// Of a webhook as it is saved.
    #[must_use]
    pub fn of_saved(hook: &WebhookView) -> Self {
        Self::of_form(hook.name.clone(), Some(hook.id.clone()), NewTest::default(), false)
    }

    /// Of what stands in the form.
    #[must_use]
    pub fn of_form(name: String, id: Option<String>, test: NewTest, unsaved: bool) -> Self {
        Self { name, id, test, unsaved, ticket: 0, result: None, top: 0 }
    }

    fn begin(&mut self, model: &mut Model, out: &mut Effects) {
        if model.read_only {
            return model.complain("read-only: a test is not possible here");
        }
        if is_linked(model) {
            model.tickets += 1;
            (self.ticket, self.result, self.top) = (model.tickets, None, 0);
            out.ask(Ask::Test(self.id.clone(), Box::new(self.test.clone()), self.ticket));
        }
    }

    /// The lines of the dialog, its buttons apart.
    fn lines(&self, columns: usize, small: bool) -> Vec<Vec<Span>> {
        match &self.result {
            None => {
                let mut lines = vec![vec![span("testing ...", Role::Waiting)], Vec::new()];
                let said = "It goes the way of a delivery, and ends within the webhook's timeout. Esc closes \
                            this; the answer is dropped then.";
                lines.extend(wrapped(said, columns).into_iter().map(|line| vec![span(line, Role::Dim)]));
                lines
            }
            Some(Err(why)) => {
                let mut lines = vec![vec![span("NOT TESTED", Role::Bad)], Vec::new()];
                let wrapped = why.iter().flat_map(|line| wrapped(line, columns));
                lines.extend(wrapped.map(|line| vec![span(line, Role::Text)]));
                lines
            }
            Some(Ok(view)) => self.of_view(view, columns, small),
        }
    }

    fn of_view(&self, view: &TestView, columns: usize, small: bool) -> Vec<Vec<Span>> {
        let mut lines = vec![verdict(view)];
        let cause = view.steps.iter().find_map(|step| step.cause.as_deref().filter(|_| step.state == "failed"));
        let cause = cause.map_or(Vec::new(), |cause| wrapped(&format!("Likely cause: {cause}"), columns));
        let cause = cause.into_iter().map(|line| vec![span(line, Role::Heading)]);
        let steps = view.steps.iter().flat_map(|step| step_lines(step, columns));
        if small {
            // What matters most is seen without scrolling.
            lines.extend(cause.chain(steps));
        } else {
            lines.push(Vec::new());
            lines.extend(steps);
            lines.push(Vec::new());
            lines.extend(cause);
        }
        let values = if self.unsaved { "The values of the form were used; nothing was saved." } else { "" };
        let size = bytes(view.payload_bytes as u64);
        let kind = view.event_type.replace('_', " ");
        let was_sent = view.steps.iter().any(|step| step.name == "request" && step.state == "ok");
        let said = if was_sent {
            format!(
                "Sent as {kind}, {size} of example, marked as a test: not queued, not counted, not retried. {values}"
            )
        } else {
            format!("Nothing was sent. It would have been {kind}, {size} of example, marked as a test. {values}")
        };
        lines.extend(wrapped(said.trim(), columns).into_iter().map(|line| vec![span(line, Role::Dim)]));
        lines
    }

    fn request(&self) -> Option<&crate::admin::protocol::RequestView> {
        self.result.as_ref()?.as_ref().ok()?.request.as_ref()
    }

    fn copy(&self, model: &mut Model, out: &mut Effects) {
        let Some(request) = self.request() else { return model.say("there is no request to copy") };
        // There is no delivery whose payload could be asked for: the command reads the example.
        let kind = self.result.as_ref().and_then(|result| result.as_ref().ok()).map(|view| view.event_type.clone());
        let command = curl::command("", request);
        let (_, rest) = command.split_once("|\n").unwrap_or(("", &command));
        let text = format!("postrider event example {} |\n{rest}", kind.unwrap_or_default());
        out.push(Effect::Copy { text, what: "a curl command".to_owned() });
    }

    /// Opens the request as a page of its own. The dialog closes: the page would lie below it.
    fn show(&self, model: &mut Model) -> Fate {
        let Some(request) = self.request() else {
            model.say("there was no request");
            return Fate::Stay;
        };
        let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let text = format!("{} {}\n{}", request.method, request.url, headers.collect::<String>());
        let title = format!("test of {}, as sent", self.name);
        model.pages.push(Box::new(Viewer::new(title, "request.txt", text.into_bytes())));
        Fate::Close
    }
}

/// Begins a test and shows how it goes.
pub(crate) fn open(model: &mut Model, mut trial: Trial, out: &mut Effects) {
    trial.begin(model, out);
    if trial.ticket != 0 {
        model.dialogs.push(Box::new(trial));
    }
}

fn verdict(view: &TestView) -> Vec<Span> {
    let time = format!("   in {}", took(view.duration_ms));
    let (word, role) = if view.delivered { ("OK", Role::Good) } else { ("FAILED", Role::Bad) };
    let what = match (view.code, view.error.as_deref()) {
        (0, error) => format!("0 no response: {}", error.map_or("no request was made", words::of_error)),
        (code, _) => format!("{code} {}", Class::of(code).words()),
    };
    vec![span(format!("{word:<8}"), role), span(what, of_class(&view.class)), span(time, Role::Text)]
}

fn step_lines(step: &StepView, columns: usize) -> Vec<Vec<Span>> {
    let (word, role) = match step.state.as_str() {
        "ok" => ("ok", Role::Good),
        "failed" => ("FAIL", Role::Bad),
        "skipped" => ("skip", Role::Dim),
        _ => ("-", Role::Dim),
    };
    let name = match step.name.as_str() {
        "url" => "URL",
        "dns" => "DNS",
        "connect" => "Connect",
        "tls" => "TLS",
        "oauth" => "OAuth",
        "signature" => "Signature",
        "request" => "Request",
        "response" => "Response",
        name => name,
    };
    let head = 17;
    let time = step.duration_ms.map_or(String::new(), took);
    let room = columns.saturating_sub(head + 8).max(10);
    let detail = if step.state == "not_tried" && step.detail.is_empty() { "not tried" } else { &step.detail };
    let told = wrapped(detail, room);
    let mut lines = Vec::new();
    for (at, text) in told.into_iter().enumerate() {
        if at == 0 {
            let gap = " ".repeat(room.saturating_sub(width(&text)));
            lines.push(vec![
                span(format!(" {word:<4} "), role),
                span(format!("{name:<11}"), Role::Text),
                span(text, if role == Role::Dim { Role::Dim } else { Role::Text }),
                span(format!("{gap} {time:>7}"), Role::Dim),
            ]);
        } else {
            lines.push(vec![span(" ".repeat(head), Role::Text), span(text, Role::Text)]);
        }
    }
    lines
}

impl Dialog for Trial {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        match key.code {
            Code::Esc | Code::Enter | Code::Char('q') => return Fate::Close,
            Code::Char('t') if self.result.is_some() => self.begin(model, out),
            Code::Char('v') => return self.show(model),
            Code::Char('C') => self.copy(model, out),
            Code::Down | Code::Char('j') => self.top += 1,
            Code::Up | Code::Char('k') => self.top = self.top.saturating_sub(1),
            Code::PageDown => self.top += 6,
            Code::PageUp => self.top = self.top.saturating_sub(6),
            _ => {}
        }
        // Never beyond the end, whatever the size of the screen.
        self.top = self.top.min(self.lines(40, false).len());
        Fate::Stay
    }

    fn answered(&mut self, _model: &mut Model, answered: &Answered, _out: &mut Effects) -> Fate {
        if matches!(&answered.ask, Ask::Test(_, _, ticket) if *ticket == self.ticket) {
            self.result = match &answered.got {
                Ok(Got::Tested(view)) => Some(Ok(view.clone())),
                Ok(_) => Some(Err(vec!["the daemon's answer makes no sense".to_owned()])),
                Err(Trouble::Refused(refused)) if !refused.fields.is_empty() => {
                    Some(Err(refused.fields.iter().map(|(field, why)| format!("{field} {why}")).collect()))
                }
                Err(trouble) => Some(Err(vec![trouble.words().to_owned()])),
            };
        }
        Fate::Stay
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let columns = 72.min(pen.width().saturating_sub(4));
        let lines = self.lines(columns.saturating_sub(2), pen.height() < 18);
        let foot = match &self.result {
            None => "Esc: close",
            Some(Ok(view)) if view.request.is_some() => "t: again   v: request   C: copy curl   Esc: close",
            Some(_) => "t: again   Esc: close",
        };
        let mut inside = pen.dialog(columns, lines.len().max(6) + 2, &format!("Test of {}", self.name), foot);
        let height = inside.height();
        // The empty lines around it are the first to go.
        let first = usize::from(height > lines.len() + 1);
        let shown = height.saturating_sub(first);
        let top = self.top.min(lines.len().saturating_sub(shown));
        for (y, line) in lines.iter().skip(top).take(shown).enumerate() {
            inside.spans(1, y + first, line);
        }
        let below = lines.len().saturating_sub(top + shown);
        if below > 0 {
            inside.right(height.saturating_sub(1), &format!(" j: {below} more"), Role::Key);
        } else if top > 0 {
            inside.right(0, &format!(" k: {top} above"), Role::Key);
        }
    }
}
