//! A UI without a terminal: a model that is driven by keys and answers. Nothing here is a terminal: screens are buffers, and time stands still until it is moved.

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::domain::time::Timestamp;
use crate::tui::keys::Key;
use crate::tui::message::{Answered, Ask, Effect, Effects, Got, Message, Trouble};
use crate::tui::model::{Link, Model};
use crate::tui::tests::fixtures::{changes, fixture};
use crate::tui::text::instant;
use crate::tui::theme::{Base, Theme};
use crate::tui::update::update;
use crate::tui::view::view;

/// The time at which everything in these tests happens.
pub(crate) const NOW: &str = "2026-11-02T14:32:07Z";

/// The sizes that are designed.
pub(crate) const SIZES: [(u16, u16); 3] = [(60, 12), (80, 24), (120, 40)];

/// A UI without a terminal.
pub(crate) struct Bench {
    pub(crate) model: Model,
    /// What was wanted outside and not yet taken.
    pub(crate) effects: Vec<Effect>,
}

impl Bench {
    /// Connected, with the fixtures below answered.
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let mut bench = Self::bare(columns, rows);
        bench.send(Message::Changes(Ok(changes(1))));
        bench.answer_all();
        bench
    }

    /// Not connected yet.
    pub(crate) fn bare(columns: u16, rows: u16) -> Self {
        let mut model = Model::new(instant(NOW).unwrap(), (columns, rows));
        model.host = "web01".to_owned();
        model.theme = Theme { base: Base::Mono, own: BTreeMap::new() };
        Self { model, effects: Vec::new() }
    }

    pub(crate) fn send(&mut self, message: Message) {
        let now = self.model.now;
        self.send_at(message, now);
    }

    pub(crate) fn send_at(&mut self, message: Message, now: Timestamp) {
        let Effects(effects) = update(&mut self.model, message, now);
        self.effects.extend(effects);
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, by: Duration) {
        let now = self.model.now.plus(by);
        self.send_at(Message::Tick, now);
    }

    /// Presses keys by their names, with blanks between: `j j Enter`. `Space` is the space bar.
    pub(crate) fn press(&mut self, keys: &str) -> &mut Self {
        for name in keys.split(' ') {
            let key = Key::parse(name).unwrap_or_else(|| panic!("{name} is no key"));
            self.send(Message::Key(key));
        }
        self
    }

    /// Types a text, character by character.
    pub(crate) fn type_text(&mut self, text: &str) -> &mut Self {
        text.chars().for_each(|character| self.send(Message::Key(Key::char(character))));
        self
    }

    /// What was asked and not answered yet.
    pub(crate) fn asks(&mut self) -> Vec<Ask> {
        let (asks, rest) = std::mem::take(&mut self.effects).into_iter().partition(|one| matches!(one, Effect::Ask(_)));
        self.effects = rest;
        let ask = |effect| match effect {
            Effect::Ask(ask) => Some(ask),
            _ => None,
        };
        Vec::into_iter(asks).filter_map(ask).collect()
    }

    /// Answers everything that is asked from the fixtures, until nothing is.
    pub(crate) fn answer_all(&mut self) -> &mut Self {
        for _ in 0..20 {
            let asks = self.asks();
            if asks.is_empty() {
                break;
            }
            for ask in asks {
                if let Some(got) = fixture(&ask) {
                    self.answer(ask, Ok(got));
                }
            }
        }
        self
    }

    pub(crate) fn answer(&mut self, ask: Ask, got: Result<Got, Trouble>) {
        self.send(Message::Answered(Box::new(Answered { ask, got })));
    }

    /// The daemon goes away.
    pub(crate) fn lose(&mut self) -> &mut Self {
        self.send(Message::Changes(Err(Trouble::Unreachable("the daemon cannot be reached".to_owned()))));
        assert!(matches!(self.model.link, Link::Lost(..)));
        self
    }

    pub(crate) fn buffer(&self) -> Buffer {
        let (columns, rows) = self.model.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
        view(&self.model, &mut buffer);
        buffer
    }

    /// What is on the screen, a line a row; chosen parts in mono are told by `>`.
    pub(crate) fn screen(&self) -> String {
        lines(&self.buffer())
    }
}

pub(crate) fn lines(buffer: &Buffer) -> String {
    let area = buffer.area;
    let row = |y: u16| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..area.height).map(row).collect::<Vec<_>>().join("\n")
}

/// Every stretch with a style of its own: row, columns, foreground, modifiers, text.
pub(crate) fn styles(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut told = String::new();
    for y in 0..area.height {
        let mut x = 0;
        while x < area.width {
            let style = (buffer[(x, y)].fg, buffer[(x, y)].modifier);
            let start = x;
            let mut text = String::new();
            while x < area.width && (buffer[(x, y)].fg, buffer[(x, y)].modifier) == style {
                text.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            if style != (ratatui::style::Color::Reset, Modifier::empty()) && !text.trim().is_empty() {
                told.push_str(&format!(
                    "{y:>2} {start:>3}-{:<3} {:?} {:?} {:?}\n",
                    x - 1,
                    style.0,
                    style.1,
                    text.trim_end()
                ));
            }
        }
    }
    told
}
