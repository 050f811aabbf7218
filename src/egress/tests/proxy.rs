//! Exchanges by way of a proxy, and proxies that do not do as they should.

use tokio::io::copy_bidirectional;

use super::tls::{authority, issued, serve};
use super::*;

/// A stream of either kind.
trait Wire: AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Wire for S {}

/// A proxy that leads every tunnel to one address and answers every other request itself. Heads that it was sent.
async fn proxy(to: SocketAddr, tls: Option<tokio_rustls::TlsAcceptor>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, tls) = (Arc::clone(&seen), tls.clone());
            tokio::spawn(async move {
                let mut stream: Box<dyn Wire> = match tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                    None => Box::new(stream),
                };
                while let Some(request) = read_request(&mut stream).await {
                    let is_tunnel = request.starts_with("CONNECT ");
                    seen.lock().unwrap().push(request);
                    let answer = if is_tunnel { "HTTP/1.1 200 Connection established\r\n\r\n" } else { OK };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    if is_tunnel {
                        let mut receiver = TcpStream::connect(to).await.unwrap();
                        let _ = copy_bidirectional(&mut stream, &mut receiver).await;
                        return;
                    }
                }
            });
        }
    });
    (at, heads)
}

fn options(proxy: &str) -> EgressOptions {
    // Names of receivers are not in it: they are the proxy's to resolve.
    let names = fixed(&[("proxy.example", &["127.0.0.1"])]);
    let proxy = Proxy::new(&Url::parse(proxy).unwrap());
    assert!(proxy.is_some());
    EgressOptions { policy: loopback(), names, proxy, ..EgressOptions::default() }
}

#[tokio::test]
async fn an_https_receiver_is_reached_through_a_tunnel() {
    let authority = authority();
    let ca = temporary_file(&authority.pem());
    for over_tls in [false, true] {
        let (receiver, saw) = serve(issued(&authority, "hook.example", false)).await;
        let acceptor = over_tls.then(|| issued(&authority, "proxy.example", false));
        let (at, heads) = proxy(receiver.at, acceptor).await;
        let scheme = if over_tls { "https" } else { "http" };
        let url = format!("{scheme}://joe:p%40ss@proxy.example:{}", at.port());
        let egress = Egress::new(EgressOptions { ca_file: Some(ca.path().to_owned()), ..options(&url) }).unwrap();
        let mut request = post("https://hook.example:8443/x?secret=1", LONG);
        request.headers.insert(USER_AGENT, "postrider/test".parse().unwrap());
        request.headers.insert("authorization", "Bearer hidden".parse().unwrap());
        let outcome = egress.send(KEY, request.clone()).await;
        assert_eq!((outcome.result, outcome.peer), (Ok(200), Some(at)), "{scheme}");
        assert!(outcome.phases.dns.is_some() && outcome.phases.connect.is_some() && outcome.phases.tls.is_some());
        let seen = heads.lock().unwrap().clone();
        let [head] = &seen[..] else { panic!("one tunnel") };
        // joe:p@ss
        let expected = "CONNECT hook.example:8443 HTTP/1.1\r\nHost: hook.example:8443\r\nUser-Agent: postrider/test\r\n\
                        Proxy-Authorization: Basic am9lOnBAc3M=\r\n\r\n";
        assert_eq!(head, expected, "and nothing of the request");
        assert_eq!(*saw.server_names.lock().unwrap(), ["hook.example"]);

        while egress.idle_connections() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(egress.send(KEY, request).await.result, Ok(200));
        assert_eq!(receiver.connections(), 1, "the tunnel is used again");
    }
}

#[tokio::test]
async fn an_http_receiver_is_reached_by_handing_the_request_on() {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let (at, requests) = proxy(nobody, None).await;
    let egress = Egress::new(options(&format!("http://joe@{at}"))).unwrap();
    for _ in 0..2 {
        assert_eq!(egress.send(KEY, post("http://hook.example/x?y=z", LONG)).await.result, Ok(200));
        while egress.idle_connections() == 0 {
            tokio::task::yield_now().await;
        }
    }
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let lines: Vec<_> = request.lines().collect();
        assert_eq!(lines[0], "POST http://hook.example/x?y=z HTTP/1.1");
        assert!(lines.contains(&"Proxy-Authorization: Basic am9lOg=="), "{request}");
        assert!(lines.contains(&"Host: hook.example"), "{request}");
        assert!(request.ends_with("{\"a\":1}"));
    }
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_the_url_itself_forbids() {
    let (at, heads) = proxy("127.0.0.1:9".parse().unwrap(), None).await;
    let egress = Egress::new(options(&format!("http://{at}"))).unwrap();
    for host in ["169.254.169.254", "10.0.0.1", "[::ffff:10.0.0.1]", "[fd00::1]", "0x7f.1", "127.0.0.1"] {
        let allowed =
            Egress::new(EgressOptions { policy: AddressPolicy::default(), ..options(&format!("http://{at}")) })
                .unwrap();
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}/");
            assert_eq!(allowed.send(KEY, post(&url, LONG)).await.result, Err(ErrorKind::Blocked), "{url}");
            assert!(allowed.check_url(&Url::parse(&url).unwrap()).await.is_err(), "{url}");
        }
    }
    assert_eq!(heads.lock().unwrap().len(), 0);
    // A name that does not resolve here may do so there.
    egress.check_url(&Url::parse("https://unknown.example/").unwrap()).await.unwrap();
    rows::covered(
        &["T4"],
        "a_proxy_is_not_asked_for_what_the_url_itself_forbids",
        "12 denied addresses, 0 requests to the configured proxy",
    );
}

#[tokio::test]
async fn what_is_no_tunnel_has_its_kind_and_no_byte_is_sent() {
    let answers: [(&[u8], ErrorKind); 8] = [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", ErrorKind::Refused),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", ErrorKind::Refused),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ErrorKind::Refused),
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", ErrorKind::ConnectTimeout),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", ErrorKind::BadResponse),
        (b"HTTP/1.1 200 OK\r\n\r\nspoken too early", ErrorKind::BadResponse),
        (b"", ErrorKind::Reset),
        (b"HTTP/1.1 30", ErrorKind::Reset),
    ];
    for (answer, kind) in answers {
        let mut receiver = Receiver::start().await;
        let egress = Egress::new(options(&format!("http://{}", receiver.at))).unwrap();
        let sent = tokio::spawn(async move { egress.send(KEY, post("https://hook.example/", LONG)).await });
        let mut stream = receiver.accept().await;
        let request = read_request(&mut stream).await.unwrap();
        assert!(request.starts_with("CONNECT hook.example:443 HTTP/1.1\r\n"), "{request}");
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(sent.await.unwrap().result, Err(kind), "{}", String::from_utf8_lossy(answer));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "after {}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn a_proxy_that_never_stops_or_never_answers_is_left() {
    for (head, piece) in
        [("", &b"HTTP/1.1 100 Continue\r\n\r\n"[..]), ("HTTP/1.1 200 OK\r\n", b"X-A: aaaaaaaaaaaaaaaa\r\n")]
    {
        let receiver = endless(head, piece).await;
        let egress = Egress::new(options(&format!("http://{}", receiver.at))).unwrap();
        let result = egress.send(KEY, post("https://hook.example/", LONG)).await.result;
        assert!(matches!(result, Err(ErrorKind::BadResponse | ErrorKind::Reset)), "{result:?}");
    }
    let mut receiver = Receiver::start().await;
    let egress = Egress::new(options(&format!("http://{}", receiver.at))).unwrap();
    let outcome = egress.send(KEY, post("https://hook.example/", SHORT)).await;
    assert_eq!(outcome.result, Err(ErrorKind::ConnectTimeout));
    let mut stream = receiver.accept().await;
    read_request(&mut stream).await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "and the connection is closed");
}

#[tokio::test]
async fn the_receiver_behind_a_proxy_is_verified() {
    let authority = authority();
    let ca = temporary_file(&authority.pem());
    let (receiver, saw) = serve(issued(&authority, "other.example", false)).await;
    let (at, _) = proxy(receiver.at, None).await;
    let egress =
        Egress::new(EgressOptions { ca_file: Some(ca.path().to_owned()), ..options(&format!("http://{at}")) }).unwrap();
    let probe = egress.probe(post("https://hook.example/", LONG), None).await;
    assert_eq!(probe.outcome.result, Err(ErrorKind::Tls));
    assert_eq!(probe.trace.tls_failure, Some(TlsFailure::WrongName));
    assert_eq!(probe.trace.proxy, Some(format!("http://{at}")));
    assert_eq!(saw.bytes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_reload_takes_the_other_way() {
    let (receiver, direct) = answering(OK).await;
    let (at, through) = proxy(receiver.at, None).await;
    let url = receiver.url("/");
    let with = options(&format!("http://{at}"));
    let egress = Egress::new(EgressOptions { proxy: None, ..with.clone() }).unwrap();
    let counts = || (direct.lock().unwrap().len(), through.lock().unwrap().len());
    egress.send(KEY, post(&url, LONG)).await.result.unwrap();
    assert_eq!(counts(), (1, 0));
    egress.update(with.clone()).unwrap();
    egress.send(KEY, post(&url, LONG)).await.result.unwrap();
    egress.update_policy(loopback());
    egress.send(KEY, post(&url, LONG)).await.result.unwrap();
    assert_eq!(counts(), (1, 2));
    egress.update(EgressOptions { proxy: None, ..with }).unwrap();
    egress.send(KEY, post(&url, LONG)).await.result.unwrap();
    assert_eq!(counts(), (2, 2));
}

#[test]
fn user_and_password_are_in_no_text() {
    let proxy = Proxy::new(&Url::parse("https://joe:hunter2@[::1]:3128").unwrap()).unwrap();
    assert_eq!(format!("{proxy} {proxy:?}"), "https://[::1]:3128 Proxy(https://[::1]:3128)");
    assert!(proxy.authorization.unwrap().is_sensitive());
    assert!(Proxy::new(&Url::parse("socks5://h:1").unwrap()).is_none());
}
