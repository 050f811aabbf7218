//! A list that is in memory as a whole: which row is chosen, and which are on screen.
//!
//! Rows are told apart by a key and not by their place, so that a list that is sorted anew or grows
//! keeps the chosen row. It holds no rows itself.

use super::keymap::Action;

/// Where one is in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Key of the chosen row.
    pub selected: Option<String>,
    /// Place of the first row on screen.
    pub top: usize,
    /// Rows that fit on the screen.
    pub height: usize,
}

impl Listing {
    /// The place of the chosen row among these keys.
    #[must_use]
    pub fn place(&self, keys: &[&str]) -> Option<usize> {
        let selected = self.selected.as_deref()?;
        keys.iter().position(|key| *key == selected)
    }

    /// Moves by so many rows; down is positive.
    pub fn by(&mut self, rows: isize, keys: &[&str]) {
        let from = self.place(keys).unwrap_or(0);
        self.to(from.saturating_add_signed(rows), keys);
    }

    /// Moves to a place, or to the last row.
    pub fn to(&mut self, place: usize, keys: &[&str]) {
        self.selected = keys.get(place.min(keys.len().saturating_sub(1))).map(|key| (*key).to_owned());
        self.settle(keys);
    }

    /// Moves as an action says. `false` when the action moves nothing.
    pub fn act(&mut self, action: Action, keys: &[&str]) -> bool {
        let page = isize::try_from(self.height.max(1)).unwrap_or(isize::MAX);
        match action {
            Action::Up => self.by(-1, keys),
            Action::Down => self.by(1, keys),
            Action::HalfUp => self.by(-(page / 2).max(1), keys),
            Action::HalfDown => self.by((page / 2).max(1), keys),
            Action::PageUp => self.by(-page, keys),
            Action::PageDown => self.by(page, keys),
            Action::Top => self.to(0, keys),
            Action::Bottom => self.to(usize::MAX, keys),
            _ => return false,
        }
        true
    }

    /// Brings the chosen row onto the screen. A row that is gone gives way to the one now at its place.
    pub fn settle(&mut self, keys: &[&str]) {
        let place = match self.place(keys) {
            Some(place) => place,
            None => {
                let place = self.top.min(keys.len().saturating_sub(1));
                self.selected = keys.get(place).map(|key| (*key).to_owned());
                place
            }
        };
        let height = self.height.max(1);
        self.top = self.top.clamp(place.saturating_sub(height - 1), place).min(keys.len().saturating_sub(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_row_stays_chosen_when_others_come_and_go() {
        let mut list = Listing { height: 2, ..Listing::default() };
        list.settle(&["a", "b", "c"]);
        list.by(2, &["a", "b", "c"]);
        assert_eq!((list.selected.as_deref(), list.top), (Some("c"), 1));
        list.settle(&["c", "x", "y"]);
        assert_eq!((list.selected.as_deref(), list.top), (Some("c"), 0));
        list.settle(&["x", "y"]);
        assert_eq!(list.selected.as_deref(), Some("x"));
        list.by(-5, &["x", "y"]);
        list.by(50, &["x", "y"]);
        assert_eq!(list.selected.as_deref(), Some("y"));
        list.settle(&[]);
        assert_eq!((list.selected.as_deref(), list.top), (None, 0));
    }
}
