//! The user's own settings, `tui.toml`, and what is remembered from one time to the next.
//!
//! It reads what it is told to and decides nothing about keys, which is the keymap's part. All problems
//! of a file are told at once, and a file with problems changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ratatui::style::Color;
use serde::{Deserialize, Serialize};

use super::keymap::Keymap;
use super::message::Remembered;
use super::text::Glyphs;
use super::theme::{Base, ROLES, Theme};

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    theme: Option<String>,
    ascii: Option<bool>,
    mouse: Option<bool>,
    utc: Option<bool>,
    synchronized: Option<bool>,
    #[serde(default)]
    colors: BTreeMap<String, String>,
    #[serde(default)]
    keys: BTreeMap<String, BTreeMap<String, String>>,
}

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How things look.
    pub theme: Theme,
    /// Characters to draw with.
    pub glyphs: Glyphs,
    /// What keys do.
    pub keymap: Keymap,
    /// The mouse is on from the start.
    pub mouse: bool,
    /// Times are in UTC; else in the local zone.
    pub utc: bool,
    /// The terminal is told where frames begin and end.
    pub synchronized: bool,
    /// No colour, whatever is chosen.
    pub mono_only: bool,
}

/// What is known of the terminal, from the environment only: it is never asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `$TERM`
    pub term: String,
    /// `$COLORTERM`
    pub colorterm: String,
    /// `$COLORFGBG`
    pub colorfgbg: String,
    /// `$NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// The locale's characters are UTF-8.
    pub utf8: bool,
}

impl Surroundings {
    /// Terminals that know no colours, or not the way they are written.
    fn is_plain(&self) -> bool {
        ["vt", "dumb", "ansi", "cons25"].iter().any(|plain| self.term.starts_with(plain))
    }

    fn theme(&self) -> Base {
        if self.no_color || self.is_plain() { Base::Mono } else { Base::Ansi16 }
    }
}

impl Settings {
    /// What a terminal gets by itself.
    #[must_use]
    pub fn of(surroundings: &Surroundings) -> Self {
        let linux = surroundings.term == "linux";
        Self {
            theme: Theme { base: surroundings.theme(), own: BTreeMap::new() },
            glyphs: if surroundings.utf8 && !linux { Glyphs::UNICODE } else { Glyphs::ASCII },
            keymap: Keymap::default(),
            mouse: false,
            utc: true,
            synchronized: !linux && !surroundings.is_plain(),
            mono_only: surroundings.no_color,
        }
    }

    /// Takes over a text of `tui.toml`.
    ///
    /// # Errors
    /// Every problem of it; then nothing is taken over.
    pub fn apply(&mut self, text: &str) -> Result<(), Vec<String>> {
        let raw: Raw = toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])?;
        let mut problems = Vec::new();
        let mut new = self.clone();
        if let Some(name) = &raw.theme {
            match Base::parse(name) {
                Some(base) => new.theme.base = base,
                None => problems.push(format!("theme: there is no {name:?}; mono, ansi16, dark or light")),
            }
        }
        for (role, colour) in &raw.colors {
            match (ROLES.iter().find(|(name, _)| name == role), colour.parse::<Color>()) {
                (Some((_, role)), Ok(colour)) => drop(new.theme.own.insert(*role, colour)),
                (None, _) => problems.push(format!("colors.{role}: there is no such role")),
                (_, Err(_)) => problems.push(format!("colors.{role}: {colour:?} is no colour: red, 208 or #ff8700")),
            }
        }
        for (context, keys) in &raw.keys {
            for (key, action) in keys {
                if let Err(why) = new.keymap.set(context, key, action) {
                    problems.push(format!("keys.{context}.{key}: {why}"));
                }
            }
        }
        if new.mono_only {
            new.theme.base = Base::Mono;
        }
        if raw.ascii == Some(true) {
            new.glyphs = Glyphs::ASCII;
        }
        new.mouse = raw.mouse.unwrap_or(new.mouse);
        new.utc = raw.utc.unwrap_or(new.utc);
        new.synchronized = raw.synchronized.unwrap_or(new.synchronized);
        if problems.is_empty() {
            *self = new;
            return Ok(());
        }
        Err(problems)
    }
}

/// Reads the first of these files that is there.
///
/// # Errors
/// Its name and its problems.
pub fn read(settings: &mut Settings, files: &[PathBuf]) -> Result<(), (PathBuf, Vec<String>)> {
    for file in files {
        match fs::read_to_string(file) {
            Ok(text) => return settings.apply(&text).map_err(|problems| (file.clone(), problems)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((file.clone(), vec![error.to_string()])),
        }
    }
    Ok(())
}

/// What is remembered, as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    #[serde(default)]
    webhooks_sort: Option<(String, bool)>,
    #[serde(default)]
    wide: bool,
}

/// What was remembered; nothing if that can not be read.
#[must_use]
pub fn remembered(file: &Path) -> Remembered {
    let text = fs::read_to_string(file).unwrap_or_default();
    let State { webhooks_sort, wide } = serde_json::from_str(&text).unwrap_or_default();
    Remembered { webhooks_sort, wide }
}

/// Remembers. The file is written beside and moved: it is whole, or as it was.
///
/// # Errors
/// If it can not be written.
pub fn remember(file: &Path, what: &Remembered) -> io::Result<()> {
    let state = State { webhooks_sort: what.webhooks_sort.clone(), wide: what.wide };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = file.with_extension(format!("json.{}", std::process::id()));
    let mut new = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(&serde_json::to_vec(&state)?)?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keymap::{Action, Context};
    use crate::tui::keys::Key;

    fn terminal(term: &str) -> Surroundings {
        Surroundings { term: term.to_owned(), utf8: true, ..Surroundings::default() }
    }

    #[test]
    fn a_terminal_gets_what_it_can_show() {
        let modern = Settings::of(&terminal("xterm-256color"));
        assert_eq!((modern.theme.base, modern.glyphs, modern.synchronized), (Base::Ansi16, Glyphs::UNICODE, true));
        let console = Settings::of(&terminal("linux"));
        assert_eq!((console.glyphs, console.synchronized), (Glyphs::ASCII, false));
        for plain in ["vt100", "vt220", "ansi", "cons25"] {
            assert_eq!(Settings::of(&terminal(plain)).theme.base, Base::Mono);
        }
        let mut mono = Settings::of(&Surroundings { no_color: true, ..terminal("xterm") });
        mono.apply("theme = \"dark\"").unwrap();
        assert_eq!(mono.theme.base, Base::Mono, "NO_COLOR wins");
    }

    #[test]
    fn a_file_is_taken_over_as_a_whole_or_not_at_all() {
        let mut settings = Settings::of(&terminal("xterm"));
        let text = "theme = \"dark\"\nascii = true\n[colors]\nbad = \"#ff0000\"\n[keys.deliveries]\nz = \"resend\"\n";
        settings.apply(text).unwrap();
        assert_eq!(settings.keymap.action(Context::Deliveries, Key::char('z')), Some(Action::Resend));
        assert_eq!((settings.theme.base, settings.glyphs), (Base::Dark, Glyphs::ASCII));
        let bad = "theme = \"pink\"\n[colors]\nnone = \"red\"\n[keys.events]\nz = \"resend\"\nx = \"none\"\n";
        let problems = settings.apply(bad).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(settings.theme.base, Base::Dark);
        assert!(settings.apply("them = 1").unwrap_err()[0].contains("them"));
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/tui.json");
        assert_eq!(remembered(&file), Remembered::default());
        let what = Remembered { webhooks_sort: Some(("WAIT".to_owned(), true)), wide: true };
        remember(&file, &what).unwrap();
        assert_eq!(remembered(&file), what);
        fs::write(&file, "{").unwrap();
        assert_eq!(remembered(&file), Remembered::default());
    }
}
