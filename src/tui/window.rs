//! The part of an endless list that is in memory: the rows on screen and two pages each way.
//!
//! It asks for nothing itself: [`Window::wanted`] says which part is missing, and `shell` gets it. It
//! knows rows only by their ids, which fall along the list: newest first. Invariants: the rows are a
//! stretch of the list without gaps; the chosen row is one of them, by id and not by place; while the
//! list is held, nothing that arrives moves what is being read.

use super::keymap::Action;
use super::message::Part;
use crate::admin::client::Walk;
use crate::admin::protocol::{DeliveryView, EventView, PageView};

/// A row that can be told from others, and ordered.
pub trait Row {
    /// Its id; a newer row has a greater one.
    fn id(&self) -> &str;
}

impl Row for DeliveryView {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Row for EventView {
    fn id(&self) -> &str {
        &self.id
    }
}

/// At most so many newer rows are counted.
pub const COUNT_MAX: usize = 200;
/// Pages kept on either side of the screen.
const KEPT: usize = 2;

/// A stretch of a list.
#[derive(Clone, Debug)]
pub struct Window<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Id of the chosen row.
    pub selected: Option<String>,
    /// Place of the first row on screen.
    pub top: usize,
    /// Rows that fit on the screen.
    pub height: usize,
    /// Nothing newer was in the list when it was held, or last looked at.
    pub at_newest: bool,
    /// Nothing older is in the list.
    pub at_oldest: bool,
    /// The list follows what arrives.
    pub live: bool,
    /// Rows that arrived since the list was held.
    pub newer: usize,
    /// Which list this is: rises with every other filter.
    pub ticket: u64,
    /// Nothing has come yet.
    pub loading: bool,
    /// Why nothing came the last time.
    pub trouble: Option<String>,
    asked: Option<Part>,
    /// Where a search that takes several pages goes on, in each direction.
    older_cursor: Option<String>,
    newer_cursor: Option<String>,
    /// The far end is wanted.
    jump: bool,
    /// What is older than this id is wanted, whatever there was.
    start: Option<String>,
    /// What is on screen may no longer be what is.
    stale: bool,
    /// There may be newer ones.
    uncounted: bool,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            selected: None,
            top: 0,
            height: 20,
            at_newest: false,
            at_oldest: false,
            live: true,
            newer: 0,
            ticket: 0,
            loading: true,
            trouble: None,
            asked: None,
            older_cursor: None,
            newer_cursor: None,
            jump: false,
            start: None,
            stale: false,
            uncounted: false,
        }
    }
}

/// Which way to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// By so many rows; down is positive.
    By(isize),
    /// To the newest, and follow it.
    Newest,
    /// To the oldest.
    Oldest,
}

impl<T: Row> Window<T> {
    /// Another list: what was there is forgotten, and answers that are still under way do not count.
    pub fn restart(&mut self) {
        *self = Self { ticket: self.ticket + 1, height: self.height, ..Self::default() };
    }

    /// The place of the chosen row.
    #[must_use]
    pub fn place(&self) -> Option<usize> {
        let selected = self.selected.as_deref()?;
        self.rows.iter().position(|row| row.id() == selected)
    }

    /// The chosen row.
    #[must_use]
    pub fn chosen(&self) -> Option<&T> {
        self.rows.get(self.place()?)
    }

    /// What is on screen.
    #[must_use]
    pub fn visible(&self) -> &[T] {
        let top = self.top.min(self.rows.len());
        &self.rows[top..self.rows.len().min(top + self.height)]
    }

    /// Something in the list changed.
    pub fn touch(&mut self) {
        self.stale = true;
        // More than that many are not counted anyway.
        self.uncounted = !self.live && self.newer < COUNT_MAX;
    }

    /// The screen has another size.
    pub fn resize(&mut self, height: usize) {
        if self.height != height {
            self.height = height;
            self.settle();
        }
    }

    /// Moves the chosen row. Moving away from the newest holds the list.
    pub fn go(&mut self, to: Move) {
        match to {
            Move::Newest => return self.go_live(),
            Move::Oldest if self.at_oldest => self.choose(self.rows.len().saturating_sub(1)),
            Move::Oldest => {
                self.ask_anew();
                self.jump = true;
                self.live = false;
            }
            Move::By(rows) => {
                let from = self.place().unwrap_or(self.top);
                if from == 0 && rows < 0 && self.newer > 0 {
                    // What arrived meanwhile is what lies above.
                    self.at_newest = false;
                }
                self.choose(from.saturating_add_signed(rows).min(self.rows.len().saturating_sub(1)));
            }
        }
        if self.place().is_some_and(|place| place > 0) {
            self.live = false;
        }
        self.settle();
    }

    /// Does what every list can do. `false` when the action is none of that.
    pub fn act(&mut self, action: Action) -> bool {
        let page = isize::try_from(self.height.max(1)).unwrap_or(isize::MAX);
        match action {
            Action::Up | Action::PreviousMatch => self.go(Move::By(-1)),
            Action::Down | Action::NextMatch => self.go(Move::By(1)),
            Action::HalfUp => self.go(Move::By(-(page / 2).max(1))),
            Action::HalfDown => self.go(Move::By((page / 2).max(1))),
            Action::PageUp => self.go(Move::By(-page)),
            Action::PageDown => self.go(Move::By(page)),
            Action::Top => self.go(Move::Newest),
            Action::Bottom => self.go(Move::Oldest),
            Action::Live => self.toggle_live(),
            _ => return false,
        }
        true
    }

    /// What is said in the place of rows when there are none; `none` is for a list that is not narrowed.
    #[must_use]
    pub fn instead(&self, narrowed: bool, none: &str) -> Option<String> {
        if !self.rows.is_empty() {
            return None;
        }
        let waits = self.loading || !self.at_oldest;
        Some(match (&self.trouble, waits, narrowed) {
            (Some(why), ..) => why.clone(),
            (None, true, _) => "looking …".to_owned(),
            (None, false, true) => "nothing matches; Esc clears the filter".to_owned(),
            (None, false, false) => none.to_owned(),
        })
    }

    /// Goes to the newest row that is older than an id, which need not be that of a row; the list is
    /// held there and can be walked in both directions.
    pub fn jump_to(&mut self, id: String) {
        self.ask_anew();
        self.live = false;
        self.start = Some(id);
    }

    /// Follows the newest.
    pub fn go_live(&mut self) {
        self.ask_anew();
        self.live = true;
        self.newer = 0;
        self.top = 0;
        self.choose(0);
        self.stale = true;
    }

    /// Holds the list, or lets it follow the newest.
    pub fn toggle_live(&mut self) {
        if self.live { self.live = false } else { self.go_live() }
    }

    /// Answers that are under way no longer count.
    fn ask_anew(&mut self) {
        self.ticket += 1;
        self.asked = None;
        self.jump = false;
        self.start = None;
        self.older_cursor = None;
        self.newer_cursor = None;
    }

    fn choose(&mut self, place: usize) {
        self.selected = self.rows.get(place).map(|row| row.id().to_owned());
    }

    /// Brings the chosen row onto the screen, and chooses one if there is none.
    fn settle(&mut self) {
        if self.place().is_none() {
            self.choose(self.top.min(self.rows.len().saturating_sub(1)));
        }
        let place = self.place().unwrap_or(0);
        self.top = self.top.clamp(place.saturating_sub(self.height.max(1) - 1), place);
        if self.at_oldest {
            self.top = self.top.min(self.rows.len().saturating_sub(self.height));
        }
    }

    /// The part of the list that is missing, if any is and none is under way.
    pub fn wanted(&mut self) -> Option<(Walk, Part)> {
        if self.asked.is_some() {
            return None;
        }
        let page = self.height.max(5);
        let part = self.missing(page)?;
        let (first, last) = (self.rows.first(), self.rows.last());
        let id = |row: Option<&T>| row.map(|row| row.id().to_owned());
        let walk = match part {
            Part::Replace => {
                Walk { from: self.start.clone(), limit: page * 2, oldest_first: self.jump, ..Walk::default() }
            }
            Part::Older => {
                Walk { from: id(last), cursor: self.older_cursor.clone(), limit: page * 2, oldest_first: false }
            }
            Part::Newer => {
                Walk { from: id(first), cursor: self.newer_cursor.clone(), limit: page * 2, oldest_first: true }
            }
            Part::Again => {
                let below = self.rows.get(self.top + page);
                Walk { from: id(below), cursor: None, limit: page + 1, oldest_first: true }
            }
            Part::Count => Walk { from: id(first), cursor: None, limit: COUNT_MAX, oldest_first: true },
        };
        self.asked = Some(part);
        Some((walk, part))
    }

    fn missing(&mut self, page: usize) -> Option<Part> {
        if self.jump || self.start.is_some() || (self.rows.is_empty() && self.loading) {
            return Some(Part::Replace);
        }
        if self.trouble.is_some() && !self.stale {
            return None;
        }
        if self.live {
            if std::mem::take(&mut self.stale) {
                return Some(Part::Replace);
            }
        } else if self.top < page && !self.at_newest && !self.rows.is_empty() {
            return Some(Part::Newer);
        }
        let lacks_older = self.top + page * KEPT > self.rows.len() && !self.at_oldest;
        if lacks_older && (!self.rows.is_empty() || self.older_cursor.is_some()) {
            return Some(Part::Older);
        }
        if std::mem::take(&mut self.stale) {
            return Some(if self.rows.is_empty() { Part::Replace } else { Part::Again });
        }
        (std::mem::take(&mut self.uncounted) && self.at_newest && !self.rows.is_empty()).then_some(Part::Count)
    }

    /// A question came to nothing. It is asked again when something changes.
    pub fn fail(&mut self, ticket: u64, why: &str) {
        if ticket == self.ticket {
            self.asked = None;
            self.jump = false;
            self.start = None;
            self.loading = false;
            self.trouble = Some(why.to_owned());
        }
    }

    /// Takes in an answer; one that belongs to another list is dropped.
    pub fn take(&mut self, ticket: u64, part: Part, page: PageView<T>, walk: &Walk) {
        if ticket != self.ticket {
            return;
        }
        self.asked = None;
        self.loading = false;
        self.trouble = None;
        let PageView { items: mut rows, cursor } = page;
        if walk.oldest_first {
            rows.reverse();
        }
        match part {
            Part::Replace => self.replace(rows, cursor, walk),
            Part::Older => {
                let last = self.rows.last().map(|row| row.id().to_owned());
                self.rows.extend(rows.into_iter().filter(|row| last.as_deref().is_none_or(|last| row.id() < last)));
                self.at_oldest = cursor.is_none();
                self.older_cursor = cursor;
            }
            Part::Newer => {
                let first = self.rows.first().map(|row| row.id().to_owned());
                rows.retain(|row| first.as_deref().is_none_or(|first| row.id() > first));
                self.at_newest = cursor.is_none();
                self.newer_cursor = cursor;
                self.newer = 0;
                self.top += rows.len();
                self.rows.splice(0..0, rows);
            }
            Part::Again => {
                for new in rows {
                    if let Some(old) = self.rows.iter_mut().find(|old| old.id() == new.id()) {
                        *old = new;
                    }
                }
            }
            Part::Count => self.newer = rows.len(),
        }
        self.settle();
        self.trim();
    }

    fn replace(&mut self, rows: Vec<T>, cursor: Option<String>, walk: &Walk) {
        let jumped = walk.from.is_some();
        self.rows = rows;
        // Nothing is older than the id: the oldest of all is nearest to it.
        self.jump = jumped && self.rows.is_empty() && cursor.is_none();
        self.start = None;
        self.newer = 0;
        self.uncounted = false;
        if walk.oldest_first {
            self.at_oldest = true;
            self.at_newest = cursor.is_none();
            self.newer_cursor = cursor;
            self.older_cursor = None;
            self.choose(self.rows.len().saturating_sub(1));
            self.top = self.rows.len().saturating_sub(self.height);
        } else {
            self.at_newest = !jumped;
            self.at_oldest = cursor.is_none() && !self.jump;
            self.older_cursor = cursor;
            self.newer_cursor = None;
            if self.live || jumped {
                self.top = 0;
                self.choose(0);
            }
        }
    }

    /// Lets go of rows that are far from the screen.
    fn trim(&mut self) {
        let page = self.height.max(5);
        let end = self.top + page * (KEPT + 2);
        if self.rows.len() > end {
            self.rows.truncate(end);
            self.at_oldest = false;
            // Cursors are of places; from a row it goes on as well.
            self.older_cursor = None;
        }
        let start = self.top.saturating_sub(page * (KEPT + 1));
        if start > 0 {
            self.rows.drain(..start);
            self.top -= start;
            self.at_newest = false;
            self.newer_cursor = None;
            self.newer = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Number(String);

    impl Row for Number {
        fn id(&self) -> &str {
            &self.0
        }
    }

    fn id(number: usize) -> String {
        format!("{number:06}")
    }

    /// What the daemon would answer from rows 0 to `end`, of which those are there that match. Like
    /// the daemon, it stops after having looked at so many, and gives a cursor then.
    fn served(end: usize, walk: &Walk, matches: impl Fn(usize) -> bool) -> PageView<Number> {
        const LOOKED_AT_MAX: usize = 60;
        let from = walk.cursor.as_ref().or(walk.from.as_ref()).map(|from| from.parse::<usize>().unwrap());
        let all: Vec<usize> = match (walk.oldest_first, from) {
            (true, from) => (from.map_or(0, |from| from + 1)..end).collect(),
            (false, from) => (0..from.unwrap_or(end)).rev().collect(),
        };
        let mut items = Vec::new();
        for (looked, number) in all.iter().enumerate() {
            if items.len() == walk.limit || looked == LOOKED_AT_MAX {
                return PageView { items, cursor: Some(id(if looked == 0 { *number } else { all[looked - 1] })) };
            }
            if matches(*number) {
                items.push(Number(id(*number)));
            }
        }
        PageView { items, cursor: None }
    }

    fn serve(window: &mut Window<Number>, end: usize, matches: impl Fn(usize) -> bool + Copy) {
        for _ in 0..2_000 {
            let Some((walk, part)) = window.wanted() else { return };
            window.take(window.ticket, part, served(end, &walk, matches), &walk);
        }
        panic!("it never has enough: {} rows, top {}", window.rows.len(), window.top);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Go(Move),
        Arrive(usize),
        Toggle,
        Resize(usize),
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (-60isize..60).prop_map(|rows| Step::Go(Move::By(rows))),
            1 => Just(Step::Go(Move::Newest)),
            1 => Just(Step::Go(Move::Oldest)),
            3 => (1usize..40).prop_map(Step::Arrive),
            1 => Just(Step::Toggle),
            1 => (1usize..30).prop_map(Step::Resize),
            1 => Just(Step::Restart),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn it_shows_a_stretch_of_the_list_whatever_happens(start in 0usize..400, every in 1usize..9, steps in steps()) {
            let matches = |number: usize| number.is_multiple_of(every);
            let mut end = start;
            let mut window = Window::<Number>::default();
            serve(&mut window, end, matches);
            for step in steps {
                let before = (window.live, window.visible().to_vec(), window.selected.clone());
                match step {
                    Step::Go(to) => window.go(to),
                    Step::Arrive(more) => {
                        end += more;
                        window.touch();
                    }
                    Step::Toggle => window.toggle_live(),
                    Step::Resize(height) => window.resize(height),
                    Step::Restart => window.restart(),
                }
                serve(&mut window, end, matches);
                // Where nothing is read yet, the first row that arrives is shown.
                if matches!(step, Step::Arrive(_)) && !before.0 && !before.1.is_empty() {
                    prop_assert_eq!(&before.1, &window.visible().to_vec(), "a held list moved");
                    prop_assert_eq!(&before.2, &window.selected);
                }
                let all: Vec<String> = (0..end).rev().filter(|number| matches(*number)).map(id).collect();
                let have: Vec<String> = window.rows.iter().map(|row| row.0.clone()).collect();
                let at = have.first().and_then(|first| all.iter().position(|one| one == first)).unwrap_or(0);
                prop_assert_eq!(&have[..], &all[at..at + have.len()], "a gap");
                prop_assert_eq!(window.rows.is_empty(), all.is_empty());
                prop_assert_eq!(window.place().is_some(), !all.is_empty());
                let shown = window.visible().len();
                prop_assert_eq!(shown, window.height.min(all.len() - at - window.top), "an empty screen");
                prop_assert!(window.place().is_none_or(|place| (window.top..window.top + shown.max(1)).contains(&place)));
                prop_assert!(window.rows.len() <= window.height.max(5) * 7 + 200);
                if window.live && !all.is_empty() {
                    prop_assert_eq!(&have[0], &all[0]);
                }
            }
        }
    }
}
