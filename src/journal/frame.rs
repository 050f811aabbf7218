//! The bytes around a record: lengths, sequence and checksums. Knows nothing of what is inside.

use bytes::Bytes;

/// Bytes before the body.
pub const FRAME_LENGTH: usize = 32;
pub(super) const MAGIC: [u8; 4] = *b"PRJ1";
/// The only version there is.
pub(super) const VERSION: u8 = 1;
/// Longer bodies are never written: 16 MiB of payload and what describes it.
pub(super) const BODY_MAX: usize = (16 << 20) + (1 << 20);
/// The longest record, with its frame.
pub const RECORD_MAX: usize = FRAME_LENGTH + BODY_MAX;

/// The first 32 bytes of a record, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) body_length: u32,
    pub(super) meta_length: u32,
    pub(super) sequence: u64,
    pub(super) body_crc: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_LENGTH] {
        let mut bytes = [0; FRAME_LENGTH];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = self.version;
        bytes[5] = self.kind;
        bytes[8..12].copy_from_slice(&self.body_length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.meta_length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_LENGTH] = bytes.get(..FRAME_LENGTH)?.try_into().ok()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[0..4] != MAGIC || crc32c::crc32c(&bytes[..28]) != u32_at(28) {
            return None;
        }
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&bytes[16..24]);
        let header = Self {
            version: bytes[4],
            kind: bytes[5],
            body_length: u32_at(8),
            meta_length: u32_at(12),
            sequence: u64::from_le_bytes(sequence),
            body_crc: u32_at(24),
        };
        let plausible = header.meta_length <= header.body_length && header.body_length as usize <= BODY_MAX;
        plausible.then_some(header)
    }
}

/// A whole record whose checksums are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Version of the record's format.
    pub version: u8,
    /// What the record is.
    pub kind: u8,
    /// Its place in the journal's order.
    pub sequence: u64,
    /// What describes it.
    pub meta: Bytes,
    /// The payload of an event as it was posted; empty for other kinds.
    pub payload: Bytes,
}

impl Frame {
    /// Takes a record apart; `None` when it is cut short or a checksum is wrong.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let header = FrameHeader::decode(bytes)?;
        let end = FRAME_LENGTH + header.body_length as usize;
        let body = bytes.get(FRAME_LENGTH..end)?;
        if crc32c::crc32c(body) != header.body_crc {
            return None;
        }
        let payload_at = FRAME_LENGTH + header.meta_length as usize;
        Some(Self {
            version: header.version,
            kind: header.kind,
            sequence: header.sequence,
            meta: bytes.slice(FRAME_LENGTH..payload_at),
            payload: bytes.slice(payload_at..end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let body = b"metapayload";
        let header = FrameHeader {
            version: VERSION,
            kind: 1,
            body_length: 11,
            meta_length: 4,
            sequence: 9,
            body_crc: crc32c::crc32c(body),
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(body);
        let frame = Frame::decode(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!((&frame.meta[..], &frame.payload[..], frame.sequence), (&b"meta"[..], &b"payload"[..], 9));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(&Bytes::from(flipped)), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Frame::decode(&Bytes::from(bytes[..length].to_vec())), None);
        }
    }
}
