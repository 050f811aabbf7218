//! One key as the user presses it, and as it is written in `tui.toml`, in hints and in help.
//!
//! It knows no actions: what a key does is in `keymap`. Only what every terminal can send is here;
//! combinations that terminals swallow or confuse have no name, so that nothing can be bound to them.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What was pressed, without its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A character, as typed: `R` is not `r`.
    Char(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// Insert.
    Insert,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// A function key.
    F(u8),
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// What was pressed.
    pub code: Code,
    /// With Ctrl.
    pub ctrl: bool,
    /// With Alt.
    pub alt: bool,
}

impl Key {
    /// A key without modifiers.
    #[must_use]
    pub const fn plain(code: Code) -> Self {
        Self { code, ctrl: false, alt: false }
    }

    /// A character without modifiers.
    #[must_use]
    pub const fn char(character: char) -> Self {
        Self::plain(Code::Char(character))
    }

    /// A letter with Ctrl.
    #[must_use]
    pub const fn ctrl(letter: char) -> Self {
        Self { code: Code::Char(letter), ctrl: true, alt: false }
    }

    /// What the terminal reported; `None` for what is no key press, or none that has a name.
    #[must_use]
    pub fn from_event(event: &KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
        let alt = event.modifiers.contains(KeyModifiers::ALT);
        let code = match event.code {
            // With Ctrl, terminals do not tell capital letters.
            KeyCode::Char(character) if ctrl => Code::Char(character.to_ascii_lowercase()),
            KeyCode::Char(character) => Code::Char(character),
            KeyCode::Enter => Code::Enter,
            KeyCode::Esc => Code::Esc,
            KeyCode::Tab => Code::Tab,
            KeyCode::BackTab => Code::BackTab,
            KeyCode::Backspace => Code::Backspace,
            KeyCode::Delete => Code::Delete,
            KeyCode::Insert => Code::Insert,
            KeyCode::Up => Code::Up,
            KeyCode::Down => Code::Down,
            KeyCode::Left => Code::Left,
            KeyCode::Right => Code::Right,
            KeyCode::Home => Code::Home,
            KeyCode::End => Code::End,
            KeyCode::PageUp => Code::PageUp,
            KeyCode::PageDown => Code::PageDown,
            KeyCode::F(number) => Code::F(number),
            _ => return None,
        };
        Some(Self { code, ctrl, alt })
    }

    /// The character that it types into a field; `None` for keys that type nothing.
    #[must_use]
    pub fn typed(self) -> Option<char> {
        match self {
            Self { code: Code::Char(character), ctrl: false, alt: false } => Some(character),
            _ => None,
        }
    }

    /// A key from its name: `r`, `R`, `^S`, `Space`, `Enter`, `PgDn`, `F1`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(letter) = name.strip_prefix('^').or_else(|| name.strip_prefix("ctrl-")) {
            let mut letters = letter.chars();
            return match (letters.next(), letters.next()) {
                (Some(letter), None) if letter.is_ascii_alphabetic() || letter == '_' => {
                    Some(Self::ctrl(letter.to_ascii_lowercase()))
                }
                _ => None,
            };
        }
        if let Some((code, _)) = NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
            return Some(Self::plain(*code));
        }
        if let Some(number) = name.strip_prefix('F').and_then(|number| number.parse::<u8>().ok()) {
            return (1..=12).contains(&number).then_some(Self::plain(Code::F(number)));
        }
        let mut characters = name.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) if !character.is_control() && character != ' ' => Some(Self::char(character)),
            _ => None,
        }
    }
}

const NAMES: [(Code, &str); 16] = [
    (Code::Char(' '), "Space"),
    (Code::Enter, "Enter"),
    (Code::Esc, "Esc"),
    (Code::Tab, "Tab"),
    (Code::BackTab, "S-Tab"),
    (Code::Backspace, "Backspace"),
    (Code::Delete, "Del"),
    (Code::Insert, "Ins"),
    (Code::Up, "Up"),
    (Code::Down, "Down"),
    (Code::Left, "Left"),
    (Code::Right, "Right"),
    (Code::Home, "Home"),
    (Code::End, "End"),
    (Code::PageUp, "PgUp"),
    (Code::PageDown, "PgDn"),
];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.alt {
            f.write_str("Alt-")?;
        }
        match self.code {
            Code::Char(letter) if self.ctrl => write!(f, "^{}", letter.to_ascii_uppercase()),
            Code::F(number) => write!(f, "F{number}"),
            code => match NAMES.iter().find(|(known, _)| *known == code) {
                Some((_, name)) => f.write_str(name),
                None => match code {
                    Code::Char(character) => write!(f, "{character}"),
                    _ => Ok(()),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for name in ["r", "R", "^S", "^_", "Space", "Enter", "S-Tab", "PgUp", "PgDn", "F1", "/", ":", "?", "+"] {
            assert_eq!(Key::parse(name).map(|key| key.to_string()).as_deref(), Some(name));
        }
        for name in ["", "^", "^12", "F13", "ab", " ", "\u{1b}"] {
            assert_eq!(Key::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn capitals_with_ctrl_are_the_same_key() {
        let event = KeyEvent::new(KeyCode::Char('S'), KeyModifiers::CONTROL | KeyModifiers::SHIFT);
        assert_eq!(Key::from_event(&event), Some(Key::ctrl('s')));
        assert_eq!(Key::ctrl('s').typed(), None);
    }
}
