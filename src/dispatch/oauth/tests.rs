//! Tokens under paused time, with an authorization server and a receiver that follow a script.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::domain::attempt::Phases;
use crate::domain::credentials::ClientTls;
use crate::domain::filter::Filter;
use crate::domain::retry::{Backoff, RetryPlan};
use crate::domain::time::Timestamp;
use crate::egress::{TlsProblem, TlsProfile};

const AGENT: HeaderValue = HeaderValue::from_static("postrider/test");
const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What one exchange comes to, and how long it takes.
type Step = (Result<u16, ErrorKind>, Duration, Option<Bytes>);

/// By how many requests there were before.
type Server = dyn Fn(usize) -> Step + Send + Sync;

/// By what is shown to the receiver.
type Receiver = dyn Fn(&str) -> (u16, Duration) + Send + Sync;

struct Script {
    server: Box<Server>,
    receiver: Box<Receiver>,
    asked: AtomicUsize,
    asking: AtomicUsize,
    most_asking: AtomicUsize,
    requests: Mutex<Vec<(u64, Request)>>,
    deliveries: Mutex<Vec<(u64, String)>>,
}

struct Asking<'a>(&'a AtomicUsize);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn shown(&self) -> Vec<String> {
        self.deliveries.lock().unwrap().iter().map(|(_, shown)| shown.clone()).collect()
    }
}

async fn take(step: Duration, timeout: Duration) -> bool {
    sleep(step.min(timeout)).await;
    step < timeout
}

fn ended(result: Result<u16, ErrorKind>, began: Instant) -> Outcome {
    Outcome { result, duration: began.elapsed(), phases: Phases::default(), peer: None, retry_after: None }
}

impl Transport for Script {
    fn tls_profile(&self, _: &ClientTls) -> Result<Option<TlsProfile>, TlsProblem> {
        Ok(None)
    }

    fn send<'a>(&'a self, key: u64, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(async move {
            let began = Instant::now();
            let shown = request.headers.get(AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
            let (code, takes) = (self.receiver)(&shown);
            self.deliveries.lock().unwrap().push((key, shown));
            let in_time = take(takes, request.timeout).await;
            ended(if in_time { Ok(code) } else { Err(ErrorKind::Timeout) }, began)
        })
    }

    fn fetch<'a>(
        &'a self,
        key: u64,
        request: Request,
        body_max: usize,
    ) -> Pin<Box<dyn Future<Output = (Outcome, Option<Bytes>)> + Send + 'a>> {
        Box::pin(async move {
            let began = Instant::now();
            let timeout = request.timeout;
            self.requests.lock().unwrap().push((key, request));
            let (result, takes, body) = (self.server)(self.asked.fetch_add(1, Ordering::SeqCst));
            let asking = self.asking.fetch_add(1, Ordering::SeqCst) + 1;
            let _asking = Asking(&self.asking);
            self.most_asking.fetch_max(asking, Ordering::SeqCst);
            if !take(takes, timeout).await {
                return (ended(Err(ErrorKind::Timeout), began), None);
            }
            (ended(result, began), body.filter(|body| body.len() <= body_max))
        })
    }
}

struct Bed {
    script: Arc<Script>,
    tokens: Arc<Tokens>,
    clock: Clock,
}

fn bed(
    server: impl Fn(usize) -> Step + Send + Sync + 'static,
    receiver: impl Fn(&str) -> (u16, Duration) + Send + Sync + 'static,
) -> Bed {
    let script = Arc::new(Script {
        server: Box::new(server),
        receiver: Box::new(receiver),
        asked: AtomicUsize::default(),
        asking: AtomicUsize::default(),
        most_asking: AtomicUsize::default(),
        requests: Mutex::default(),
        deliveries: Mutex::default(),
    });
    let clock = Clock::simulated(Timestamp::from_millis(0));
    let tokens = Arc::new(Tokens::new(Arc::<Script>::clone(&script), clock));
    Bed { script, tokens, clock }
}

impl Bed {
    async fn token(&self, webhook: &Webhook) -> Result<String, String> {
        let deadline = self.clock.elapsed() + TIMEOUT;
        let token = self.tokens.access_token(webhook, &AGENT, deadline).await;
        token.map(|token| token.authorization.expose().to_owned()).map_err(|failure| failure.detail)
    }

    /// Many who ask at once, each in a task of its own.
    async fn tokens_of(&self, webhook: &Webhook, count: usize) -> Vec<Result<String, String>> {
        let asking = (0..count).map(|_| {
            let (tokens, webhook, deadline) =
                (Arc::clone(&self.tokens), webhook.clone(), self.clock.elapsed() + TIMEOUT);
            tokio::spawn(async move { tokens.access_token(&webhook, &AGENT, deadline).await })
        });
        let asking: Vec<_> = asking.collect();
        let mut answers = Vec::new();
        for one in asking {
            let answer = one.await.unwrap();
            answers.push(answer.map(|token| token.authorization.expose().to_owned()).map_err(|failure| failure.detail));
        }
        answers
    }

    async fn send(&self, webhook: &Webhook) -> (Outcome, Option<String>) {
        let (outcome, failure) = self.tokens.send(webhook, &AGENT, || delivery(webhook)).await;
        (outcome, failure.map(|failure| failure.detail))
    }
}

fn delivery(webhook: &Webhook) -> Request {
    let url = Url::parse(&webhook.url).unwrap();
    Request {
        url,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        timeout: webhook.timeout,
        tls: None,
        slot: None,
    }
}

fn webhook(number: u8) -> Webhook {
    Webhook {
        id: WebhookId::new(Timestamp::from_millis(1), number.into()),
        version: 1,
        name: "w".to_owned(),
        url: "https://receiver.example/".to_owned(),
        event_types: vec!["*".to_owned()],
        active: true,
        paused: false,
        headers: Vec::new(),
        signing_key: None,
        retry: RetryPlan { count: 1, interval: SECOND, backoff: Backoff::Fixed, interval_max: SECOND },
        timeout: TIMEOUT,
        max_in_flight: 8,
        rate_per_second: None,
        ordered: false,
        filter: Filter::default(),
        failure_email: None,
        oauth: Some(OAuth {
            endpoint: "https://auth.example/token?tenant=a".to_owned(),
            token: Some(Secret::new("canary-credential".to_owned())),
            request: Some(Secret::new("grant_type=client_credentials&client_secret=canary".to_owned())),
        }),
        tls: ClientTls::default(),
        created_at: Timestamp::from_millis(1),
        updated_at: Timestamp::from_millis(1),
        updated_by: "test".to_owned(),
        deleted_at: None,
    }
}

/// A fresh token each time, `t0` first.
fn issue(number: usize, expires_in: &str) -> Step {
    let body = format!("{{\"access_token\":\"t{number}\",\"token_type\":\"bearer\"{expires_in}}}");
    (Ok(200), Duration::from_millis(50), Some(Bytes::from(body)))
}

fn issuing(takes: Duration) -> impl Fn(usize) -> Step + Send + Sync + 'static {
    move |number| (Ok(200), takes, issue(number, ",\"expires_in\":600").2)
}

fn content(_: &str) -> (u16, Duration) {
    (200, Duration::from_millis(10))
}

fn bearer(number: usize) -> Result<String, String> {
    Ok(format!("Bearer t{number}"))
}

#[tokio::test(start_paused = true)]
async fn a_token_is_used_until_shortly_before_its_end() {
    // What the server says, and from when on there is another one: its life less a tenth of it, or a minute.
    let cases = [
        (",\"expires_in\":600", 540),
        (",\"expires_in\":\"600\"", 540),
        (",\"expires_in\":100", 90),
        (",\"expires_in\":3600.0", 3540),
        ("", 270),
        (",\"expires_in\":null", 270),
        (",\"expires_in\":\"soon\"", 270),
        (",\"expires_in\":1e300", 86_340),
        (",\"expires_in\":18446744073709551615", 86_340),
        (",\"expires_in\":\"inf\"", 86_340),
    ];
    for (expires_in, seconds) in cases {
        let bed = bed(move |number| issue(number, expires_in), content);
        let webhook = webhook(1);
        let began = Instant::now();
        assert_eq!(bed.token(&webhook).await, bearer(0), "{expires_in}");
        // The life counts from when it was asked for, whatever the answer took.
        advance(Duration::from_secs(seconds) - began.elapsed() - Duration::from_millis(1)).await;
        assert_eq!(bed.token(&webhook).await, bearer(0), "{expires_in}");
        advance(Duration::from_millis(2)).await;
        assert_eq!(bed.token(&webhook).await, bearer(1), "{expires_in}");
        assert_eq!(bed.script.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_life_is_used_once() {
    for expires_in in [",\"expires_in\":0", ",\"expires_in\":-5", ",\"expires_in\":\"-1\"", ",\"expires_in\":\"nan\""] {
        let bed = bed(move |number| issue(number, expires_in), content);
        for number in 0..3 {
            assert_eq!(bed.token(&webhook(1)).await, bearer(number), "{expires_in}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_who_ask_at_once_are_one_request() {
    let bed = bed(issuing(SECOND), content);
    let answers = bed.tokens_of(&webhook(1), 100).await;
    assert!(answers.iter().all(|answer| *answer == bearer(0)), "{answers:?}");
    assert_eq!(bed.script.asked(), 1);
    // Each webhook is a client of its own.
    assert_eq!(bed.token(&webhook(2)).await, bearer(1));
}

#[tokio::test(start_paused = true)]
async fn when_whoever_asks_goes_away_the_next_one_asks() {
    let bed = bed(issuing(2 * SECOND), content);
    let webhook = webhook(1);
    let leader = {
        let (tokens, webhook, deadline) = (Arc::clone(&bed.tokens), webhook.clone(), bed.clock.elapsed() + TIMEOUT);
        tokio::spawn(async move { tokens.access_token(&webhook, &AGENT, deadline).await.is_ok() })
    };
    while bed.script.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let followers = bed.tokens_of(&webhook, 5);
    let aborted = async {
        sleep(SECOND).await;
        leader.abort();
        leader.await.unwrap_err().is_cancelled()
    };
    let (answers, aborted) = tokio::join!(followers, aborted);
    assert!(aborted);
    assert!(answers.iter().all(|answer| *answer == bearer(1)), "{answers:?}");
    assert_eq!((bed.script.asked(), bed.script.most_asking.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_does_so_until_its_own_deadline() {
    let bed = bed(issuing(5 * SECOND), content);
    let webhook = webhook(1);
    let (first, second) = tokio::join!(bed.token(&webhook), async {
        let began = Instant::now();
        let deadline = bed.clock.elapsed() + SECOND;
        let answer = bed.tokens.access_token(&webhook, &AGENT, deadline).await;
        (answer.unwrap_err().detail, began.elapsed())
    });
    assert_eq!(first, bearer(0));
    assert_eq!(second, ("no answer of the authorization server within 1s".to_owned(), SECOND));
    assert_eq!(bed.script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_wait_and_forgotten_after_a_moment() {
    let refusing = |number| if number == 0 { (Ok(401), SECOND, None) } else { issue(number, "") };
    let bed = bed(refusing, content);
    let webhook = webhook(1);
    let answers = bed.tokens_of(&webhook, 100).await;
    let refused = Err("the authorization server answered 401".to_owned());
    assert!(answers.iter().all(|answer| *answer == refused), "{answers:?}");
    advance(FAILURE_SHARED - Duration::from_millis(1)).await;
    assert_eq!((bed.token(&webhook).await, bed.script.asked()), (refused, 1));
    advance(Duration::from_millis(1)).await;
    assert_eq!(bed.token(&webhook).await, bearer(1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_ends_the_attempt_at_its_deadline_and_nobody_elses() {
    let bed = bed(issuing(15 * SECOND), content);
    let webhook = webhook(1);
    let (outcome, failure) = bed.send(&webhook).await;
    assert_eq!((outcome.result, outcome.duration), (Err(ErrorKind::Oauth), TIMEOUT));
    assert!(outcome.is_receiver_trouble(), "it is asked gently, like a receiver that does not answer");
    assert_eq!(failure.unwrap(), "no answer of the authorization server within 10s");
    assert_eq!(bed.script.shown(), [""; 0], "nothing is sent without a token");
    // Somebody with more time asks at once, and gets it.
    let patient = Webhook { timeout: 20 * SECOND, ..webhook };
    let (outcome, failure) = bed.send(&patient).await;
    assert_eq!((outcome.result, failure), (Ok(200), None));
    assert_eq!(outcome.duration, 15 * SECOND + Duration::from_millis(10), "the token is part of the attempt");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_timeout_is_the_receivers() {
    let bed = bed(issuing(6 * SECOND), |_| (200, 6 * SECOND));
    let (outcome, failure) = bed.send(&webhook(1)).await;
    assert_eq!((outcome.result, outcome.duration, failure), (Err(ErrorKind::Timeout), TIMEOUT, None));
    let (outcome, _) = bed.send(&webhook(1)).await;
    assert_eq!((outcome.result, outcome.duration), (Ok(200), 6 * SECOND), "the token is there now");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_settings_asks_anew_and_any_other_does_not() {
    let bed = bed(issuing(SECOND), content);
    let mut webhook = webhook(1);
    assert_eq!(bed.token(&webhook).await, bearer(0));
    (webhook.version, webhook.url, webhook.name) = (2, "https://other.example/".to_owned(), "n".to_owned());
    assert_eq!(bed.token(&webhook).await, bearer(0));
    let oauth = webhook.oauth.clone().unwrap();
    let changes = [
        OAuth { endpoint: "https://auth.example/other".to_owned(), ..oauth.clone() },
        OAuth { token: None, ..oauth.clone() },
        OAuth { request: Some(Secret::new("x=y".to_owned())), ..oauth },
    ];
    for (number, change) in (1..).zip(changes) {
        webhook.oauth = Some(change);
        assert_eq!(bed.token(&webhook).await, bearer(number));
    }
    bed.tokens.retain(|id| id == webhook.id);
    assert_eq!(bed.token(&webhook).await, bearer(3));
    bed.tokens.retain(|_| false);
    assert_eq!(bed.token(&webhook).await, bearer(4));
}

#[tokio::test(start_paused = true)]
async fn a_401_of_the_receiver_brings_one_fresh_token() {
    let bed = bed(issuing(SECOND), |shown| (if shown == "Bearer t0" { 401 } else { 200 }, SECOND));
    let (outcome, failure) = bed.send(&webhook(1)).await;
    assert_eq!((outcome.result, failure), (Ok(200), None));
    assert_eq!(outcome.duration, 4 * SECOND, "one attempt: token, 401, token, 200");
    assert_eq!(bed.script.shown(), ["Bearer t0", "Bearer t1"]);
    let keys: Vec<u64> = bed.script.deliveries.lock().unwrap().iter().map(|(key, _)| *key).collect();
    assert!(bed.script.requests.lock().unwrap().iter().all(|(key, _)| !keys.contains(key)), "no shared connections");
    bed.send(&webhook(1)).await;
    assert_eq!((bed.script.asked(), bed.script.shown().len()), (2, 3), "the fresh one is kept");
}

#[tokio::test(start_paused = true)]
async fn a_second_401_stands() {
    let bed = bed(issuing(SECOND), |_| (401, SECOND));
    let (outcome, failure) = bed.send(&webhook(1)).await;
    assert_eq!((outcome.result, failure, bed.script.asked()), (Ok(401), None, 2));
    assert_eq!(bed.script.shown(), ["Bearer t0", "Bearer t1"]);
    // The next attempt begins with what is known, so a receiver that likes none costs one token each.
    bed.send(&webhook(1)).await;
    assert_eq!(bed.script.shown()[2..], ["Bearer t1", "Bearer t2"]);
    assert_eq!(bed.script.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn any_other_answer_is_no_reason_for_another_token() {
    for code in [200, 204, 302, 400, 403, 407, 410, 500] {
        let bed = bed(issuing(SECOND), move |_| (code, SECOND));
        assert_eq!(bed.send(&webhook(1)).await.0.result, Ok(code));
        assert_eq!((bed.script.asked(), bed.script.shown().len()), (1, 1), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_with_no_time_left_stands_and_a_failed_second_token_is_a_failure() {
    let late = bed(issuing(SECOND), |_| (401, 9 * SECOND - Duration::from_millis(100)));
    let (outcome, failure) = late.send(&webhook(1)).await;
    assert_eq!((outcome.result, failure, late.script.asked()), (Ok(401), None, 1));
    let refusing = |number| if number == 0 { issue(0, "") } else { (Ok(403), SECOND, None) };
    let refused = bed(refusing, |_| (401, SECOND));
    let (outcome, failure) = refused.send(&webhook(1)).await;
    assert_eq!(outcome.result, Err(ErrorKind::Oauth));
    assert_eq!(failure.unwrap(), "the authorization server answered 403");
    assert_eq!(outcome.duration, Duration::from_millis(2_050));
}

#[tokio::test(start_paused = true)]
async fn many_401s_of_one_token_are_one_request() {
    let bed = bed(issuing(SECOND), |shown| (if shown == "Bearer t0" { 401 } else { 200 }, SECOND));
    let webhook = webhook(1);
    let outcomes = tokio::join!(bed.send(&webhook), bed.send(&webhook), bed.send(&webhook), bed.send(&webhook));
    for (outcome, _) in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
        assert_eq!(outcome.result, Ok(200));
    }
    assert_eq!(bed.script.asked(), 2);
    // Whoever comes late with the old one does not throw away the new one.
    let deadline = bed.clock.elapsed() + TIMEOUT;
    let current = bed.tokens.access_token(&webhook, &AGENT, deadline).await.unwrap();
    let old = AccessToken { authorization: Arc::new(Secret::new("Bearer t0".to_owned())) };
    bed.tokens.reject(&webhook, &old);
    assert_eq!(bed.token(&webhook).await, bearer(1));
    bed.tokens.reject(&webhook, &current);
    assert_eq!(bed.token(&webhook).await, bearer(2));
}

#[tokio::test(start_paused = true)]
async fn every_failure_has_its_words_and_nothing_from_outside() {
    let large = format!("{{\"access_token\":\"{}\"}}", "x".repeat(10 << 20));
    let cases: [(Step, &str); 9] = [
        ((Ok(400), SECOND, Some(Bytes::from_static(b"{\"error\":\"canary\"}"))), "answered 400"),
        ((Ok(302), SECOND, None), "redirects are not followed"),
        ((Ok(200), SECOND, Some(Bytes::from(large))), "larger than 64 KiB"),
        ((Ok(200), SECOND, Some(Bytes::from_static(b"<html>canary"))), "not a JSON object"),
        ((Err(ErrorKind::Dns), SECOND, None), "does not resolve"),
        ((Err(ErrorKind::Blocked), SECOND, None), "[egress] does not permit it"),
        ((Err(ErrorKind::Tls), SECOND, None), "TLS"),
        ((Err(ErrorKind::ConnectTimeout), SECOND, None), "no connection"),
        ((Err(ErrorKind::Timeout), SECOND, None), "in time"),
    ];
    for (step, expected) in cases {
        let bed = bed(move |_| step.clone(), content);
        let (outcome, failure) = bed.send(&webhook(1)).await;
        let failure = failure.unwrap();
        assert_eq!((outcome.result, outcome.duration), (Err(ErrorKind::Oauth), SECOND));
        assert!(failure.contains(expected) && !failure.contains("canary"), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_is_asked_as_entered_and_nothing_shows_a_secret() {
    let bed = bed(issuing(SECOND), content);
    let deadline = bed.clock.elapsed() + TIMEOUT;
    let token = bed.tokens.access_token(&webhook(1), &AGENT, deadline).await.unwrap();
    let (_, request) = bed.script.requests.lock().unwrap().remove(0);
    assert_eq!(request.url.as_str(), "https://auth.example/token?tenant=a");
    let header = |name: &str| request.headers[name].to_str().unwrap();
    assert_eq!(header("accept"), "application/json");
    assert_eq!(header("user-agent"), "postrider/test");
    assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(header("authorization"), "Bearer canary-credential");
    assert_eq!(request.body, "grant_type=client_credentials&client_secret=canary");
    let shown = format!("{token:?} {:?} {:?} {:?}", token.header(), bed.tokens, request.headers);
    assert!(!shown.contains("t0") && !shown.contains("canary"), "{shown}");
    let bare = Webhook { oauth: Some(OAuth { token: None, ..webhook(1).oauth.unwrap() }), ..webhook(1) };
    bed.token(&bare).await.unwrap();
    assert!(!bed.script.requests.lock().unwrap()[0].1.headers.contains_key("authorization"));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_without_oauth_is_sent_as_it_is() {
    let bed = bed(issuing(SECOND), |_| (401, SECOND));
    let (outcome, failure) = bed.send(&Webhook { oauth: None, ..webhook(1) }).await;
    assert_eq!((outcome.result, failure), (Ok(401), None));
    assert_eq!((bed.script.asked(), bed.script.shown().as_slice()), (0, [String::new()].as_slice()));
}
