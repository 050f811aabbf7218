//! What every scenario starts from: an installation, a receiver, the ledger, and two webhooks.
//!
//! Webhook `now` is delivered at once. Webhook `later` is paused while events come in and resumed after the fault,
//! so that every acknowledged event has to be read back from the store: what was delivered before a fault would
//! otherwise hide that it was lost in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::{Daemon, Settings, Site};
use crate::ledger::Ledger;
use crate::oracle;
use crate::poster::{Load, Plan, Target};
use crate::receiver::Receiver;
use crate::rng::Rng;

pub(crate) const NOW: &str = "/now";
pub(crate) const LATER: &str = "/later";
pub(crate) const BOTH: [&str; 2] = [NOW, LATER];

/// How long a drained backlog may take; a few thousand deliveries on two busy cores.
pub(crate) const SETTLE_WITHIN: Duration = Duration::from_secs(90);

/// What the command line and the environment asked for.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) binary: PathBuf,
    pub(crate) seed: u64,
    /// A directory of this scenario's own; the ledger lies here.
    pub(crate) work: PathBuf,
    pub(crate) rounds_kill: u64,
    pub(crate) rounds_power: u64,
    pub(crate) rounds_backup: u64,
    pub(crate) rounds_stop: u64,
    pub(crate) rounds_restart: u64,
}

impl Context {
    pub(crate) fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }
}

/// How a scenario ended, if not in an error.
#[derive(Debug)]
pub(crate) enum Report {
    /// With the figures to print.
    Held(String),
    Skipped(String),
}

pub(crate) struct Bed {
    pub(crate) site: Site,
    pub(crate) receiver: Receiver,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
}

impl Bed {
    pub(crate) async fn new(context: &Context, state: PathBuf, settings: Settings) -> anyhow::Result<Self> {
        let rng = context.rng();
        let ledger = Ledger::create(&context.work.join("acks.ledger"), context.seed)?;
        Ok(Self {
            site: Site::create(&context.binary, &context.work, state, settings)?,
            receiver: Receiver::start(&rng).await?,
            ledger: Arc::new(ledger),
            rng,
        })
    }

    /// The state on the machine's own disk, default settings.
    pub(crate) async fn plain(context: &Context) -> anyhow::Result<Self> {
        Self::new(context, context.work.join("state"), Settings::default()).await
    }

    /// The first start of an installation, with its two webhooks.
    pub(crate) async fn first_start(&self) -> anyhow::Result<Daemon> {
        let daemon = self.site.start().await?;
        self.site.create_webhook("now", &self.receiver.url(NOW)).await?;
        self.site.create_webhook("later", &self.receiver.url(LATER)).await?;
        Ok(daemon)
    }

    pub(crate) fn load(&mut self, target: &Target, plan: Plan) -> Load {
        // Other bodies in every round, the same ones again with the same seed.
        self.rng = self.rng.fork(1);
        Load::start(target, &self.ledger, &self.rng, plan)
    }

    pub(crate) async fn settle(&self, daemon: &mut Daemon, paths: &[&str]) -> anyhow::Result<Duration> {
        oracle::settle(daemon, &self.ledger, &self.receiver, paths, SETTLE_WITHIN).await
    }

    /// A few of the acknowledged events, always the same ones for the same ledger, looked up by their reference.
    pub(crate) async fn check_searchable(&self, sample: usize) -> anyhow::Result<()> {
        let mut references: Vec<_> = self.ledger.acked().into_values().map(|ack| ack.reference).collect();
        references.sort();
        let step = (references.len() / sample.max(1)).max(1);
        for reference in references.iter().step_by(step) {
            self.site.find_within(reference, Duration::from_secs(10)).await?;
        }
        Ok(())
    }
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
