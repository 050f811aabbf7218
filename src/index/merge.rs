//! Makes one run of many, bit by bit, and in a table: whoever searches looks through one run and not through all that were written,
//! and sled need not have them.
//!
//! It is not known here what rows mean. Invariant: the runs that are read stay as they are, so of a merge that was broken off nothing
//! is left, and nothing is lost.

use super::Result;
use super::pack::{PACK_BYTES, Packing, Row};
use super::shelf::{Rows, Shelf};
use super::table::{Table, TableWriter};

/// Runs on their way to become one.
#[derive(Debug)]
pub(super) struct Merge {
    from: Vec<Shelf>,
    into: Shelf,
    rows_to: RowWriter,
    /// The last key that was written, when there was one.
    last: Option<Vec<u8>>,
    rows: usize,
}

/// Rows on their way into a table, in order.
#[derive(Debug)]
pub(super) struct RowWriter {
    table: TableWriter,
    packing: Packing,
    under: Option<Vec<u8>>,
}

impl RowWriter {
    /// Into a table that was begun.
    pub(super) fn new(table: TableWriter) -> Self {
        Self { table, packing: Packing::with_capacity(PACK_BYTES), under: None }
    }

    pub(super) fn put(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        if self.packing.bytes() + Packing::bytes_of(key, row) > PACK_BYTES {
            self.end_pack()?;
        }
        self.packing.put(key, row);
        self.under.get_or_insert_with(|| key.to_vec());
        Ok(())
    }

    fn end_pack(&mut self) -> Result<()> {
        match self.under.take() {
            Some(under) => self.table.push(&under, &self.packing.seal(&under)),
            None => Ok(()),
        }
    }

    /// The table. There must be a row in it.
    pub(super) fn finish(mut self) -> Result<Table> {
        self.end_pack()?;
        self.table.finish()
    }
}

/// The rows of one run, and the first of them while there is one.
struct Source {
    head: Option<Row>,
    rest: Rows,
}

impl Merge {
    /// Of these, into a table that was begun for the other one.
    pub(super) fn new(from: Vec<Shelf>, into: Shelf, table: TableWriter) -> Self {
        Self { from, into, rows_to: RowWriter::new(table), last: None, rows: 0 }
    }

    /// Writes at most so many rows more; tells whether that was the last.
    pub(super) fn step(&mut self, most: usize) -> Result<bool> {
        // The lowest key behind the last.
        let start = self.last.as_ref().map_or_else(Vec::new, |last| [&last[..], &[0]].concat());
        let mut sources = Vec::new();
        for shelf in &self.from {
            let mut rest = shelf.in_passing(&start)?;
            sources.push(Source { head: rest.next().transpose()?, rest });
        }
        let lowest =
            |sources: &[Source]| sources.iter().filter_map(|source| Some(source.head.as_ref()?.0.clone())).min();
        for count in 0.. {
            let Some(key) = lowest(&sources) else { break };
            if count == most {
                return Ok(false);
            }
            let mut row = None;
            for source in &mut sources {
                if source.head.as_ref().is_some_and(|head| head.0 == key) {
                    row = std::mem::replace(&mut source.head, source.rest.next().transpose()?);
                }
            }
            if let Some(row) = row {
                self.rows_to.put(&row.0, &row.1)?;
                self.last = Some(row.0.to_vec());
                self.rows += 1;
            }
        }
        Ok(true)
    }

    /// What they have become, and how many rows that has.
    pub(super) fn finish(self) -> Result<(Shelf, usize)> {
        if let Some(sealed) = self.into.sealed().filter(|_| self.rows > 0) {
            sealed.add(self.rows_to.finish()?, None)?;
        }
        Ok((self.into, self.rows))
    }

    /// What they were to become.
    pub(super) fn shelf(self) -> Shelf {
        self.into
    }
}
