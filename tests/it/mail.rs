//! Mail about failures: days of a mail server that is away, slow to trust, or drops what it was
//! given, under paused time; and the daemon itself with a mail server on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider::alerts::{AlertOptions, Alerts};
use postrider::clock::Clock;
use postrider::domain::email::FailureEmail;
use postrider::domain::id::WebhookId;
use postrider::domain::time::Timestamp;
use postrider::mail::{Letter, MailError, MailFault, Mailer, Receipt};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::mail_server::sink;
use crate::support::world::{START, World};

/// What a mail server makes of a mail, and whether it keeps it.
type Rule = Arc<dyn Fn(Timestamp, usize, &Letter) -> (Result<Receipt, MailError>, bool) + Send + Sync>;

/// A mail server that remembers.
#[derive(Clone)]
struct Post {
    clock: Clock,
    rule: Arc<Mutex<Rule>>,
    tries: Arc<Mutex<Vec<Timestamp>>>,
    kept: Arc<Mutex<Vec<(Timestamp, Letter)>>>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Post")
    }
}

fn fault(fault: MailFault) -> Result<Receipt, MailError> {
    Err(MailError::new(fault, "no"))
}

impl Post {
    fn new(clock: Clock) -> Self {
        let rule: Rule = Arc::new(|_, _, _| (Ok(Receipt::default()), true));
        Self { clock, rule: Arc::new(Mutex::new(rule)), tries: Arc::default(), kept: Arc::default() }
    }

    fn set(
        &self,
        rule: impl Fn(Timestamp, usize, &Letter) -> (Result<Receipt, MailError>, bool) + Send + Sync + 'static,
    ) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    fn mails(&self) -> Vec<(Timestamp, Letter)> {
        self.kept.lock().unwrap().clone()
    }

    fn subjects(&self) -> Vec<String> {
        self.mails().into_iter().map(|(_, letter)| letter.subject).collect()
    }

    /// Checks that these failures are each in one mail, or in mails of one id; gives their number.
    fn check_each_once(&self, failures: usize) {
        let mut by_delivery: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        for (_, letter) in self.mails() {
            let listed = letter.text.lines().filter_map(|line| line.strip_prefix("  dlv_"));
            let listed: Vec<String> = listed.filter(|line| !line.contains(' ')).map(str::to_owned).collect();
            let more = letter.text.lines().find_map(|line| line.strip_prefix("  … and ")?.strip_suffix(" more"));
            let more: usize = more.map_or(0, |count| count.parse().unwrap());
            counted.insert(letter.message_id.clone(), listed.len() + more);
            for delivery in listed {
                by_delivery.entry(delivery).or_default().insert(letter.message_id.clone());
            }
        }
        assert_eq!(counted.values().sum::<usize>(), failures, "{counted:?}");
        assert!(by_delivery.values().all(|mails| mails.len() == 1), "a failure is in two mails");
    }
}

impl Mailer for Post {
    fn send<'a>(&'a self, letter: &'a Letter) -> Pin<Box<dyn Future<Output = Result<Receipt, MailError>> + Send + 'a>> {
        Box::pin(async move {
            let now = self.clock.now();
            let number = {
                let mut tries = self.tries.lock().unwrap();
                tries.push(now);
                tries.len()
            };
            let rule = Arc::clone(&*self.rule.lock().unwrap());
            let (result, keeps) = rule(now, number, letter);
            if keeps {
                self.kept.lock().unwrap().push((now, letter.clone()));
            }
            result
        })
    }
}

struct Setup {
    world: World,
    post: Post,
    folder: TempDir,
    alerts: Alerts,
    task: JoinHandle<()>,
    webhook: WebhookId,
}

fn options(post: &Post) -> AlertOptions {
    AlertOptions {
        mailer: Some(Arc::new(post.clone())),
        from: "postrider@host".to_owned(),
        host: "host".to_owned(),
        digest: Duration::from_mins(15),
        per_hour: 20,
    }
}

fn start(world: &World, path: PathBuf, options: AlertOptions) -> (Alerts, JoinHandle<()>) {
    let alerts = Alerts::new(world.store.clone(), path, options);
    let running = alerts.clone();
    (alerts, tokio::spawn(async move { running.run().await }))
}

fn failure_email(include_body: bool) -> Option<FailureEmail> {
    Some(FailureEmail { to: vec!["a@example.com".to_owned(), "b@example.com".to_owned()], include_body })
}

impl Setup {
    /// A webhook whose receiver always answers 503 and that is never tried twice.
    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        world.until_ready().await;
        world.receivers.set("aml", |_| (503, Duration::from_millis(5)));
        let webhook = world.webhook("aml", 0, 60, 8).await;
        world.change(webhook, |webhook| webhook.failure_email = failure_email(false)).await;
        let post = Post::new(world.clock);
        let folder = tempfile::tempdir().unwrap();
        let (alerts, task) = start(&world, folder.path().join("mail.json"), options(&post));
        // The queue is there: what fails from here on is told.
        while !folder.path().join("mail.json").exists() {
            pass(1).await;
        }
        Self { world, post, folder, alerts, task, webhook }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mail.json")
    }

    async fn fail(&self, count: usize) {
        for number in 0..count {
            self.world.post(&format!("ref-{number}"), "{\"secret\":\"canary-payload\"}").await.unwrap();
        }
        self.world.until_idle(Duration::from_hours(1)).await;
    }

    /// The task is gone from one moment to the next, and another begins with what is in the file.
    async fn crash(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        (self.alerts, self.task) = start(&self.world, self.path(), options(&self.post));
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_so_is_the_end_of_it() {
    let setup = Setup::new(1).await;
    setup.fail(3).await;
    pass(10).await;
    assert_eq!(setup.post.subjects(), ["[postrider] aml: 3 deliveries failed (503)"]);
    let (_, letter) = &setup.post.mails()[0];
    assert_eq!(letter.to, ["a@example.com", "b@example.com"]);
    assert!(letter.text.contains("SOS_REPORT, scanRef ref-2\n"), "{}", letter.text);
    assert!(!letter.text.contains("canary"), "payloads stay here unless the webhook says otherwise");
    setup.world.receivers.set("aml", |_| (200, Duration::from_millis(5)));
    setup.world.post("fine", "{}").await.unwrap();
    pass(70).await;
    assert_eq!(setup.post.subjects()[1..], ["[postrider] aml: recovered"]);
    pass(7200).await;
    assert_eq!(setup.post.mails().len(), 2, "and that is all");
    let report = setup.alerts.report();
    assert_eq!((report.waiting, report.held_failures, report.failing), (0, 0, false));
    setup.post.check_each_once(3);
}

#[tokio::test(start_paused = true)]
async fn a_resend_that_fails_and_a_webhook_that_wants_no_mail_are_not_told() {
    let setup = Setup::new(2).await;
    setup.world.receivers.set("quiet", |_| (500, Duration::from_millis(5)));
    setup.world.webhook("quiet", 0, 60, 8).await;
    setup.fail(1).await;
    let failed = setup.world.find("ref-0").await;
    for found in failed {
        setup.world.dispatcher.resend(found.id, "test").await.unwrap();
    }
    pass(3600).await;
    assert_eq!(setup.post.subjects(), ["[postrider] aml: 1 delivery failed (503)"]);
    // From the moment it wants mail it gets mail, about what fails then.
    let quiet = setup.world.store.config().webhook("quiet").unwrap().id;
    setup.world.change(quiet, |webhook| webhook.failure_email = failure_email(false)).await;
    setup.world.change(setup.webhook, |webhook| webhook.failure_email = None).await;
    setup.fail(2).await;
    pass(3600).await;
    assert_eq!(setup.post.subjects()[1..], ["[postrider] quiet: 2 deliveries failed (500)"]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_failures_in_an_hour_are_five_mails_at_most() {
    let setup = Setup::new(3).await;
    for _ in 0..100 {
        for number in 0..100 {
            setup.world.post(&format!("r{number}"), "{}").await.unwrap();
        }
        pass(35).await;
    }
    setup.world.until_idle(Duration::from_hours(1)).await;
    assert_eq!(setup.world.clock.now().since(START).as_secs() / 3600, 0);
    pass(3600).await;
    assert!(setup.post.mails().len() <= 5, "{:?}", setup.post.subjects());
    setup.post.check_each_once(10_000);
    covered(
        &["T15"],
        "ten_thousand_failures_in_an_hour_are_five_mails_at_most",
        format!("10,000 failures in an hour: {} mails, each failure in one", setup.post.mails().len()),
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_for_a_day_loses_nothing_and_holds_nothing_up() {
    let setup = Setup::new(4).await;
    let until = START.plus(Duration::from_hours(24));
    setup.post.set(
        move |now, _, _| if now < until { (fault(MailFault::Server), false) } else { (Ok(Receipt::default()), true) },
    );
    for _ in 0..24 {
        setup.fail(10).await;
        assert_eq!(setup.world.dispatcher.load(), (0, 0));
        pass(3600).await;
    }
    let report = setup.alerts.report();
    assert!(report.failing && report.waiting == 1 && report.held_failures == 240, "{report:?}");
    let tries = setup.post.tries.lock().unwrap().clone();
    let gaps: Vec<u64> = tries.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    assert!(gaps.iter().all(|gap| (60..=4600).contains(gap)) && tries.len() > 20, "{gaps:?}");
    pass(3 * 3600).await;
    setup.post.check_each_once(240);
    assert_eq!(setup.post.mails().len(), 2);
    assert!(!setup.alerts.report().failing);
    covered(
        &["F27"],
        "a_server_that_is_down_for_a_day_loses_nothing_and_holds_nothing_up",
        "24 h down: 240 failures told once each in 2 mails, deliveries ended in time",
    );
}

#[tokio::test(start_paused = true)]
async fn greylisting_refusals_and_lost_ends_settle_each_recipient() {
    let mut setup = Setup::new(5).await;
    // Greylists everybody, then one; refuses the other for good.
    setup.post.set(|_, number, letter| match number {
        1 => (fault(MailFault::Later), false),
        2 => {
            let failed = vec![
                ("a@example.com".to_owned(), MailError::new(MailFault::Refused, "550 nobody")),
                ("b@example.com".to_owned(), MailError::new(MailFault::Later, "450 come back")),
            ];
            assert_eq!(letter.to.len(), 2);
            (Ok(Receipt { failed }), false)
        }
        _ => (Ok(Receipt::default()), true),
    });
    setup.fail(1).await;
    pass(600).await;
    let mails = setup.post.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].1.to, ["b@example.com"]);
    assert_eq!(setup.alerts.report().last_error.as_deref(), Some("550 nobody"));
    // Takes a mail and drops the connection: it comes again, recognisably, also over a crash.
    setup
        .post
        .set(|_, number, _| if number < 6 { (fault(MailFault::Later), true) } else { (Ok(Receipt::default()), true) });
    pass(1800).await;
    setup.fail(1).await;
    pass(100).await;
    setup.crash().await;
    pass(1800).await;
    let ids: BTreeSet<String> = setup.post.mails().into_iter().skip(1).map(|(_, letter)| letter.message_id).collect();
    assert_eq!(ids.len(), 1);
    assert!(setup.post.mails().len() > 2);
    setup.post.check_each_once(2);
    // Refused for good: given up, told in the status, and not tried again.
    setup.post.set(|_, _, _| (fault(MailFault::Refused), false));
    let before = setup.post.tries.lock().unwrap().len();
    setup.fail(1).await;
    pass(7200).await;
    assert_eq!(setup.post.tries.lock().unwrap().len(), before + 1);
    let report = setup.alerts.report();
    assert!(report.failing && report.waiting == 0 && report.held_failures == 0, "{report:?}");
    covered(
        &["F27"],
        "greylisting_refusals_and_lost_ends_settle_each_recipient",
        "greylisted, refused, connection lost after the mail: each recipient settled, one Message-ID",
    );
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_stays_full_does_not_keep_mail_from_the_others() {
    let setup = Setup::new(12).await;
    setup.post.set(|_, _, letter| {
        let full = letter.to.iter().filter(|to| to.starts_with("a@"));
        let failed: Vec<_> = full.map(|to| (to.clone(), MailError::new(MailFault::Later, "452 full"))).collect();
        let keeps = letter.to.len() > failed.len();
        (Ok(Receipt { failed }), keeps)
    });
    for _ in 0..20 {
        setup.fail(1).await;
        pass(1000).await;
    }
    assert_eq!(setup.post.mails().len(), 20);
    setup.post.check_each_once(20);
    assert!(setup.alerts.report().waiting <= 5);
}

#[tokio::test(start_paused = true)]
async fn after_five_days_a_mail_is_given_up() {
    let setup = Setup::new(6).await;
    setup.post.set(|_, _, _| (fault(MailFault::Server), false));
    setup.fail(1).await;
    pass(5 * 86_400 - 60).await;
    assert_eq!(setup.alerts.report().waiting, 1);
    pass(300).await;
    let report = setup.alerts.report();
    assert_eq!(report.waiting, 0);
    assert!(report.failing && report.last_error.unwrap().contains("within 5 days"));
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_neither_forgets_nor_repeats() {
    let mut setup = Setup::new(7).await;
    let mut failed = 0;
    for round in 0..40_u64 {
        setup.fail(3).await;
        failed += 3;
        // From before anything was taken in until after the mail is gone.
        tokio::time::sleep(Duration::from_millis(round * 97)).await;
        setup.crash().await;
        pass(if round % 2 == 0 { 0 } else { 1000 }).await;
    }
    pass(3600).await;
    setup.post.check_each_once(failed);
}

#[tokio::test(start_paused = true)]
async fn a_storm_that_nobody_follows_is_read_from_the_journal() {
    let mut setup = Setup::new(8).await;
    setup.task.abort();
    let _ = (&mut setup.task).await;
    // More than is held for whoever does not come.
    for _ in 0..50 {
        setup.fail(100).await;
    }
    setup.world.receivers.set("aml", |_| (200, Duration::from_millis(5)));
    setup.fail(1).await;
    (setup.alerts, setup.task) = start(&setup.world, setup.path(), options(&setup.post));
    pass(120).await;
    setup.post.check_each_once(5_000);
    assert!(setup.post.subjects().last().unwrap().contains("recovered"), "{:?}", setup.post.subjects());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_an_hour_and_none_is_dropped() {
    let setup = Setup::new(9).await;
    setup.alerts.reconfigure(AlertOptions { per_hour: 3, ..options(&setup.post) });
    for number in 0..10 {
        let name = format!("w{number}");
        setup.world.receivers.set(&name, |_| (500, Duration::from_millis(5)));
        let id = setup.world.webhook(&name, 0, 60, 8).await;
        setup.world.change(id, |webhook| webhook.failure_email = failure_email(false)).await;
    }
    setup.fail(1).await;
    pass(3000).await;
    assert_eq!(setup.post.mails().len(), 3);
    pass(4 * 3600).await;
    assert_eq!(setup.post.mails().len(), 11);
    setup.post.check_each_once(11);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_webhook_has_a_last_word_and_payloads_go_along_when_wanted() {
    let setup = Setup::new(10).await;
    setup.world.change(setup.webhook, |webhook| webhook.failure_email = failure_email(true)).await;
    setup.fail(1).await;
    pass(10).await;
    let (_, first) = &setup.post.mails()[0];
    assert_eq!(first.attachments.len(), 1);
    assert_eq!(first.attachments[0].bytes, b"{\"secret\":\"canary-payload\"}");
    assert!(!first.text.contains("canary"));
    setup.fail(1).await;
    let now = setup.world.clock.now();
    setup.world.change(setup.webhook, |webhook| webhook.deleted_at = Some(now)).await;
    pass(60).await;
    setup.world.store.forget_webhook(setup.webhook, "test").await.unwrap();
    pass(7200).await;
    assert_eq!(setup.post.mails().len(), 2, "what was not told, and no recovery");
    setup.post.check_each_once(2);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_queue_is_moved_aside_and_mail_goes_on() {
    let mut setup = Setup::new(11).await;
    setup.task.abort();
    let _ = (&mut setup.task).await;
    std::fs::write(setup.path(), "{\"version\":1,").unwrap();
    (setup.alerts, setup.task) = start(&setup.world, setup.path(), options(&setup.post));
    pass(5).await;
    let report = setup.alerts.report();
    assert!(report.failing && report.last_error.unwrap().contains("mail.damaged-"));
    setup.fail(1).await;
    pass(10).await;
    assert_eq!(setup.post.mails().len(), 1);
    assert_eq!(std::fs::read_dir(setup.folder.path()).unwrap().count(), 2);
}

#[test]
fn the_daemon_mails_what_failed_and_tells_how_mailing_goes() {
    let (port, mails) = sink();
    let daemon = Daemon::start(&format!("[email]\nsmtp = \"smtp://127.0.0.1:{port}\"\nfrom = \"p@example.org\"\n"));
    let body = json!({
        "name": "aml", "url": "http://127.0.0.1:9/hook?token=canary", "event_types": ["*"],
        "retry": {"count": 0, "interval_seconds": 1}, "failure_email": {"to": ["ops@example.com"]},
    });
    assert_eq!(daemon.admin("POST /v1/webhooks", &body.to_string()).status, 201);
    let tested = daemon.cli(&["email", "test", "me@example.com"]);
    assert!(tested.status.success(), "{tested:?}");
    assert!(mails.lock().unwrap()[0].contains("Subject: [postrider] a test"));
    let refused = daemon.cli(&["email", "test", "refused@example.com"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nobody of that name"), "{refused:?}");
    assert_eq!(daemon.admin("POST /v1/email/test", "{\"to\":\"a@b\\r\\nRCPT TO:<x@y>\"}").status, 400);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"8f3a\",\"name\":\"canary\"}").status, 202);
    let mail = daemon.until("a mail", |_| mails.lock().unwrap().get(1).cloned());
    for expected in ["From: p@example.org", "To: ops@example.com", "aml: 1 delivery failed (refused)", "scanRef 8f3a"] {
        assert!(mail.contains(expected), "{expected}\n{mail}");
    }
    assert!(!mail.contains("canary"), "{mail}");
    let status = daemon.until("the status tells", |daemon| {
        let status = daemon.admin("GET /v1/status", "").json();
        let sent = status["email"]["last_sent_at"].is_string() && status["email"]["waiting"] == 0;
        sent.then_some(status)
    });
    assert_eq!((&status["email"]["configured"], &status["email"]["held_failures"]), (&json!(true), &json!(0)));
    let shown = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("nothing waits, the last went out at"), "{shown}");
}

#[test]
fn webhooks_that_want_mail_where_there_is_none_are_a_problem() {
    let daemon = Daemon::start("[email]\nsmtp = \"\"\n");
    let body = json!({
        "name": "aml", "url": "http://127.0.0.1:9/", "event_types": ["*"], "failure_email": {"to": ["ops@example.com"]},
    });
    assert_eq!(daemon.admin("POST /v1/webhooks", &body.to_string()).status, 201);
    let problems = daemon.admin("GET /v1/status", "").json()["problems"].to_string();
    assert!(problems.contains("set [email] smtp"), "{problems}");
    assert_eq!(daemon.cli(&["email", "test", "me@example.com"]).status.code(), Some(1));
}
