//! Neighbouring rows as one value: what a [`Shelf`](super::shelf::Shelf) keeps in place of single rows, and a
//! [`Table`](super::table::Table) as well.
//!
//! A pack is written under a key of its own, the lowest that may be in it, and carries a checksum over that key and all of its
//! rows. It is not known here what rows mean, or where packs lie.

use sled::IVec;

use super::rows::{seal_keyed, unseal_keyed};
use super::{IndexError, Result};

/// A key and its row.
pub(super) type Row = (IVec, IVec);

/// Bytes of rows from which on a pack is divided. Smaller ones cost more memory, larger ones more writing for a single change.
pub(super) const PACK_BYTES: usize = 2048;

pub(super) fn damaged() -> IndexError {
    IndexError::Damaged("a pack of rows does not check out".to_owned())
}

/// The rows of a pack, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Pack {
    bytes: IVec,
    /// Where each key begins, and where its row begins and ends.
    places: Vec<(u32, u32, u32)>,
}

/// The length of a key or row before it.
const LENGTHS: usize = 6;

impl Pack {
    pub(super) fn read(key: &[u8], sealed: &IVec) -> Result<Self> {
        let content = unseal_keyed(key, sealed).ok_or_else(damaged)?;
        let mut places = Vec::with_capacity(content.len() / 48 + 1);
        let (mut rest, mut at) = (content, 0_usize);
        while !rest.is_empty() {
            let (lengths, rows) = rest.split_first_chunk::<LENGTHS>().ok_or_else(damaged)?;
            let [k0, k1, r0, r1, r2, r3] = *lengths;
            let key_length = usize::from(u16::from_le_bytes([k0, k1]));
            let row_length = usize::try_from(u32::from_le_bytes([r0, r1, r2, r3])).map_err(|_| damaged())?;
            let whole = key_length.checked_add(row_length).ok_or_else(damaged)?;
            rest = rows.get(whole..).ok_or_else(damaged)?;
            let begin = at + LENGTHS;
            at = begin + whole;
            let place = [begin, begin + key_length, at].map(|place| u32::try_from(place).unwrap_or(u32::MAX));
            places.push((place[0], place[1], place[2]));
        }
        Ok(Self { bytes: sealed.clone(), places })
    }

    /// How many rows it has.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    fn slice(&self, from: u32, to: u32) -> &[u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }

    /// The key of a row; nothing beyond the last.
    pub(super) fn key(&self, at: usize) -> &[u8] {
        self.places.get(at).map_or(&[], |(key, row, _)| self.slice(*key, *row))
    }

    /// A row; nothing beyond the last.
    pub(super) fn row(&self, at: usize) -> &[u8] {
        self.places.get(at).map_or(&[], |(_, row, end)| self.slice(*row, *end))
    }

    /// Where the row of a key is, or where it would be.
    pub(super) fn find(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        self.places.binary_search_by(|(from, to, _)| self.slice(*from, *to).cmp(key))
    }

    /// How many rows have keys below the bound, or also at it.
    pub(super) fn below(&self, key: &[u8], or_at: bool) -> usize {
        match self.find(key) {
            Ok(at) => at + usize::from(or_at),
            Err(at) => at,
        }
    }

    /// A key and its row, on their own.
    pub(super) fn owned(&self, at: usize) -> Option<Row> {
        let (key, row, end) = *self.places.get(at)?;
        let part = |from: u32, to: u32| self.bytes.subslice(from as usize, (to - from) as usize);
        Some((part(key, row), part(row, end)))
    }
}

/// How many rows of a sealed pack can be taken out of it.
pub(super) fn rows_of_pack(key: &[u8], sealed: &[u8]) -> Result<usize> {
    let pack = Pack::read(key, &IVec::from(sealed))?;
    Ok((0..pack.len()).filter_map(|at| pack.owned(at)).filter(|(key, _)| pack.find(key).is_ok()).count())
}

/// A pack on its way, row by row in order.
#[derive(Debug, Default)]
pub(super) struct Packing {
    content: Vec<u8>,
}

impl Packing {
    /// An empty one with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { content: Vec::with_capacity(bytes) }
    }

    /// Bytes that a row takes in a pack.
    pub(super) const fn bytes_of(key: &[u8], row: &[u8]) -> usize {
        LENGTHS + key.len() + row.len()
    }

    /// Bytes of the rows so far.
    pub(super) const fn bytes(&self) -> usize {
        self.content.len()
    }

    pub(super) fn put(&mut self, key: &[u8], row: &[u8]) {
        // Keys are ids and references, which are shorter by far.
        self.content.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.content.extend_from_slice(&u32::try_from(row.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.content.extend_from_slice(key);
        self.content.extend_from_slice(row);
    }

    /// The pack, under its key; the next one begins empty.
    pub(super) fn seal(&mut self, under: &[u8]) -> Vec<u8> {
        seal_keyed(under, std::mem::take(&mut self.content))
    }
}

/// Whether a sealed pack has no row: it stands in for one of a table.
pub(super) fn is_empty(sealed: &[u8]) -> bool {
    sealed.len() == seal_keyed(&[], Vec::new()).len()
}
