//! Parts of the form that come in any number, or whose value is not shown: headers, conditions, secrets.
//!
//! They know how they are typed and how they are sent, and check nothing.

use serde_json::{Value, json};
use tui_input::Input;

use crate::admin::protocol::{ConditionView, HeaderView, SecretView};

/// A secret: kept as the daemon has it, typed anew, or to be cleared.
#[derive(Clone, Default)]
pub(super) struct SecretText {
    /// The daemon has one.
    pub(super) set: bool,
    /// Since when.
    pub(super) since: Option<String>,
    /// It is to go.
    pub(super) cleared: bool,
    /// What was typed; empty while it is kept.
    pub(super) input: Input,
}

impl SecretText {
    pub(super) fn of(view: &SecretView) -> Self {
        Self { set: view.set, since: view.changed_at.clone(), ..Self::default() }
    }

    /// What was typed.
    pub(super) fn typed(&self) -> Option<&str> {
        Some(self.input.value()).filter(|typed| !typed.is_empty())
    }

    /// Whether there will be one.
    pub(super) fn is_there(&self) -> bool {
        self.typed().is_some() || (self.set && !self.cleared)
    }

    /// Puts a text in its place.
    pub(super) fn replace(&mut self, text: String) {
        self.cleared = self.cleared && text.is_empty();
        self.input = Input::new(text);
    }

    /// What is sent: nothing for one that is kept, `null` for one that goes.
    pub(super) fn sent(&self) -> Option<Value> {
        match self.typed() {
            Some(typed) => Some(typed.into()),
            None => (self.set && self.cleared).then_some(Value::Null),
        }
    }
}

/// A header while it is typed.
#[derive(Clone, Default)]
pub(super) struct HeaderDraft {
    pub(super) name: Input,
    /// What was typed; empty for a secret one that is kept.
    pub(super) value: Input,
    pub(super) secret: bool,
    /// Whether it is secret was decided by hand, and no longer follows from the name.
    pub(super) by_hand: bool,
    /// The daemon has a secret value of it, under this name.
    pub(super) kept_as: Option<String>,
    /// How many headers of this name the daemon has before it.
    pub(super) same_before: usize,
    /// Its place among the headers that were there.
    pub(super) origin: Option<usize>,
}

impl HeaderDraft {
    pub(super) fn of(at: usize, all: &[HeaderView]) -> Self {
        let view = &all[at];
        Self {
            name: Input::new(view.name.clone()),
            value: Input::new(view.value.clone().unwrap_or_default()),
            secret: view.secret,
            by_hand: true,
            kept_as: view.secret.then(|| view.name.clone()),
            same_before: all[..at].iter().filter(|other| other.name.eq_ignore_ascii_case(&view.name)).count(),
            origin: Some(at),
        }
    }

    /// The daemon's value stays.
    pub(super) fn is_kept(&self) -> bool {
        self.secret && self.kept_as.is_some() && self.value.value().is_empty()
    }

    pub(super) fn sent(&self) -> Value {
        let name = self.name.value();
        match (self.secret, self.is_kept()) {
            (_, true) => json!({"name": name, "secret": true}),
            (true, false) => json!({"name": name, "secret": true, "value": self.value.value()}),
            (false, false) => json!({"name": name, "value": self.value.value()}),
        }
    }
}

/// What a condition asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TestKind {
    #[default]
    Equals,
    In,
    Exists,
    Absent,
}

impl TestKind {
    pub(super) const ALL: [Self; 4] = [Self::Equals, Self::In, Self::Exists, Self::Absent];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Equals => "equals",
            Self::In => "in",
            Self::Exists => "exists",
            Self::Absent => "absent",
        }
    }

    /// Whether there is a value to compare with.
    pub(super) const fn takes_value(self) -> bool {
        matches!(self, Self::Equals | Self::In)
    }
}

/// A condition while it is typed.
#[derive(Clone, Default)]
pub(super) struct ConditionDraft {
    pub(super) path: Input,
    pub(super) test: TestKind,
    pub(super) value: Input,
}

impl ConditionDraft {
    pub(super) fn of(view: &ConditionView) -> Self {
        let (test, value) = match (&view.equals, &view.one_of, view.exists) {
            (Some(value), ..) => (TestKind::Equals, value.to_string()),
            (None, Some(values), _) => (TestKind::In, Value::from(values.clone()).to_string()),
            (None, None, Some(false)) => (TestKind::Absent, String::new()),
            (None, None, _) => (TestKind::Exists, String::new()),
        };
        Self { path: Input::new(view.path.clone()), test, value: Input::new(value) }
    }

    /// The value to compare with.
    pub(super) fn parsed(&self) -> Result<Value, String> {
        let text = self.value.value().trim();
        let value: Value = serde_json::from_str(text).map_err(|_| match text {
            "" => "is missing: JSON such as true, 5 or \"APPROVED\"".to_owned(),
            text if text.starts_with(['[', '{', '"']) => "is not JSON".to_owned(),
            text => format!("is not JSON; a text stands in quotes: {}", Value::from(text)),
        })?;
        match (self.test, &value) {
            (TestKind::In, Value::Array(_)) | (TestKind::Equals, _) => Ok(value),
            _ => Err("must be a list such as [\"APPROVED\", \"DENIED\"]".to_owned()),
        }
    }

    pub(super) fn sent(&self) -> Value {
        let path = self.path.value().trim();
        let value = self.parsed().unwrap_or(Value::Null);
        match self.test {
            TestKind::Equals => json!({"path": path, "equals": value}),
            TestKind::In => json!({"path": path, "in": value}),
            TestKind::Exists => json!({"path": path, "exists": true}),
            TestKind::Absent => json!({"path": path, "exists": false}),
        }
    }
}
