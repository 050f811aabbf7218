//! F40: stores that earlier versions made (`tests/fixtures`), opened by the binary under test.
//!
//! Each says of itself what it held. It is opened many times with a kill in between before it may live, because that is when
//! a change of format is most in danger; after that everything must be there: rows, secrets, and what was still to be sent.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::bed::{Context, Report};
use crate::daemon::{Settings, Site};
use crate::ledger::sha256;
use crate::receiver::Receiver;

/// Kills while it opens.
const KILLS: u64 = 50;

/// The secrets that `make-store.sh` gave to its webhooks.
const SECRETS: [(&str, &str, &str); 4] = [
    ("delivered", "signing_key", "blackbox-signing-key-0123456789abcdef"),
    ("delivered", "headers.X-Api-Key", "secret-of-the-fixture"),
    ("off", "oauth.token", "token-of-the-fixture"),
    ("off", "oauth.request", "grant_type=client_credentials"),
];

pub(crate) async fn stores_of_earlier_versions(context: Context) -> anyhow::Result<Report> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut stores: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    stores.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    stores.sort();
    anyhow::ensure!(!stores.is_empty(), "there are no stores");
    let (mut rows, mut sent) = (0, 0);
    for (number, store) in stores.iter().enumerate() {
        let work = context.work.join(number.to_string());
        let (more_rows, more_sent) =
            open(&context, store, &work).await.with_context(|| format!("{}", store.display()))?;
        rows += more_rows;
        sent += more_sent;
    }
    Ok(Report::Held(format!("stores={} kills_each={KILLS} rows={rows} then_sent={sent} lost=0", stores.len())))
}

async fn open(context: &Context, store: &Path, work: &Path) -> anyhow::Result<(usize, usize)> {
    let state = work.join("state");
    std::fs::create_dir_all(&state)?;
    let untar = Command::new("tar").arg("-xpf").arg(store).arg("-C").arg(&state).output()?;
    anyhow::ensure!(untar.status.success(), "tar: {}", String::from_utf8_lossy(&untar.stderr));
    let mut expected = HashMap::new();
    for name in ["webhooks.jsonl", "deliveries.jsonl"] {
        expected.insert(name, rows(&std::fs::read_to_string(state.join(name))?)?);
        std::fs::remove_file(state.join(name))?;
    }
    std::fs::remove_file(state.join("key"))?;
    let site = Site::create(&context.binary, work, state, Settings::default())?;
    // They do not get old before the suite does.
    let text = std::fs::read_to_string(&site.config)?.replace("[retention]\n", "[retention]\ndays = 3650\n");
    std::fs::write(&site.config, text)?;

    let mut moments = context.rng().fork(40);
    for _ in 0..KILLS {
        let daemon = site.spawn()?;
        tokio::time::sleep(Duration::from_millis(moments.between(0, 60))).await;
        daemon.kill()?;
    }
    let mut daemon = site.start().await?;
    daemon.wait_for(Duration::from_secs(20), "searchable", |status| status["index"]["state"] == "ready").await?;
    let webhooks = site.cli_ok(&["webhook", "list", "--json"]).await?;
    compare("webhook", &expected["webhooks.jsonl"], &rows(&webhooks)?, &["lane"])?;
    let deliveries = site.cli_ok(&["delivery", "list", "--all", "--json"]).await?;
    compare("delivery", &expected["deliveries.jsonl"], &rows(&deliveries)?, &[])?;
    for (webhook, field, secret) in SECRETS {
        let shown = site.cli_ok(&["webhook", "reveal", webhook, field, "--json"]).await?;
        anyhow::ensure!(shown.contains(secret), "{webhook}: {field} is no longer {secret}: {shown}");
    }
    let types = site.cli_ok(&["event", "types"]).await?;
    anyhow::ensure!(types.contains("FIXTURE_EVENT"), "the event type of its own is gone");
    let sent = send_the_rest(context, &site, &expected["deliveries.jsonl"]).await?;
    site.cli_ok(&["verify"]).await?;
    daemon.stop().await?;
    Ok((expected.values().map(HashMap::len).sum(), sent))
}

/// What was waiting goes out: every one once, the bytes that were posted, signed with the key of then.
async fn send_the_rest(context: &Context, site: &Site, deliveries: &Rows) -> anyhow::Result<usize> {
    let receiver = Receiver::start(&context.rng()).await?;
    site.cli_ok(&["webhook", "set", "waiting", &format!("url={}", receiver.url("/waiting"))]).await?;
    site.cli_ok(&["webhook", "resume", "waiting"]).await?;
    let waiting: Vec<&Value> = deliveries.values().filter(|row| row["state"] == "pending").collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while receiver.taken_len("/waiting") < waiting.len() {
        anyhow::ensure!(Instant::now() < deadline, "{} of {} were sent", receiver.taken_len("/waiting"), waiting.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::ensure!(receiver.duplicates() == 0, "{} were sent twice", receiver.duplicates());
    for receipt in receiver.receipts() {
        let reference = &receipt.reference;
        let posted = match reference.strip_prefix("fixture-") {
            Some(number) => format!(
                "{{ \"scanRef\" :\"fixture-{number}\",  \"n\": 1.50e+02, \"u\":\"\\u00e9\\/\" , \"dup\":1,\"dup\":2}}\n"
            ),
            // Written in a way that the receiver does not look for.
            None if reference.is_empty() => "{\"n\": 7, \"scanRef\": \"fixture-own\"}\n".to_owned(),
            None => anyhow::bail!("an event {reference:?} that nobody posted"),
        };
        anyhow::ensure!(receipt.body == sha256(posted.as_bytes()), "{reference}: other bytes than were posted");
        let signed = receipt.body_signature_ok && receipt.standard_signature_ok;
        anyhow::ensure!(signed, "{reference}: wrong signature");
        anyhow::ensure!(receipt.attempt == Some(1), "{reference}: attempt {:?}", receipt.attempt);
    }
    Ok(waiting.len())
}

/// By id.
type Rows = HashMap<String, Value>;

fn rows(lines: &str) -> anyhow::Result<Rows> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let id = row["id"].as_str().context("a row without an id")?.to_owned();
        Ok((id, row))
    };
    lines.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

/// Every field that was told then is told now; fields may have been added.
fn compare(what: &str, then: &Rows, now: &Rows, but: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(then.len() == now.len(), "{} rows of kind {what} then, {} now", then.len(), now.len());
    for (id, row) in then {
        let found = now.get(id).with_context(|| format!("the {what} {id} is gone"))?;
        let fields = row.as_object().context("a row that is no object")?;
        for (field, value) in fields.iter().filter(|(field, _)| !but.contains(&field.as_str())) {
            anyhow::ensure!(&found[field] == value, "{what} {id}: {field} was {value} and is {}", found[field]);
        }
    }
    Ok(())
}
