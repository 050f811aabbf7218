//! A text as a whole screen: a payload, a request, a command. And what is wanted of a delivery that is
//! not in the list: its payload or its request, to be shown or copied.
//!
//! It shows and finds; it changes nothing.

use crate::admin::client::curl;
use crate::tui::keymap::{Action, Context};
use crate::tui::message::{Answered, Ask, Effect, Effects, Got};
use crate::tui::model::{Asking, Fate, Model, Page, Prompt};
use crate::tui::screen::document::Document;
use crate::tui::text::{bytes, plural};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// A text as a whole screen.
pub struct Viewer {
    title: String,
    /// What a file with it would be called.
    file: String,
    document: Document,
    /// Whose payload it waits for.
    waits: Option<String>,
}

impl Viewer {
    /// Shows these bytes.
    #[must_use]
    pub fn new(title: impl Into<String>, file: impl Into<String>, content: Vec<u8>) -> Self {
        Self { title: title.into(), file: file.into(), document: Document::new(content), waits: None }
    }

    /// Shows the payload of a delivery or an event when it is there.
    fn of_payload(id: &str) -> Self {
        Self { waits: Some(id.to_owned()), ..Self::new("payload", format!("{id}.json"), Vec::new()) }
    }
}

impl Page for Viewer {
    fn context(&self) -> Context {
        Context::Viewer
    }

    fn title(&self) -> String {
        self.title.clone()
    }

    fn remark(&self, _model: &Model) -> String {
        self.document.place()
    }

    fn act(&mut self, model: &mut Model, action: Action, out: &mut Effects) -> Fate {
        self.document.height = model.body_height();
        match action {
            Action::Back | Action::Leave => {
                if action == Action::Back && self.document.clear_search() {
                    return Fate::Stay;
                }
                return Fate::Close;
            }
            Action::Search => model.prompt = Some(Prompt::new(Asking::Search, "/")),
            Action::CopyReference => out.push(Effect::Copy { text: self.document.text(), what: self.title.clone() }),
            Action::Pager => out.push(Effect::Page(self.document.text())),
            Action::Export => {
                let asking = Asking::WriteTo(self.document.bytes().to_vec());
                model.prompt = Some(Prompt::new(asking, "write to file: ").with(self.file.clone()));
            }
            action => {
                self.document.act(action);
            }
        }
        Fate::Stay
    }

    fn search(&mut self, model: &mut Model, text: &str, _out: &mut Effects) {
        self.document.height = model.body_height();
        if let Some(said) = self.document.find(text) {
            model.say(said);
        }
    }

    fn refresh(&mut self, model: &mut Model, _changed: bool, _out: &mut Effects) {
        self.document.height = model.body_height();
    }

    fn answered(&mut self, model: &mut Model, answered: &Answered, _out: &mut Effects) {
        let (Ask::Payload(id) | Ask::EventPayload(id)) = &answered.ask else { return };
        if self.waits.as_ref() != Some(id) {
            return;
        }
        self.waits = None;
        match &answered.got {
            Ok(Got::Payload { bytes: content, .. }) => {
                self.title = format!("payload, {}", bytes(content.len() as u64));
                self.document = Document::new(content.clone());
                self.document.height = model.body_height();
            }
            Ok(_) => {}
            Err(trouble) => self.document = Document::new(trouble.words().as_bytes().to_vec()),
        }
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        if self.waits.is_some() {
            pen.text(2, 0, "looking …", Role::Dim);
            return;
        }
        self.document.view(pen, true);
    }
}

/// What is wanted of a delivery or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its payload in the clipboard.
    CopyPayload,
    /// A command that repeats the request, in the clipboard.
    CopyCurl,
    /// Its payload on the screen.
    ViewPayload,
}

/// Gets something of a delivery (`dlv_…`) or an event (`evt_…`), and does with it what is wanted.
pub(crate) fn want(model: &mut Model, wanted: Wanted, id: &str, out: &mut Effects) {
    let ask = match wanted {
        Wanted::CopyCurl => Ask::Delivery(id.to_owned()),
        _ if id.starts_with("evt_") => Ask::EventPayload(id.to_owned()),
        _ => Ask::Payload(id.to_owned()),
    };
    out.ask(ask);
    if wanted == Wanted::ViewPayload {
        return model.pages.push(Box::new(Viewer::of_payload(id)));
    }
    model.wanted.push((wanted, id.to_owned()));
}

/// Whether an answer is one that is waited for; does with it what was wanted.
pub(crate) fn answered(model: &mut Model, answered: &Answered, out: &mut Effects) {
    let (Ask::Delivery(id) | Ask::Payload(id) | Ask::EventPayload(id)) = &answered.ask else { return };
    let is_payload = !matches!(answered.ask, Ask::Delivery(_));
    let found = model.wanted.iter().position(|(wanted, of)| of == id && (*wanted != Wanted::CopyCurl) == is_payload);
    let Some(found) = found else { return };
    let (wanted, _) = model.wanted.remove(found);
    match (wanted, &answered.got) {
        (Wanted::CopyPayload, Ok(Got::Payload { bytes, .. })) => match String::from_utf8(bytes.clone()) {
            Ok(text) => out.push(Effect::Copy { text, what: "the payload".to_owned() }),
            Err(_) => model.complain("the payload is no text; e writes it to a file"),
        },
        (Wanted::CopyCurl, Ok(Got::Delivery(view))) => match &view.request {
            Some(request) => {
                let secrets = curl::secrets(request).len() as u64;
                let masked = match secrets {
                    0 => String::new(),
                    number => format!(" ({} to be set)", plural(number, "variable", "variables")),
                };
                out.push(Effect::Copy { text: curl::command(id, request), what: format!("a curl command{masked}") });
            }
            None => model.complain("there is no request to copy: the webhook is gone"),
        },
        _ => {}
    }
}
