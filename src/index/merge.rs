//! Makes one run of many, bit by bit: when a day is over, whoever searches it looks through one run and not through all that
//! were written on it.
//!
//! It is not known here what rows mean. Invariant: the runs that are read stay as they are, so a merge that was broken off leaves
//! a run with some of their rows again, and nothing is lost.

use super::Result;
use super::shelf::{Change, Row, Rows, Shelf};
use super::walk::Order;

/// Runs on their way to become one.
#[derive(Debug)]
pub(super) struct Merge {
    from: Vec<Shelf>,
    into: Shelf,
    /// The last key that was written, when there was one.
    last: Option<Vec<u8>>,
    rows: usize,
}

/// The rows of one run, and the first of them while there is one.
struct Source {
    head: Option<Row>,
    rest: Rows,
}

impl Merge {
    /// Of these, into an empty one.
    pub(super) const fn new(from: Vec<Shelf>, into: Shelf) -> Self {
        Self { from, into, last: None, rows: 0 }
    }

    /// Writes at most so many rows more; tells how many there are in all when that was the last.
    pub(super) fn step(&mut self, most: usize) -> Result<Option<usize>> {
        // The lowest key behind the last.
        let start = self.last.as_ref().map_or_else(Vec::new, |last| [&last[..], &[0]].concat());
        let mut sources = Vec::new();
        for shelf in &self.from {
            let mut rest = shelf.range(&start, None, Order::OldestFirst)?;
            sources.push(Source { head: rest.next().transpose()?, rest });
        }
        let mut changes: Vec<Change> = Vec::with_capacity(most);
        let lowest =
            |sources: &[Source]| sources.iter().filter_map(|source| Some(source.head.as_ref()?.0.clone())).min();
        while changes.len() < most
            && let Some(key) = lowest(&sources)
        {
            let mut row = None;
            for source in &mut sources {
                if source.head.as_ref().is_some_and(|head| head.0 == key) {
                    let head = std::mem::replace(&mut source.head, source.rest.next().transpose()?);
                    row = head.map(|(_, row)| row.to_vec());
                }
            }
            changes.push((key.to_vec(), row));
        }
        self.rows += changes.len();
        self.last = changes.last().map(|(key, _)| key.clone()).or_else(|| self.last.take());
        self.into.apply(changes)?;
        Ok(sources.iter().all(|source| source.head.is_none()).then_some(self.rows))
    }

    /// What they become.
    pub(super) fn shelf(&self) -> Shelf {
        self.into.clone()
    }
}
