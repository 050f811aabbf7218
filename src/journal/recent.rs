//! What of the journal lies in memory: events that were committed a moment ago, and what lies behind those that were read.
//!
//! Neither is needed for anything but speed, and both are bounded in bytes. Nothing is believed here: whoever takes bytes checks
//! them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::record::Record;
use crate::domain::event::Location;

/// Records of recently committed events, so that a healthy delivery never reads the disk.
///
/// They come in the order of their places, since a segment is named by its first sequence: so they are found by halving.
#[derive(Debug, Default)]
pub(super) struct RecentPayloads {
    records: VecDeque<(Location, Arc<Record>)>,
    bytes: usize,
}

impl RecentPayloads {
    const BYTES_MAX: usize = 4 << 20;

    /// What has to make room for it goes to `gone`, to be let go of by whoever does not hold others up with it.
    pub(super) fn put(&mut self, location: Location, record: Arc<Record>, gone: &mut Vec<Arc<Record>>) {
        let size = location.length as usize;
        if size > Self::BYTES_MAX / 2 {
            return;
        }
        self.bytes += size;
        self.records.push_back((location, record));
        while self.bytes > Self::BYTES_MAX {
            let Some((oldest, record)) = self.records.pop_front() else { break };
            self.bytes -= oldest.length as usize;
            gone.push(record);
        }
    }

    pub(super) fn get(&self, location: Location) -> Option<Arc<Record>> {
        let place = self.records.binary_search_by_key(&order(location), |(known, _)| order(*known)).ok()?;
        self.records.get(place).filter(|(known, _)| *known == location).map(|(_, record)| Arc::clone(record))
    }
}

const fn order(location: Location) -> (u64, u32) {
    (location.segment, location.offset)
}

/// How much is read at a time. A backlog is sent in the order in which it lies there, so the next ones come along.
pub(super) const NEIGHBOURS_BYTES: usize = 64 << 10;

/// A stretch of a segment.
#[derive(Debug)]
struct Stretch {
    segment: u64,
    offset: u32,
    bytes: Bytes,
}

/// The stretches that were read last, one for each of as many lanes.
#[derive(Debug, Default)]
pub(super) struct Neighbours(VecDeque<Stretch>);

impl Neighbours {
    const COUNT_MAX: usize = 32;

    pub(super) fn put(&mut self, Location { segment, offset, .. }: Location, bytes: Bytes) {
        if self.0.len() >= Self::COUNT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Stretch { segment, offset, bytes });
    }

    /// The bytes of a record that came along with another, in memory of their own: else each would keep its whole stretch.
    pub(super) fn get(&self, location: Location) -> Option<Bytes> {
        self.0.iter().rev().filter(|stretch| stretch.segment == location.segment).find_map(|stretch| {
            let from = usize::try_from(location.offset.checked_sub(stretch.offset)?).ok()?;
            let bytes = stretch.bytes.get(from..from.checked_add(location.length as usize)?)?;
            Some(Bytes::copy_from_slice(bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::journal::ConfigImage;

    #[test]
    fn events_are_found_by_their_place_until_newer_ones_need_the_room() {
        const LENGTH: u32 = 1 << 20;
        let mut recent = RecentPayloads::default();
        let mut gone = Vec::new();
        let at = |segment, offset| Location { segment, offset, length: LENGTH };
        let record =
            |millis| Arc::new(Record::Snapshot { at: Timestamp::from_millis(millis), image: ConfigImage::default() });
        // Two days at once: each record of another day has a segment of its own, and names rise.
        let places = [at(1, 0), at(1, LENGTH), at(7, 0), at(9, 0), at(9, LENGTH), at(9, 2 * LENGTH)];
        let records: Vec<_> = (0..6).map(record).collect();
        for (place, record) in places.iter().zip(&records) {
            recent.put(*place, Arc::clone(record), &mut gone);
        }
        let found: Vec<_> = places.iter().map(|place| recent.get(*place)).collect();
        assert!(found[..2].iter().all(Option::is_none), "4 MiB are kept");
        for (found, record) in found[2..].iter().zip(&records[2..]) {
            assert!(found.as_ref().is_some_and(|found| Arc::ptr_eq(found, record)));
        }
        assert!(gone.iter().zip(&records).all(|(gone, record)| Arc::ptr_eq(gone, record)));
        assert_eq!(gone.len(), 2);
        let other_length = Location { length: LENGTH - 1, ..at(7, 0) };
        for nothing in [at(7, 1), at(8, 0), at(10, 0), other_length] {
            assert!(recent.get(nothing).is_none(), "{nothing:?}");
        }
        recent.put(Location { length: 3 * LENGTH, ..at(12, 0) }, record(7), &mut gone);
        assert_eq!(gone.len(), 2, "what is as large as half of all is not kept");
    }

    #[test]
    fn what_lies_wholly_in_a_stretch_is_found_in_it() {
        let mut neighbours = Neighbours::default();
        let at = |segment, offset, length| Location { segment, offset, length };
        neighbours.put(at(1, 100, 3), Bytes::from_static(b"abcdefghij"));
        assert_eq!(neighbours.get(at(1, 103, 4)).as_deref(), Some(&b"defg"[..]));
        for outside in [at(2, 103, 4), at(1, 99, 2), at(1, 103, 8), at(1, 111, 1), at(1, u32::MAX, u32::MAX)] {
            assert_eq!(neighbours.get(outside), None, "{outside:?}");
        }
        for number in 0..Neighbours::COUNT_MAX {
            neighbours.put(at(9, u32::try_from(number).unwrap() * 1000, 3), Bytes::from_static(b"xyz"));
        }
        assert_eq!(neighbours.get(at(1, 103, 4)), None, "the oldest makes room");
    }
}
