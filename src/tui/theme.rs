//! How things look: roles, and the four built-in themes that give each role a style.
//!
//! Colour only repeats what words already say, so that `mono` is as good as any. Selection is
//! reverse video in every theme, and no theme paints a background: the terminal's own colours stay
//! readable whatever they are. Which theme is taken is decided in `settings`.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Ordinary text.
    #[default]
    Text,
    /// Less important.
    Dim,
    /// Headings of sections and columns.
    Heading,
    /// The name of the program and where one is.
    Title,
    /// The row or button that is chosen.
    Selected,
    /// A key in a hint.
    Key,
    /// A match of what was searched for.
    Match,
    /// 2xx, delivered, on.
    Good,
    /// 3xx.
    Redirection,
    /// 4xx, and warnings.
    Warning,
    /// 5xx, failed.
    Bad,
    /// No response.
    NoResponse,
    /// Something that waits or is under way.
    Waiting,
    /// A name in JSON.
    JsonName,
    /// A text in JSON.
    JsonText,
    /// A number, `true`, `false` or `null` in JSON.
    JsonValue,
}

/// The roles that `tui.toml` may give a colour, by name.
pub const ROLES: [(&str, Role); 13] = [
    ("dim", Role::Dim),
    ("heading", Role::Heading),
    ("title", Role::Title),
    ("key", Role::Key),
    ("match", Role::Match),
    ("good", Role::Good),
    ("redirection", Role::Redirection),
    ("warning", Role::Warning),
    ("bad", Role::Bad),
    ("no_response", Role::NoResponse),
    ("waiting", Role::Waiting),
    ("json_name", Role::JsonName),
    ("json_text", Role::JsonText),
];

/// A built-in theme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// No colour at all.
    Mono,
    /// The terminal's own sixteen colours.
    #[default]
    Ansi16,
    /// 256 colours for a dark background, blue and orange instead of green and red.
    Dark,
    /// The same for a light background.
    Light,
}

impl Base {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mono, Self::Ansi16, Self::Dark, Self::Light];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mono => "mono",
            Self::Ansi16 => "ansi16",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    /// The theme with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|base| base.as_str() == name)
    }

    const fn colour(self, role: Role) -> Option<Color> {
        use Color::{Blue, Cyan, Green, Indexed, Magenta, Red, Yellow};
        let (ansi, dark, light) = match role {
            Role::Text | Role::Dim | Role::Heading | Role::Selected | Role::Match | Role::JsonValue => return None,
            Role::Title => (Cyan, Indexed(81), Indexed(25)),
            Role::Key => (Cyan, Indexed(117), Indexed(25)),
            Role::Good => (Green, Indexed(75), Indexed(26)),
            Role::Redirection => (Cyan, Indexed(80), Indexed(30)),
            Role::Warning => (Yellow, Indexed(221), Indexed(136)),
            Role::Bad => (Red, Indexed(208), Indexed(166)),
            Role::NoResponse => (Magenta, Indexed(213), Indexed(127)),
            Role::Waiting => (Yellow, Indexed(222), Indexed(94)),
            Role::JsonName => (Blue, Indexed(111), Indexed(25)),
            Role::JsonText => (Green, Indexed(152), Indexed(23)),
        };
        match self {
            Self::Mono => None,
            Self::Ansi16 => Some(ansi),
            Self::Dark => Some(dark),
            Self::Light => Some(light),
        }
    }
}

/// A theme with the user's own colours over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// What it is built on.
    pub base: Base,
    /// Colours of the user's own; without effect in `mono`.
    pub own: BTreeMap<Role, Color>,
}

impl Theme {
    /// The style of a role.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        let modifier = match role {
            Role::Selected => Modifier::REVERSED,
            Role::Heading | Role::Title | Role::Key | Role::Bad | Role::NoResponse => Modifier::BOLD,
            Role::Match => Modifier::UNDERLINED.union(Modifier::BOLD),
            Role::Dim => Modifier::DIM,
            // Without colour, what is wrong has to stand out all the same.
            Role::Warning if self.base == Base::Mono => Modifier::BOLD,
            _ => Modifier::empty(),
        };
        let mut style = Style::new().add_modifier(modifier);
        let own = self.own.get(&role).copied().filter(|_| self.base != Base::Mono);
        if let Some(colour) = own.or(self.base.colour(role)) {
            style = style.fg(colour);
        }
        style
    }

    /// The style of a role within the chosen row: its own colours are given up, so that nothing is
    /// drawn in an unreadable pair.
    #[must_use]
    pub fn selected(&self, role: Role) -> Style {
        let keeps = self.style(role).add_modifier & Modifier::BOLD;
        Style::new().add_modifier(Modifier::REVERSED | keeps)
    }
}

/// The role of a class of response: `0`, `2xx`, ….
#[must_use]
pub fn of_class(class: &str) -> Role {
    match class {
        "0" => Role::NoResponse,
        "2xx" => Role::Good,
        "3xx" => Role::Redirection,
        "4xx" => Role::Warning,
        "5xx" => Role::Bad,
        _ => Role::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_has_no_colour_and_selection_is_reversed_everywhere() {
        for (_, role) in ROLES {
            let own = BTreeMap::from([(role, Color::Red)]);
            assert_eq!(Theme { base: Base::Mono, own }.style(role).fg, None);
        }
        for base in Base::ALL {
            let theme = Theme { base, own: BTreeMap::new() };
            assert!(theme.style(Role::Selected).add_modifier.contains(Modifier::REVERSED));
            assert_eq!(theme.selected(Role::Bad).fg, None);
            for (_, role) in ROLES {
                assert_eq!(theme.style(role).bg, None, "no theme paints a background");
            }
        }
    }

    #[test]
    fn dark_and_light_do_not_set_red_against_green() {
        for base in [Base::Dark, Base::Light] {
            for (_, role) in ROLES {
                assert!(!matches!(base.colour(role), Some(Color::Red | Color::Green)));
            }
        }
    }
}
