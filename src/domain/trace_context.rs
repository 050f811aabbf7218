//! Where an event belongs among the traces of the applications around it: W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>, level 1).
//!
//! It records nothing and makes no ids. Its invariant: what it writes is a valid `traceparent`, and a `tracestate` that can be
//! sent as a header.

use std::fmt;

use data_encoding::HEXLOWER;

/// The longest `tracestate` that is passed on, in bytes: as much as the standard demands.
const STATE_BYTES_MAX: usize = 512;
/// `00-` trace `-` parent `-` flags.
const PARENT_BYTES: usize = 55;
const SAMPLED: u8 = 1;

/// The span that an event was posted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never all zero.
    pub trace: [u8; 16],
    /// The span that caused this; never all zero.
    pub parent: [u8; 8],
    /// The trace flags. The lowest bit says that the trace is recorded.
    pub flags: u8,
    /// The `tracestate`; empty when there is none.
    pub state: String,
}

impl TraceContext {
    /// From the values of `traceparent` and `tracestate`; `None` when the first is not valid, as the standard wants it.
    #[must_use]
    pub fn parse(parent: &str, state: &str) -> Option<Self> {
        let (version, rest) = (parent.get(..2)?, parent.get(PARENT_BYTES..)?);
        let version = byte(version)?;
        let is_later = version > 0 && version < 0xff && (rest.is_empty() || rest.starts_with('-'));
        if !(is_later || version == 0 && rest.is_empty()) {
            return None;
        }
        let mut fields = parent.get(3..PARENT_BYTES)?.split('-');
        let (trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if parent.as_bytes().get(2) != Some(&b'-') || fields.next().is_some() {
            return None;
        }
        let trace: [u8; 16] = HEXLOWER.decode(trace.as_bytes()).ok()?.try_into().ok()?;
        let parent: [u8; 8] = HEXLOWER.decode(span.as_bytes()).ok()?.try_into().ok()?;
        let flags = byte(flags)?;
        if trace == [0; 16] || parent == [0; 8] {
            return None;
        }
        let state = state.trim_matches([' ', '\t']);
        let can_be_sent = state.len() <= STATE_BYTES_MAX && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let state = if can_be_sent { state.to_owned() } else { String::new() };
        // Of a later version, only what this one knows may be passed on.
        Some(Self { trace, parent, flags: if version == 0 { flags } else { flags & SAMPLED }, state })
    }

    /// Whether somebody records the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, below another span.
    #[must_use]
    pub fn below(&self, parent: [u8; 8]) -> Self {
        Self { parent, ..self.clone() }
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) = (HEXLOWER.encode(&self.trace), HEXLOWER.encode(&self.parent));
        write!(f, "00-{trace}-{parent}-{:02x}", self.flags)
    }
}

fn byte(text: &str) -> Option<u8> {
    let [byte] = HEXLOWER.decode(text.as_bytes()).ok()?[..] else { return None };
    Some(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_the_standard_shows_is_read_and_written_as_it_was() {
        let context = TraceContext::parse(GOOD, " rojo=00f067aa0ba902b7,congo=t61rcWkgMzE\t").unwrap();
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(context.state, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
        assert!(context.is_sampled());
        let below = context.below([1; 8]);
        assert_eq!(below.to_string(), "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01");
        assert!(!TraceContext::parse(&GOOD.replace("-01", "-02"), "").unwrap().is_sampled());
    }

    #[test]
    fn what_is_not_valid_is_none() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-x"),
            &format!("{GOOD} "),
            &GOOD.replace("00-", "ff-"),
            &GOOD.to_uppercase(),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            &GOOD.replace("dd8448", "dd844-"),
            &GOOD.replace("9c-b7", "9cb-7"),
            &GOOD.replace("00-0", "00_0"),
            &GOOD.replace("-01", "-0x"),
            &format!("01{}x", &GOOD[2..]),
            "00-ü",
        ] {
            assert_eq!(TraceContext::parse(bad, ""), None, "{bad}");
        }
    }

    #[test]
    fn of_a_later_version_only_what_is_known_is_passed_on() {
        let later = format!("cc{}-what-else", &GOOD[2..53]).replace("-what", "ff-what");
        assert_eq!(TraceContext::parse(&later, "").unwrap().to_string(), GOOD);
    }

    #[test]
    fn a_state_that_can_not_be_sent_is_left_out() {
        for bad in ["a=\u{7f}", "a=ü", "a=b\r\nX-Evil: 1", &"x".repeat(513)] {
            assert_eq!(TraceContext::parse(GOOD, bad).unwrap().state, "", "{bad}");
        }
        assert_eq!(TraceContext::parse(GOOD, &"x".repeat(512)).unwrap().state.len(), 512);
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_again(parent in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", state in ".*") {
            if let Some(context) = TraceContext::parse(&parent, &state) {
                prop_assert_eq!(TraceContext::parse(&context.to_string(), &context.state), Some(context));
            }
        }

        #[test]
        fn nothing_makes_it_panic(parent in ".*", state in ".*") {
            let _ = TraceContext::parse(&parent, &state);
        }
    }
}
