//! What must not be reached is not even connected to.

use super::*;

/// Ways to write loopback, and the ways around it that have worked elsewhere.
const LOOPBACK_HOSTS: [&str; 43] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.1.",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7F.0X0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "0177.0.0.01",
    "127.0.0.0x1",
    "00000177.0.0.1",
    "0",
    "0.0.0.0",
    "0x0",
    "0.0.0.0.",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0.0.0.1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "a.b.localhost.",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "127%2e0%2e0%2e1",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
];

#[tokio::test]
async fn no_spelling_of_loopback_connects() {
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = canary.local_addr().unwrap().port();
    let egress = Egress::new(EgressOptions::default()).unwrap();
    for host in LOOPBACK_HOSTS {
        let url = Url::parse(&format!("http://{host}:{port}/")).unwrap();
        let outcome = egress.send(KEY, Request { url: url.clone(), ..post("http://a/", LONG) }).await;
        assert_eq!((outcome.result, outcome.peer), (Err(ErrorKind::Blocked), None), "{host}");
        let problem = egress.check_url(&url).await.unwrap_err().to_string();
        assert!(problem.contains("[egress] allow = [\""), "{host}: {problem}");
        let (outcome, body) = egress.fetch(KEY, Request { url, ..post("http://a/", LONG) }, 100).await;
        assert_eq!((outcome.result, body), (Err(ErrorKind::Blocked), None), "{host}");
    }
    let connected = timeout(SHORT / 4, canary.accept()).await;
    assert!(connected.is_err(), "somebody connected");
}

#[tokio::test]
async fn other_addresses_that_are_not_global_are_blocked() {
    let egress = Egress::new(EgressOptions::default()).unwrap();
    for host in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "2852039166",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
        "[2001:db8::1]",
    ] {
        let outcome = egress.send(KEY, post(&format!("http://{host}/"), SHORT)).await;
        assert_eq!((outcome.result, outcome.peer), (Err(ErrorKind::Blocked), None), "{host}");
    }
}

#[tokio::test]
async fn one_denied_answer_blocks_the_whole_name() {
    let (receiver, _) = answering(OK).await;
    let names = fixed(&[
        ("mixed.example", &["127.0.0.1", "10.0.0.1"]),
        ("mapped.example", &["::ffff:10.0.0.1", "127.0.0.1"]),
        ("public.example", &["8.8.8.8", "169.254.169.254"]),
        ("good.example", &["127.0.0.1"]),
    ]);
    let egress = Egress::new(EgressOptions { policy: loopback(), names, ..EgressOptions::default() }).unwrap();
    let port = receiver.at.port();
    for host in ["mixed.example", "mapped.example", "public.example"] {
        let url = format!("http://{host}:{port}/");
        let outcome = egress.send(KEY, post(&url, LONG)).await;
        assert_eq!((outcome.result, outcome.peer), (Err(ErrorKind::Blocked), None), "{host}");
        assert!(matches!(egress.check_url(&Url::parse(&url).unwrap()).await, Err(UrlProblem::Denied { .. })));
    }
    assert_eq!(receiver.connections(), 0);
    let outcome = egress.send(KEY, post(&format!("http://good.example:{port}/"), LONG)).await;
    assert_eq!(outcome.result, Ok(200));
    rows::covered(&["T2", "F23"], "one_denied_answer_blocks_the_whole_name", "mixed answers: 0 connections");
}

#[tokio::test]
async fn the_refusal_at_save_names_every_address_in_one_line() {
    let names = fixed(&[("lan.example", &["10.0.0.1", "8.8.8.8", "fd00::1"])]);
    let egress = Egress::new(EgressOptions { names, ..EgressOptions::default() }).unwrap();
    let problem = egress.check_url(&Url::parse("https://lan.example/hook").unwrap()).await.unwrap_err();
    assert_eq!(
        problem.to_string(),
        "lan.example: 10.0.0.1 is in a private range (10.0.0.0/8) and fd00::1 is in a unique local range (fc00::/7); \
         to permit them, add to the configuration: [egress] allow = [\"10.0.0.1/32\", \"fd00::1/128\"]"
    );
}

#[tokio::test]
async fn urls_are_judged_by_shape() {
    let names = fixed(&[("a.example", &["8.8.8.8"])]);
    let options = EgressOptions { policy: loopback(), names, ..EgressOptions::default() };
    let egress = Egress::new(options.clone()).unwrap();
    let check = async |egress: &Egress, url: &str| egress.check_url(&Url::parse(url).unwrap()).await;
    for good in [
        "https://a.example/",
        "http://a.example:8080/x?y=z",
        "https://unknown.example/",
        "http://127.0.0.1:1/",
        "https://a.example/%E2%82%AC/a b|c\"d{e}^`[]'<>?q=a b`{|}^'\"<>é",
    ] {
        check(&egress, good).await.unwrap();
    }
    assert!(matches!(check(&egress, "ftp://a.example/").await, Err(UrlProblem::Scheme(scheme)) if scheme == "ftp"));
    assert!(matches!(check(&egress, "file:///etc/passwd").await, Err(UrlProblem::Scheme(_))));
    assert!(matches!(check(&egress, "unix:/run/x.sock").await, Err(UrlProblem::Scheme(_))));
    assert!(matches!(check(&egress, "https://me@a.example/").await, Err(UrlProblem::UserInfo)));
    assert!(matches!(check(&egress, "https://:pw@a.example/").await, Err(UrlProblem::UserInfo)));
    assert!(matches!(check(&egress, "https://a.example:0/").await, Err(UrlProblem::PortZero)));
    let long = format!("https://a.example/{}", "x".repeat(70_000));
    assert!(matches!(check(&egress, &long).await, Err(UrlProblem::Target)));

    egress.update(EgressOptions { allow_http: false, ..options }).unwrap();
    assert!(matches!(check(&egress, "http://a.example/").await, Err(UrlProblem::PlainHttp)));
    check(&egress, "https://a.example/").await.unwrap();
    let (receiver, _) = answering(OK).await;
    assert_eq!(egress.send(KEY, post(&receiver.url("/"), LONG)).await.result, Err(ErrorKind::Blocked));
    assert_eq!(receiver.connections(), 0);
}
