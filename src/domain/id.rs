//! Identifiers: 16 bytes that sort by time, and their text forms.
//!
//! An event id begins with its millisecond, so an id alone tells the day that holds it, and a
//! delivery id begins with its event's id, so neither needs an index of its own. The text form
//! keeps that order. Ids hold only letters, digits and `_`, because they are signed.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

use super::time::Timestamp;

/// Lower-case Crockford base 32, which has no letters that look like digits and keeps the order
/// of the bytes. Upper case is read as well.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZ");
    specification.translate.to.push_str("abcdefghjkmnpqrstvwxyz");
    #[expect(clippy::expect_used, reason = "32 distinct symbols are a valid specification; a test encodes with it")]
    specification.encoding().expect("a valid base 32 specification")
});

fn decode<const N: usize>(prefix: &str, text: &str) -> Option<[u8; N]> {
    BASE32.decode(text.strip_prefix(prefix)?.as_bytes()).ok()?.try_into().ok()
}

/// Bytes as text that keeps their order; used for cursors, which are opaque to their readers.
#[must_use]
pub fn encode_opaque(bytes: &[u8]) -> String {
    BASE32.encode(bytes)
}

/// The bytes behind [`encode_opaque`].
#[must_use]
pub fn decode_opaque(text: &str) -> Option<Vec<u8>> {
    BASE32.decode(text.as_bytes()).ok()
}

/// An event: `evt_…`. Big-endian milliseconds (6 bytes), then 10 bytes of chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes, which sort by time.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When it was made, to the millisecond.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        let mut millis = [0_u8; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Timestamp::from_millis(u64::from_be_bytes(millis))
    }

    /// Parses `evt_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decode("evt_", text).map(Self)
    }

    /// The smallest id of this instant: everything made at or after it sorts at or after this.
    #[must_use]
    pub fn first_at(at: Timestamp) -> Self {
        Self::compose(at.millis(), 0)
    }

    fn compose(millis: u64, chance: u128) -> Self {
        Self(((u128::from(millis) << 80) | (chance & CHANCE_MASK)).to_be_bytes())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}", BASE32.encode_display(&self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A delivery: `dlv_…`. Its event's id, then its place (from 0) in the event's list of webhooks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The event that is delivered.
    pub event: EventId,
    /// Place in the event's list of webhooks.
    pub ordinal: u16,
}

impl DeliveryId {
    /// 18 bytes, which sort by time.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 18] {
        let mut bytes = [0_u8; 18];
        bytes[..16].copy_from_slice(self.event.as_bytes());
        bytes[16..].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes
    }

    /// From [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 18] = bytes.try_into().ok()?;
        let mut event = [0_u8; 16];
        event.copy_from_slice(&bytes[..16]);
        Some(Self { event: EventId(event), ordinal: u16::from_be_bytes([bytes[16], bytes[17]]) })
    }

    /// Parses `dlv_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(&decode::<18>("dlv_", text)?)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dlv_{}", BASE32.encode_display(&self.to_bytes()))
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A webhook: `wh_…`. The same shape as an event id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId([u8; 16]);

impl WebhookId {
    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses `wh_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decode("wh_", text).map(Self)
    }

    /// A new id from the time and 80 bits of chance.
    #[must_use]
    pub fn new(now: Timestamp, chance: u128) -> Self {
        Self(EventId::compose(now.millis(), chance).0)
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wh_{}", BASE32.encode_display(&self.0))
    }
}

impl fmt::Debug for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const CHANCE_MASK: u128 = (1 << 80) - 1;

/// How far the clock may step back before ids follow it. Within this, ids stay in order; beyond,
/// an id that names the right day matters more.
const STEP_BACK_MAX_MILLIS: u64 = 10_000;

/// Makes event ids that never repeat and, while the clock does not step back by more than ten
/// seconds, always rise.
#[derive(Debug, Default)]
pub struct EventIds {
    last_millis: u64,
    last_chance: u128,
}

impl EventIds {
    /// The next id, from the time and 80 bits of chance.
    pub fn next(&mut self, now: Timestamp, chance: u128) -> EventId {
        let millis = now.millis();
        let stepped_back = self.last_millis > millis.saturating_add(STEP_BACK_MAX_MILLIS);
        if millis > self.last_millis || stepped_back {
            self.last_millis = millis;
            // The top bit stays clear, so that counting up within the millisecond has room.
            self.last_chance = chance & (CHANCE_MASK >> 1);
        } else {
            self.last_chance += 1;
        }
        EventId::compose(self.last_millis, self.last_chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_the_order_and_round_trips() {
        let mut ids = EventIds::default();
        let mut earlier: Option<EventId> = None;
        for step in 0..2_000_u64 {
            let id = ids.next(Timestamp::from_millis(1_795_000_000_000 + step / 3), u128::from(step) * 77_777_777_777);
            assert_eq!(EventId::parse(&id.to_string()), Some(id));
            assert_eq!(EventId::parse(&id.to_string().to_uppercase().replace("EVT_", "evt_")), Some(id));
            let delivery = DeliveryId { event: id, ordinal: 513 };
            assert_eq!(DeliveryId::parse(&delivery.to_string()), Some(delivery));
            if let Some(earlier) = earlier {
                assert!(earlier < id && earlier.to_string() < id.to_string());
            }
            earlier = Some(id);
        }
        assert_eq!(EventId::parse("evt_"), None);
        assert_eq!(EventId::parse("dlv_00000000000000000000000000"), None);
    }

    #[test]
    fn ids_rise_through_a_small_step_back_and_follow_a_large_one() {
        let mut ids = EventIds::default();
        let first = ids.next(Timestamp::from_millis(100_000), 5);
        let second = ids.next(Timestamp::from_millis(99_000), 3);
        assert!(second > first);
        let third = ids.next(Timestamp::from_millis(50_000), 3);
        assert_eq!(third.created_at(), Timestamp::from_millis(50_000));
    }

    #[test]
    fn the_id_names_its_millisecond() {
        let id = EventId::first_at(Timestamp::from_millis(1_795_425_932_045));
        assert_eq!(id.created_at().to_string(), "2026-11-23T09:25:32.045Z");
    }
}
