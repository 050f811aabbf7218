//! F23, F24, T20: name servers that do not answer, and a network that is not there.
//!
//! Half of a thousand webhooks is in a zone that dies; what the other half notices is what counts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;

use crate::bed::{Context, Report, milliseconds};
use crate::daemon::{Daemon, Site};
use crate::http::Connection;
use crate::ledger::Ledger;
use crate::name_server::{NameServer, Told};
use crate::names::{PUBLIC, create, site_without_exceptions};
use crate::netns::{self, NAME_SERVER};
use crate::poster::{Target, post_all};
use crate::receiver::{Behaviour, Receiver};

const WEBHOOKS: usize = 500;
const EVENTS: usize = 6;
const MOVED: &str = "11.22.33.45";
/// What timers and the scheduler of a busy machine add to any latency.
const NOISE: Duration = Duration::from_millis(50);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is an address"))
}

fn addresses() -> Vec<String> {
    vec![format!("{PUBLIC}/32"), format!("{MOVED}/32")]
}

/// Everything that a name server can do to those who ask.
fn dead(name: &str, asked: u64) -> Told {
    if !name.ends_with("dead.test") {
        return Told::Addresses(vec![ip(PUBLIC)]);
    }
    match (name.len() + usize::try_from(asked).unwrap_or_default()) % 8 {
        0 => Told::ServerFailure,
        1 => Told::NoSuchName,
        2 => Told::Late(Duration::from_secs(20), vec![ip(PUBLIC)]),
        // None of them is ours: whoever dials the first few finds nobody.
        3 => Told::Addresses((0..1_000_u32).map(|number| IpAddr::from((0x5000_0000 + number).to_be_bytes())).collect()),
        4 => Told::Alias(name.to_owned()),
        _ => Told::Silence,
    }
}

/// Posts one event after the other, each when all of `/healthy` have the one before; how long each took from post to receipt.
async fn measure(target: &Target, receiver: &Receiver, round: &str) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..EVENTS {
        let mut connection = Connection::tcp(target.address).await?;
        let before = receiver.receipts().len();
        let reference = format!("{round}-{number}");
        let body = Bytes::from(format!("{{ \"scanRef\" :\"{reference}\" }}"));
        let posted = Instant::now();
        let reply = connection.send(target.request(&reference, body)?).await?;
        anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let receipts = receiver.receipts();
            let mine =
                |receipt: &&crate::receiver::Receipt| receipt.reference == reference && receipt.path == "/healthy";
            let came: Vec<Duration> =
                receipts[before..].iter().filter(mine).map(|receipt| receipt.received_at - posted).collect();
            if came.len() >= WEBHOOKS {
                times.extend(came);
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "{round}: {} of {WEBHOOKS} have {reference}", came.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// The healthy half without and with a dead zone beside it. A machine that is busy with something else may spoil a try or two; a
/// daemon whose places are taken spoils all of them, by a factor of forty.
async fn compare(
    names: &NameServer,
    target: &Target,
    receiver: &Receiver,
    daemon: &mut Daemon,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let mut told = Vec::new();
    for number in 0..3 {
        names.tell(|_, _| Told::Addresses(vec![ip(PUBLIC)]));
        daemon.wait_for(Duration::from_secs(180), "done", |status| status["pending"] == 0).await?;
        let well = measure(target, receiver, &format!("well-{number}")).await?;
        daemon.wait_for(Duration::from_secs(60), "done", |status| status["pending"] == 0).await?;
        names.tell(dead);
        let ill = measure(target, receiver, &format!("ill-{number}")).await?;
        let (before, meanwhile) = (percentile(&well, 99), percentile(&ill, 99));
        if meanwhile <= 2 * before + NOISE {
            return Ok((well, ill));
        }
        told.push(format!("{} beside a dead zone, {} without", milliseconds(meanwhile), milliseconds(before)));
    }
    anyhow::bail!("p99 of the healthy: {}", told.join("; "))
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

/// F23, T20. The zone of half of the webhooks dies in every way there is; the other half goes on as before.
pub(crate) async fn dead_zone(context: Context) -> anyhow::Result<Report> {
    if let Some(report) = netns::outside(&context, "dead_zone", &addresses()).await? {
        return Ok(report);
    }
    let names = NameServer::start(NAME_SERVER, |_, _| Told::Addresses(vec![ip(PUBLIC)])).await?;
    let receiver = Receiver::start_at(&context.rng(), ip(PUBLIC)).await?;
    // So that every attempt has to ask for the name.
    receiver.behave("/healthy", Behaviour::Close);
    receiver.behave("/dead", Behaviour::Close);
    let site = site_without_exceptions(&context)?;
    let mut daemon = site.start().await?;
    let port = receiver.port();
    for number in 0..WEBHOOKS {
        for (zone, path) in [("ok", "healthy"), ("dead", "dead")] {
            let url = format!("http://h{number}.{zone}.test:{port}/{path}");
            create(&site, &format!("{path}-{number}"), &url, None, 100).await?;
        }
    }
    let target = daemon.target().await?;
    measure(&target, &receiver, "warm").await?;
    daemon.wait_for(Duration::from_secs(60), "done", |status| status["pending"] == 0).await?;
    let (well, ill) = compare(&names, &target, &receiver, &mut daemon).await?;
    let (before, meanwhile) = (percentile(&well, 99), percentile(&ill, 99));
    let lookups = names.asked("dead.test");
    names.tell(|_, _| Told::Addresses(vec![ip(PUBLIC)]));
    daemon.wait_for(Duration::from_secs(180), "done after the zone is back", |status| status["pending"] == 0).await?;
    let delivered =
        receiver.receipts().iter().filter(|receipt| receipt.path == "/dead" && receipt.answered == 200).count();
    anyhow::ensure!(delivered >= 3 * EVENTS * WEBHOOKS, "{delivered} deliveries to the zone that was dead");
    let moved = follow_a_move(&context, &names, &target, &mut daemon, port).await?;
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "webhooks={} healthy_p50={}/{} healthy_p99={}/{} (with the zone dead/before) dead_lookups={lookups} lost=0 moved={moved}",
        2 * WEBHOOKS,
        milliseconds(percentile(&ill, 50)),
        milliseconds(percentile(&well, 50)),
        milliseconds(meanwhile),
        milliseconds(before),
    )))
}

/// Names that lead elsewhere from now on are followed at the next attempt.
async fn follow_a_move(
    context: &Context,
    names: &NameServer,
    target: &Target,
    daemon: &mut Daemon,
    port: u16,
) -> anyhow::Result<usize> {
    let elsewhere = Receiver::start_on(&context.rng(), (ip(MOVED), port).into()).await?;
    names.tell(|_, _| Told::Addresses(vec![ip(MOVED)]));
    measure(target, &elsewhere, "moved").await?;
    daemon.wait_for(Duration::from_secs(60), "done", |status| status["pending"] == 0).await?;
    let moved = elsewhere.receipts().len();
    anyhow::ensure!(moved == 2 * WEBHOOKS * EVENTS, "{moved} of {} followed", 2 * WEBHOOKS * EVENTS);
    Ok(moved)
}

/// Takes the way to the receiver away, also from connections that are open, or gives it back.
fn network(change: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(["rule", change, "pref", "5", "to", PUBLIC, "unreachable"]).status()?;
    anyhow::ensure!(status.success(), "ip rule {change}");
    Ok(())
}

/// F24. The network goes while events come in, and comes back: all is delivered, by the plan, and not all at once.
pub(crate) async fn network_down(context: Context) -> anyhow::Result<Report> {
    const BACKLOG: usize = 300;
    if let Some(report) = netns::outside(&context, "network_down", &addresses()).await? {
        return Ok(report);
    }
    let receiver = Receiver::start_at(&context.rng(), ip(PUBLIC)).await?;
    let site = site_without_exceptions(&context)?;
    let mut daemon = site.start().await?;
    create(&site, "away", &receiver.url("/away"), None, 100).await?;
    let target = daemon.target().await?;
    let ledger = Ledger::create(&context.work.join("acks.ledger"), context.seed)?;
    post_all(&target, &ledger, &mut context.rng(), 20).await?;
    daemon.wait_for(Duration::from_secs(20), "done", |status| status["pending"] == 0).await?;
    network("add")?;
    post_all(&target, &ledger, &mut context.rng().fork(1), BACKLOG).await?;
    // Down for as long as five attempts of one delivery take.
    let failing = |status: &Value| status["pending"].as_u64() == Some(BACKLOG as u64);
    daemon.wait_for(Duration::from_secs(20), "left with the backlog", failing).await?;
    let failed = wait_for_failures(&site, 5).await?;
    let up = Instant::now();
    network("del")?;
    daemon
        .wait_for(Duration::from_secs(120), "done after the network is back", |status| status["pending"] == 0)
        .await?;
    let receipts = receiver.receipts();
    let back: Vec<_> = receipts.iter().filter(|receipt| receipt.received_at >= up).collect();
    anyhow::ensure!(back.len() == BACKLOG && receiver.duplicates() == 0, "{} of {BACKLOG} came", back.len());
    let start = back.iter().map(|receipt| receipt.received_at).min().context("nothing came")?;
    let at_first = back.iter().filter(|receipt| receipt.received_at - start < Duration::from_secs(1)).count();
    anyhow::ensure!(at_first <= 10, "{at_first} requests in the first second after the network was back");
    let most = back.iter().filter_map(|receipt| receipt.attempt).max().unwrap_or_default();
    anyhow::ensure!(most <= 101, "attempt {most} of 101");
    let mut gap = Duration::MAX;
    for id in &failed {
        gap = gap.min(smallest_gap(&site, id).await?);
    }
    anyhow::ensure!(gap >= Duration::from_millis(1_000), "{} between two attempts, planned is 1 s", milliseconds(gap));
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "backlog={BACKLOG} lost=0 duplicates=0 first_second={at_first} most_attempts={most} of 101 smallest_gap={} of {} deliveries",
        milliseconds(gap),
        failed.len()
    )))
}

/// Waits until some delivery has failed so often, and gives the ids of all that have failed more than once, thirty at most.
async fn wait_for_failures(site: &Site, failures: u64) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = site.cli_ok(&["delivery", "list", "--all", "--json", "--state", "pending"]).await?;
        let rows = rows.lines().map(serde_json::from_str).collect::<Result<Vec<HashMap<String, Value>>, _>>()?;
        let made = |row: &HashMap<String, Value>| row["attempts_made"].as_u64().unwrap_or_default();
        if rows.iter().any(|row| made(row) >= failures) {
            let twice = rows.iter().filter(|row| made(row) > 1).take(30);
            return Ok(twice.filter_map(|row| row["id"].as_str().map(str::to_owned)).collect());
        }
        anyhow::ensure!(Instant::now() < deadline, "no delivery was tried {failures} times");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The shortest time between two attempts of a delivery.
async fn smallest_gap(site: &Site, id: &str) -> anyhow::Result<Duration> {
    let shown: Value = serde_json::from_str(&site.cli_ok(&["delivery", "show", id, "--json"]).await?)?;
    let attempts = shown["attempts"].as_array().context("no attempts")?;
    let mut starts = Vec::new();
    for attempt in attempts {
        let at = attempt["started_at"].as_str().context("an attempt without a time")?;
        starts.push(at.parse::<jiff::Timestamp>()?);
    }
    let gaps = starts.windows(2).map(|pair| pair[1].duration_since(pair[0]).unsigned_abs());
    gaps.min().context("one attempt only")
}
