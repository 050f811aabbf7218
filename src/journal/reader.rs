//! Reads a segment from front to back, past damage.
//!
//! Holds one record and a read-ahead in memory, never a segment. Does not decide what damage
//! means; it tells where it is and goes on at the next thing that checks out. A record whose
//! sequence can not be right at its place, such as one that a reused block brought back from a
//! segment long gone, does not check out either.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::disk::{SegmentFile, read_full};
use super::frame::{FRAME_LENGTH, Frame, FrameHeader, MAGIC};
use super::{Committed, Record};
use crate::domain::event::Location;

/// What stands at a place of a segment.
#[derive(Debug)]
pub enum Replayed {
    /// A record that checks out.
    Record(Committed),
    /// A stretch that does not, up to the next thing that does.
    Damaged {
        /// Where it begins.
        offset: u64,
        /// The bytes, at most [`SegmentReader::KEPT_MAX`] of them.
        bytes: Bytes,
    },
}

/// An iterator over a segment that can fail to read.
#[derive(Debug)]
pub struct SegmentReader<'a> {
    file: &'a dyn SegmentFile,
    name: u64,
    end: u64,
    /// The lowest sequence that the next record can have.
    next_sequence: u64,
    /// Where `window` begins in the file.
    offset: u64,
    window: BytesMut,
}

const READ_AHEAD: usize = 256 << 10;

impl<'a> SegmentReader<'a> {
    /// Of a damaged stretch no more is kept than this.
    pub const KEPT_MAX: usize = 1 << 20;

    /// Reads the segment called `name` up to `end` bytes.
    #[must_use]
    pub fn new(file: &'a dyn SegmentFile, name: u64, end: u64) -> Self {
        Self { file, name, end, next_sequence: name, offset: 0, window: BytesMut::new() }
    }

    /// Where the next item begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// One more than the last sequence that was used so far, by records that can not be understood
    /// as well.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The next item, or `None` at the end.
    ///
    /// # Errors
    /// When reading fails.
    #[expect(clippy::should_implement_trait, reason = "it can fail, which an iterator's next can not say")]
    pub fn next(&mut self) -> io::Result<Option<Replayed>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        match self.record_here()? {
            Some(item) => Ok(Some(item)),
            None => self.damage_here().map(Some),
        }
    }

    /// The record at the current offset, if its checksums are right; moves behind it. One whose
    /// contents make no sense all the same counts as damaged.
    fn record_here(&mut self) -> io::Result<Option<Replayed>> {
        self.fill(FRAME_LENGTH)?;
        let Some(header) = FrameHeader::decode(&self.window) else { return Ok(None) };
        let length = FRAME_LENGTH + header.body_length as usize;
        self.fill(length)?;
        if self.window.len() < length {
            return Ok(None);
        }
        // The check comes before the split, so that damage stays in the window.
        let body = &self.window[FRAME_LENGTH..length];
        if crc32c::crc32c(body) != header.body_crc {
            return Ok(None);
        }
        let bytes = self.window.split_to(length).freeze();
        let location = Location {
            segment: self.name,
            offset: u32::try_from(self.offset).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
        };
        let offset = self.offset;
        self.offset += length as u64;
        let sequence = header.sequence;
        // Records before this one may be damaged and so unknown, but each took up a frame at least.
        let highest = self.name.saturating_add(offset / FRAME_LENGTH as u64);
        if !(self.next_sequence..=highest).contains(&sequence) {
            return Ok(Some(Replayed::Damaged { offset, bytes }));
        }
        self.next_sequence = sequence.saturating_add(1);
        Ok(Some(match Frame::decode(&bytes).and_then(|frame| Record::decode(&frame)) {
            Some(record) => Replayed::Record(Committed { sequence, location, record: Arc::new(record) }),
            None => Replayed::Damaged { offset, bytes },
        }))
    }

    /// The damaged stretch from here to the next header with a right checksum.
    fn damage_here(&mut self) -> io::Result<Replayed> {
        let start = self.offset;
        let mut kept = BytesMut::new();
        // At least one byte belongs to the damage.
        let mut skip = 1;
        // A header that is right tells how far the damaged body reaches.
        if let Some(header) = FrameHeader::decode(&self.window) {
            skip = FRAME_LENGTH + header.body_length as usize;
        }
        loop {
            self.fill(skip + FRAME_LENGTH)?;
            let step = skip.min(self.window.len());
            self.advance(step, &mut kept);
            if self.window.len() < FRAME_LENGTH {
                let rest = self.window.len();
                self.advance(rest, &mut kept);
                break;
            }
            match find_header(&self.window) {
                Some(0) => break,
                Some(at) => skip = at,
                // A header may begin in the last bytes of the window.
                None => skip = self.window.len() - FRAME_LENGTH + 1,
            }
        }
        Ok(Replayed::Damaged { offset: start, bytes: kept.freeze() })
    }

    fn advance(&mut self, by: usize, kept: &mut BytesMut) {
        let passed = self.window.split_to(by);
        let room = Self::KEPT_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&passed[..passed.len().min(room)]);
        self.offset += by as u64;
    }

    /// Reads on until the window holds `wanted` bytes or the segment ends.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let held = self.window.len();
        if held >= wanted {
            return Ok(());
        }
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX) - held;
        let more = (wanted - held).max(READ_AHEAD).min(left);
        self.window.resize(held + more, 0);
        let read = read_full(self.file, &mut self.window[held..], self.offset + held as u64)?;
        self.window.truncate(held + read);
        if read < more {
            // Shorter than it was said to be.
            self.end = self.offset + self.window.len() as u64;
        }
        Ok(())
    }
}

/// Where the first header with a right checksum begins.
fn find_header(bytes: &[u8]) -> Option<usize> {
    (0..=bytes.len() - FRAME_LENGTH).find(|&at| {
        bytes[at] == MAGIC[0] && bytes[at..].starts_with(&MAGIC) && FrameHeader::decode(&bytes[at..]).is_some()
    })
}
