//! Whether a request may go in: a look at its head before the HTTP library sees any of it.
//!
//! The library allocates what `Content-Length` says, waits for ever on some versions and encodings, and has no limit on a
//! head. This does not parse requests: it finds the end of the head, says how long the body is, and refuses the rest.
//!
//! Invariant: what is let in has one plain length, at most [`BODY_BYTES_MAX`], and a head of at most
//! [`HEAD_BYTES_MAX`] bytes of ASCII.

/// The longest head.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest body: the most that a daemon can be told to accept.
pub(super) const BODY_BYTES_MAX: u64 = 16 << 20;

/// What to do with the bytes that came so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The head is not all there.
    Unfinished,
    /// It may go in.
    Fine {
        /// Length of the head, with the empty line.
        head: usize,
        /// Length of the body behind it.
        body: u64,
    },
    /// It may not: the status to answer, and why.
    Refused(u16, &'static str),
}

/// Looks at the beginning of a request.
pub(super) fn judge(bytes: &[u8]) -> Judged {
    const END: &[u8] = b"\r\n\r\n";
    let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let Some(at) = within.windows(END.len()).position(|window| window == END) else {
        let full = bytes.len() >= HEAD_BYTES_MAX;
        return if full { Judged::Refused(431, "the head is longer than 16 KiB") } else { Judged::Unfinished };
    };
    let text = match std::str::from_utf8(&within[..at]) {
        Ok(text) if text.is_ascii() => text,
        _ => return Judged::Refused(400, "the head is not ASCII"),
    };
    match body_length(text) {
        Ok(body) => Judged::Fine { head: at + END.len(), body },
        Err((status, why)) => Judged::Refused(status, why),
    }
}

fn body_length(head: &str) -> Result<u64, (u16, &'static str)> {
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    match words.as_slice() {
        [_, _, "HTTP/1.1" | "HTTP/1.0"] => {}
        [_, _, version] if version.starts_with("HTTP/") => return Err((505, "only HTTP/1.1 and HTTP/1.0 are spoken")),
        _ => return Err((400, "the request line is not one")),
    }
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or((400, "a header line has no colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err((400, "there are two lengths"));
            }
            length = Some(number(value)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err((411, "the body has no Content-Length"));
        } else if name.eq_ignore_ascii_case("connection") && value.to_ascii_lowercase().contains("upgrade") {
            return Err((400, "no other protocol is spoken"));
        }
    }
    Ok(length.unwrap_or(0))
}

fn number(text: &str) -> Result<u64, (u16, &'static str)> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err((400, "the length is not a number"));
    }
    // So many digits that it is no u64 is too long in any case.
    text.parse().ok().filter(|length| *length <= BODY_BYTES_MAX).ok_or((413, "the body is longer than 16 MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Judged {
        judge(head.as_bytes())
    }

    #[test]
    fn a_plain_request_goes_in() {
        let head = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(judged(&format!("{head}hello and more")), Judged::Fine { head: head.len(), body: 5 });
        assert_eq!(judged("GET / HTTP/1.0\r\n\r\n"), Judged::Fine { head: 18, body: 0 });
        for end in 0..head.len() {
            assert_eq!(judged(&head[..end]), Judged::Unfinished, "{end}");
        }
    }

    #[test]
    fn what_the_library_chokes_on_is_refused() {
        for (status, line) in [
            (413, "Content-Length: 16777217"),
            (413, "Content-Length: 9223372036854775807"),
            (413, "Content-Length: 18446744073709551615"),
            (413, "Content-Length: 99999999999999999999999999"),
            (400, "Content-Length: -1"),
            (400, "Content-Length: 5abc"),
            (400, "Content-Length:"),
            (400, "Content-Length: 5\r\ncontent-length: 6"),
            (411, "Transfer-Encoding: chunked"),
            (411, "Content-Length: 5\r\nTransfer-Encoding: identity"),
            (400, "Connection: keep-alive, Upgrade"),
            (400, "no colon"),
            (400, "X-Name: zażółć"),
        ] {
            let judged = judged(&format!("POST / HTTP/1.1\r\n{line}\r\n\r\n"));
            assert!(matches!(judged, Judged::Refused(found, _) if found == status), "{line}: {judged:?}");
        }
        for (status, line) in
            [(505, "GET / HTTP/2.0"), (400, "GET /"), (400, ""), (400, "GET / X"), (400, "GET  / HTTP/1.1")]
        {
            let judged = judged(&format!("{line}\r\n\r\n"));
            assert!(matches!(judged, Judged::Refused(found, _) if found == status), "{line}: {judged:?}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_refused_in_time() {
        let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
        head.resize(HEAD_BYTES_MAX - 1, b'a');
        assert_eq!(judge(&head), Judged::Unfinished);
        head.push(b'a');
        assert!(matches!(judge(&head), Judged::Refused(431, _)));
        // Nor may the end stand behind the limit.
        head.extend_from_slice(b"\r\n\r\n");
        assert!(matches!(judge(&head), Judged::Refused(431, _)));
    }
}
