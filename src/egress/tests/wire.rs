//! Exchanges over plain HTTP.

use super::*;
use crate::domain::attempt::RetryAfter;

#[tokio::test]
async fn delivers_and_keeps_the_connection() {
    let (receiver, requests) = answering(OK).await;
    let egress = egress();
    let mut request = post(&receiver.url("/hook?a=b"), LONG);
    request.headers.insert("content-type", "application/json".parse().unwrap());
    request.headers.insert("content-length", "9999".parse().unwrap());
    request.headers.insert("host", "elsewhere.example".parse().unwrap());
    let first = egress.send(KEY, request).await;
    assert_eq!(first.result, Ok(200));
    assert_eq!(first.peer, Some(receiver.at));
    assert!(first.phases.connect.is_some() && first.phases.first_byte.is_some());
    assert_eq!((first.phases.dns, first.phases.tls), (None, None));
    assert!(first.duration >= first.phases.connect.unwrap());

    wait_for_idle(&egress, 1).await;
    let second = egress.send(KEY, post(&receiver.url("/other"), LONG)).await;
    assert_eq!(second.result, Ok(200));
    assert_eq!((second.phases.dns, second.phases.connect, second.phases.tls), (None, None, None));
    assert!(second.phases.first_byte.is_some());
    assert_eq!(receiver.connections(), 1, "the connection was kept");

    let requests = requests.lock().unwrap();
    let head = requests[0].to_ascii_lowercase();
    assert!(head.starts_with("post /hook?a=b http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {}\r\n", receiver.at)), "{head}");
    assert!(head.contains("\r\ncontent-length: 7\r\n") && head.ends_with("\r\n\r\n{\"a\":1}"), "{head}");
    assert!(!head.contains("accept-encoding"), "{head}");
    assert!(requests[1].starts_with("POST /other HTTP/1.1\r\n"));
}

/// The body is read in the background, so the connection comes to rest a little after the answer.
async fn wait_for_idle(egress: &Egress, count: usize) {
    while egress.idle_connections() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_are_not_shared_between_webhooks() {
    let (receiver, _) = answering(OK).await;
    let egress = egress();
    for key in [1, 2] {
        assert_eq!(egress.send(key, post(&receiver.url("/"), LONG)).await.result, Ok(200));
    }
    assert_eq!(receiver.connections(), 2);
    wait_for_idle(&egress, 2).await;
    egress.update_policy(loopback());
    assert_eq!(egress.idle_connections(), 0, "a new policy is a new start");
    assert_eq!(egress.send(1, post(&receiver.url("/"), LONG)).await.result, Ok(200));
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn a_new_policy_applies_at_once_and_nothing_old_is_kept() {
    let mut receiver = Receiver::start().await;
    let (egress, url) = (Arc::new(egress()), receiver.url("/"));
    let sending = tokio::spawn({
        let (egress, url) = (Arc::clone(&egress), url.clone());
        async move { egress.send(KEY, post(&url, LONG)).await }
    });
    let mut stream = receiver.accept().await;
    read_request(&mut stream).await.unwrap();
    egress.update_policy(AddressPolicy::default());
    stream.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(sending.await.unwrap().result, Ok(200), "what was under way ends as it began");
    assert_eq!(read_request(&mut stream).await, None, "and its connection is closed");
    assert_eq!(egress.idle_connections(), 0);
    assert_eq!(egress.send(KEY, post(&url, LONG)).await.result, Err(ErrorKind::Blocked));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_within_the_attempt() {
    let mut receiver = Receiver::start().await;
    let (egress, url) = (Arc::new(egress()), receiver.url("/"));
    for round in 1..=3 {
        let (egress, url) = (Arc::clone(&egress), url.clone());
        let sending = tokio::spawn(async move {
            let outcome = egress.send(KEY, post(&url, LONG)).await;
            wait_for_idle(&egress, 1).await;
            outcome
        });
        let mut stream = receiver.accept().await;
        read_request(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        let outcome = sending.await.unwrap();
        assert_eq!(outcome.result, Ok(200));
        assert!(outcome.phases.connect.is_some(), "round {round} dialled");
        drop(stream);
        reactor_turn().await;
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn a_second_response_is_never_taken_for_the_next_answer() {
    let (receiver, _) = answering(format!("{OK}HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")).await;
    let egress = egress();
    for _ in 0..5 {
        assert_eq!(egress.send(KEY, post(&receiver.url("/"), LONG)).await.result, Ok(200));
        while egress.drains.available_permits() != DRAINS_MAX {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn connection_close_is_honoured() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let mut receiver = Receiver::start().await;
        let (egress, url) = (Arc::new(egress()), receiver.url("/"));
        let sending = tokio::spawn({
            let egress = Arc::clone(&egress);
            async move { egress.send(KEY, post(&url, LONG)).await }
        });
        let mut stream = receiver.accept().await;
        read_request(&mut stream).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        assert_eq!(sending.await.unwrap().result, Ok(200));
        assert_eq!(read_request(&mut stream).await, None, "closed from our side");
        assert_eq!(egress.idle_connections(), 0);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (other, other_requests) = answering(OK).await;
    for code in [301, 302, 303, 307, 308] {
        let answer = format!("HTTP/1.1 {code} Go\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", other.url("/"));
        let (receiver, requests) = answering(answer).await;
        let outcome = egress().send(KEY, post(&receiver.url("/"), LONG)).await;
        assert_eq!(outcome.result, Ok(code));
        assert_eq!(requests.lock().unwrap().len(), 1);
    }
    assert_eq!(other.connections(), 0);
    assert!(other_requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn retry_after_comes_along_with_429_and_503_only() {
    for (status, want) in [(503, Some(RetryAfter::Delay(Duration::from_secs(30)))), (500, None)] {
        let (receiver, _) =
            answering(format!("HTTP/1.1 {status} No\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")).await;
        let outcome = egress().send(KEY, post(&receiver.url("/"), LONG)).await;
        assert_eq!((outcome.result, outcome.retry_after), (Ok(status), want));
    }
}

#[tokio::test]
async fn refused_and_unresolved() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let outcome = egress().send(KEY, post(&format!("http://{at}/"), LONG)).await;
    assert_eq!((outcome.result, outcome.peer), (Err(ErrorKind::Refused), Some(at)));
    assert!(outcome.phases.connect.is_some());

    let options = EgressOptions { policy: loopback(), names: fixed(&[]), ..EgressOptions::default() };
    let outcome = Egress::new(options).unwrap().send(KEY, post("http://nowhere.example/", LONG)).await;
    assert_eq!((outcome.result, outcome.peer), (Err(ErrorKind::Dns), None));
    assert!(outcome.phases.dns.is_some() && outcome.phases.connect.is_none());
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let (receiver, _) = answering(OK).await;
    // Nothing listens at 127.0.0.2 on the receiver's port.
    let names = fixed(&[("two.example", &["127.0.0.2", "127.0.0.1"])]);
    let egress = Egress::new(EgressOptions { policy: loopback(), names, ..EgressOptions::default() }).unwrap();
    let url = format!("http://two.example:{}/", receiver.at.port());
    let outcome = egress.send(KEY, post(&url, LONG)).await;
    assert_eq!((outcome.result, outcome.peer), (Ok(200), Some(receiver.at)));
    assert!(outcome.phases.dns.is_some());
}

#[tokio::test]
async fn a_silent_name_server_is_a_dns_failure_at_the_deadline() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let names = Names::Servers(vec![silent.local_addr().unwrap()]);
    let egress = Egress::new(EgressOptions { policy: loopback(), names, ..EgressOptions::default() }).unwrap();
    let outcome = egress.send(KEY, post("http://receiver.example/", SHORT)).await;
    assert_eq!(outcome.result, Err(ErrorKind::Dns));
    assert!(outcome.phases.dns.unwrap() >= SHORT && outcome.duration < SHORT * 3, "{outcome:?}");
    let known = egress.send(KEY, post("http://localhost:1/", SHORT)).await;
    assert_ne!(known.result, Err(ErrorKind::Dns), "the hosts file needs no name server");
    rows::covered(
        &["F23"],
        "a_silent_name_server_is_a_dns_failure_at_the_deadline",
        "ends at the deadline of the attempt",
    );
}

#[tokio::test]
async fn reset_before_and_after_the_request() {
    for after_request in [false, true] {
        let mut receiver = Receiver::start().await;
        let (egress, url) = (egress(), receiver.url("/"));
        let sending = tokio::spawn(async move { egress.send(KEY, post(&url, LONG)).await });
        let mut stream = receiver.accept().await;
        if after_request {
            read_request(&mut stream).await.unwrap();
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        assert_eq!(sending.await.unwrap().result, Err(ErrorKind::Reset), "after the request: {after_request}");
        assert_eq!(receiver.connections(), 1, "a fresh connection is not replaced");
    }
}

#[tokio::test]
async fn half_an_answer_is_a_reset() {
    for half in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let mut receiver = Receiver::start().await;
        let (egress, url) = (egress(), receiver.url("/"));
        let sending = tokio::spawn(async move { egress.send(KEY, post(&url, LONG)).await });
        let mut stream = receiver.accept().await;
        read_request(&mut stream).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        drop(stream);
        assert_eq!(sending.await.unwrap().result, Err(ErrorKind::Reset), "{half:?}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let mut receiver = Receiver::start().await;
    let outcome = egress().send(KEY, post(&receiver.url("/"), SHORT)).await;
    assert_eq!(outcome.result, Err(ErrorKind::Timeout));
    assert!(outcome.duration >= SHORT && outcome.duration < SHORT * 3, "{outcome:?}");
    assert_eq!(outcome.phases.first_byte, None);
    let mut stream = receiver.accept().await;
    read_request(&mut stream).await.unwrap();
    assert_eq!(read_request(&mut stream).await, None, "the connection was closed at the deadline");
}

#[tokio::test]
async fn a_dripping_head_ends_at_the_total_deadline() {
    let mut receiver = Receiver::start().await;
    let (egress, url) = (egress(), receiver.url("/"));
    let sending = tokio::spawn(async move { egress.send(KEY, post(&url, SHORT)).await });
    let mut stream = receiver.accept().await;
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ").await.unwrap();
        loop {
            tick.tick().await;
            if stream.write_all(b"x").await.is_err() {
                return;
            }
        }
    });
    let outcome = sending.await.unwrap();
    assert_eq!(outcome.result, Err(ErrorKind::Timeout));
    assert!(outcome.duration < SHORT * 3, "{outcome:?}");
    dripping.await.unwrap();
    rows::covered(&["F16"], "a_dripping_head_ends_at_the_total_deadline", "ends at the deadline of the attempt");
}

#[tokio::test]
async fn an_unread_request_ends_at_the_deadline() {
    let receiver = Receiver::start().await;
    let mut request = post(&receiver.url("/"), SHORT);
    request.body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
    assert_eq!(egress().send(KEY, request).await.result, Err(ErrorKind::Timeout));
}

#[tokio::test]
async fn the_status_line_decides_and_endless_bodies_are_cut_off() {
    let piece = &[b'x'; 8192];
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    ] {
        let receiver = endless(head, piece).await;
        let egress = egress();
        let outcome = egress.send(KEY, post(&receiver.url("/"), LONG)).await;
        assert_eq!(outcome.result, Ok(200), "{head:?}");
        assert!(outcome.duration < Duration::from_secs(2));
        while egress.drains.available_permits() != DRAINS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(egress.idle_connections(), 0, "{head:?}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_waited_for_briefly_and_in_the_background() {
    let (receiver, _) = answering("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n").await;
    let (slow, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let egress = egress();
    let outcome = egress.send(KEY, post(&slow.url("/"), LONG)).await;
    assert_eq!(outcome.result, Ok(200));
    assert!(outcome.duration < DRAIN_MAX, "{outcome:?}");
    assert_eq!(egress.drains.available_permits(), DRAINS_MAX - 1);
    assert_eq!(egress.send(KEY, post(&receiver.url("/"), LONG)).await.result, Ok(204));
    let all = u32::try_from(DRAINS_MAX).unwrap();
    let _all_given_back = timeout(DRAIN_MAX * 3, egress.drains.acquire_many(all)).await.unwrap().unwrap();
    assert_eq!(egress.idle_connections(), 1, "the one whose answer was complete");
}

#[tokio::test]
async fn what_is_not_http_is_a_bad_response() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(200));
    let long_header = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    let answers: [&[u8]; 14] = [
        b"<html>hello</html>",
        b"hello\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 000 Zero\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\0\0\0\0\0\0",
        many_headers.as_bytes(),
        long_header.as_bytes(),
    ];
    for answer in answers {
        let (receiver, _) = answering(answer).await;
        let egress = egress();
        let outcome = egress.send(KEY, post(&receiver.url("/"), LONG)).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]);
        assert_eq!(outcome.result, Err(ErrorKind::BadResponse), "{shown}");
        assert_eq!(egress.idle_connections(), 0);
    }
}

#[tokio::test]
async fn a_peer_that_speaks_first_is_a_bad_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let greeting = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        read_request(&mut stream).await;
    });
    assert_eq!(egress().send(KEY, post(&url, LONG)).await.result, Err(ErrorKind::BadResponse));
    greeting.await.unwrap();
}

#[tokio::test]
async fn floods_before_the_answer_are_bad_responses() {
    for (head, piece) in [
        ("", &b"HTTP/1.1 100 Continue\r\n\r\n"[..]),
        ("", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\n", b"X-Flood: y\r\n"),
        ("HTTP/1.1 200 OK\r\nX: ", b"yyyyyyyyyyyyyyyy"),
        ("HTTP/1.1 200 ", b"yyyyyyyyyyyyyyyy"),
        ("", b"\r\n"),
    ] {
        let receiver = endless(head, piece).await;
        let outcome = egress().send(KEY, post(&receiver.url("/"), LONG)).await;
        assert_eq!(outcome.result, Err(ErrorKind::BadResponse), "{head:?} {:?}", String::from_utf8_lossy(piece));
        assert!(outcome.duration < LONG / 2);
    }
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let (receiver, _) = answering(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n{OK}")).await;
    assert_eq!(egress().send(KEY, post(&receiver.url("/"), LONG)).await.result, Ok(200));
}

#[tokio::test]
async fn an_answer_that_is_wanted_comes_along() {
    let token = "{\"access_token\":\"t\"}";
    let (whole, _) = answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{token}", token.len())).await;
    let egress = egress();
    let (outcome, body) = egress.fetch(KEY, post(&whole.url("/"), LONG), 1024).await;
    assert_eq!((outcome.result, body.as_deref()), (Ok(200), Some(token.as_bytes())));
    assert_eq!(egress.idle_connections(), 1);
    let (outcome, body) = egress.fetch(KEY, post(&whole.url("/"), LONG), 4).await;
    assert_eq!((outcome.result, body), (Ok(200), None), "longer than wanted");

    let (broken, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let (outcome, body) = egress.fetch(KEY, post(&broken.url("/"), SHORT), 1024).await;
    assert_eq!((outcome.result, body), (Ok(200), None), "never complete");

    let long = endless("HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096]).await;
    let (outcome, body) = egress.fetch(KEY, post(&long.url("/"), LONG), usize::MAX).await;
    assert_eq!((outcome.result, body), (Ok(200), None), "never more than 64 KiB");
}

#[tokio::test]
async fn the_pool_is_bounded_per_webhook() {
    let (receiver, _) = answering(OK).await;
    let egress = Arc::new(egress());
    let url = receiver.url("/");
    let sends: Vec<_> = (0..100)
        .map(|_| {
            let (egress, url) = (Arc::clone(&egress), url.clone());
            tokio::spawn(async move { egress.send(KEY, post(&url, LONG)).await.result })
        })
        .collect();
    for send in sends {
        assert_eq!(send.await.unwrap(), Ok(200));
    }
    assert!(egress.idle_connections() <= 64, "{}", egress.idle_connections());
}
