//! The result of a test: a step a line, the one that failed named with its likely cause.
//!
//! It sends nothing itself; the daemon does, on the path of every delivery.

use crate::admin::protocol::{NewTest, TestView, WebhookView};
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Answered, Ask, Effects, Got};
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// The dialog.
pub struct Trial {
    name: String,
    id: Option<String>,
    test: NewTest,
    result: Option<Result<Box<TestView>, String>>,
}

impl Trial {
    /// Of a webhook as it is saved.
    #[must_use]
    pub fn of_saved(hook: &WebhookView) -> Self {
        Self { name: hook.name.clone(), id: Some(hook.id.clone()), test: NewTest::default(), result: None }
    }

    /// What is asked.
    #[must_use]
    pub fn ask(&self) -> Ask {
        Ask::Test(self.id.clone(), Box::new(self.test.clone()))
    }
}

impl Dialog for Trial {
    fn key(&mut self, _model: &mut Model, key: Key, _out: &mut Effects) -> Fate {
        if matches!(key.code, Code::Esc | Code::Enter) { Fate::Close } else { Fate::Stay }
    }

    fn answered(&mut self, _model: &mut Model, answered: &Answered, _out: &mut Effects) -> Fate {
        if let (Ask::Test(id, _), got) = (&answered.ask, &answered.got)
            && *id == self.id
        {
            self.result = match got {
                Ok(Got::Tested(view)) => Some(Ok(view.clone())),
                Ok(_) => None,
                Err(trouble) => Some(Err(trouble.words().to_owned())),
            };
        }
        Fate::Stay
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let mut inside = pen.dialog(68, 12, &format!("Test of {}", self.name), "Esc: close");
        match &self.result {
            None => {
                inside.text(1, 1, "testing …", Role::Text);
            }
            Some(Err(why)) => {
                inside.text(1, 1, why, Role::Bad);
            }
            Some(Ok(view)) => {
                for (y, step) in view.steps.iter().enumerate() {
                    inside.text(1, y + 1, &format!("{:<6} {:<10} {}", step.state, step.name, step.detail), Role::Text);
                }
            }
        }
    }
}
