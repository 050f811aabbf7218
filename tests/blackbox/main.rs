//! Black-box suite: the finished program, real disks, real kills, power cuts.
//!
//! `cargo test --test blackbox -- [--list] [--test-threads N] [FILTER]`. `SEED=` repeats a run; `ROUNDS_KILL=`, `ROUNDS_POWER=`,
//! `ROUNDS_STOP=`, `ROUNDS_RESTART=`, `ROUNDS_BACKUP=`, `SOAK=8h`, `FLAT_OUT=300` and `BACKLOG=1000000` make it longer;
//! `POSTRIDER_BIN=` names another binary, `KEEP=1` leaves the work directories of failed scenarios.
//! The long ones run several at a time, as many as there are processors, the others each alone.
//! A scenario whose prerequisites are missing (root, loop devices, strace) says `SKIP` and why; that is never a pass.
#![expect(clippy::print_stdout, reason = "its standard output is the report")]
#![expect(clippy::disallowed_methods, reason = "a test from outside has only the real clock and environment")]

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

mod activation;
mod answers;
mod backup;
mod bed;
mod bodies;
mod browser;
mod clock;
mod crash;
mod daemon;
mod dead_zone;
mod disk;
mod full_disk;
mod http;
mod index;
mod io_error;
mod ledger;
mod lifecycle;
mod loads;
mod memory;
mod name_server;
mod names;
mod netns;
mod odd_disks;
mod oracle;
mod poster;
mod posters;
mod power;
mod prepared;
mod receiver;
mod rng;
#[path = "../rows.rs"]
mod rows;
mod smuggling;
mod soak;
mod strangers;
mod versions;

use bed::{Context, Report};
use tokio::signal::unix::{SignalKind, signal};

type Running = Pin<Box<dyn Future<Output = anyhow::Result<Report>> + Send>>;

struct Scenario {
    name: &'static str,
    /// What it covers of docs/hostile-world.toml.
    rows: &'static [&'static str],
    run: fn(Context) -> Running,
}

/// Long, and mostly waiting: several of them run at once, before all the others. What they judge is no worse on a machine that does
/// something else as well. The longest first. None with a mount namespace, which would hold the disk of another that is taken away.
const BESIDE: &[&str] = &[
    "backup_under_load",
    "stop_under_load",
    "kill_9_under_load",
    "soak",
    "power_cut",
    "clock_jumps",
    "restart_between_attempts",
    "damaged_index",
    "kill_during_recovery",
];

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "kill_9_under_load", rows: &["F1"], run: |context| Box::pin(crash::kill_9_under_load(context)) },
    Scenario {
        name: "kill_during_recovery",
        rows: &["F2"],
        run: |context| Box::pin(crash::kill_during_recovery(context)),
    },
    Scenario { name: "power_cut", rows: &["F3"], run: |context| Box::pin(power::power_cut(context)) },
    Scenario {
        name: "power_cut_at_first_start",
        rows: &["F6"],
        run: |context| Box::pin(power::power_cut_at_first_start(context)),
    },
    Scenario {
        name: "full_disk_restart",
        rows: &["F11"],
        run: |context| Box::pin(full_disk::full_disk_restart(context)),
    },
    Scenario {
        name: "full_disk_gradual",
        rows: &["F10"],
        run: |context| Box::pin(full_disk::full_disk_gradual(context)),
    },
    Scenario { name: "small_disks", rows: &["F10"], run: |context| Box::pin(odd_disks::small_disks(context)) },
    Scenario { name: "second_ways", rows: &["F14"], run: |context| Box::pin(odd_disks::second_ways(context)) },
    Scenario { name: "damaged_index", rows: &["F13"], run: |context| Box::pin(index::damaged_index(context)) },
    Scenario { name: "backup_under_load", rows: &["F41"], run: |context| Box::pin(backup::backup_under_load(context)) },
    Scenario { name: "second_daemon", rows: &["F14"], run: |context| Box::pin(lifecycle::second_daemon(context)) },
    Scenario {
        name: "restarts_unnoticed",
        rows: &["T9", "F43"],
        run: |context| Box::pin(activation::restarts_unnoticed(context)),
    },
    Scenario { name: "strange_sockets", rows: &["T9"], run: |context| Box::pin(activation::strange_sockets(context)) },
    Scenario { name: "unknown_format", rows: &["F40"], run: |context| Box::pin(lifecycle::unknown_format(context)) },
    Scenario {
        name: "stores_of_earlier_versions",
        rows: &["F40"],
        run: |context| Box::pin(versions::stores_of_earlier_versions(context)),
    },
    Scenario { name: "stop_under_load", rows: &["F43"], run: |context| Box::pin(lifecycle::stop_under_load(context)) },
    Scenario {
        name: "misbehaving_receivers",
        rows: &["F15"],
        run: |context| Box::pin(lifecycle::misbehaving_receivers(context)),
    },
    Scenario { name: "prepared_files", rows: &["T12"], run: |context| Box::pin(prepared::prepared_files(context)) },
    Scenario { name: "soak", rows: &["F44"], run: |context| Box::pin(soak::soak(context)) },
    Scenario {
        name: "hostile_answers",
        rows: &["T5", "F15", "F16", "F17", "F18", "F19"],
        run: |context| Box::pin(answers::hostile_answers(context)),
    },
    Scenario {
        name: "half_open_posters",
        rows: &["T10", "F29"],
        run: |context| Box::pin(posters::half_open_posters(context)),
    },
    Scenario {
        name: "out_of_descriptors",
        rows: &["T10", "F28"],
        run: |context| Box::pin(posters::out_of_descriptors(context)),
    },
    Scenario {
        name: "smuggled_requests",
        rows: &["F31"],
        run: |context| Box::pin(smuggling::smuggled_requests(context)),
    },
    Scenario { name: "hostile_bodies", rows: &["T7"], run: |context| Box::pin(bodies::hostile_bodies(context)) },
    Scenario { name: "browser_pages", rows: &["T11"], run: |context| Box::pin(browser::browser_pages(context)) },
    Scenario { name: "another_user", rows: &["T8"], run: |context| Box::pin(strangers::another_user(context)) },
    Scenario { name: "giant_requests", rows: &["F30"], run: |context| Box::pin(posters::giant_requests(context)) },
    Scenario {
        name: "much_around_little",
        rows: &["F30", "T10"],
        run: |context| Box::pin(posters::much_around_little(context)),
    },
    Scenario { name: "flat_out", rows: &["F39"], run: |context| Box::pin(loads::flat_out(context)) },
    Scenario {
        name: "stopped_for_a_while",
        rows: &["F33"],
        run: |context| Box::pin(loads::stopped_for_a_while(context)),
    },
    Scenario { name: "memory_limit", rows: &["F32"], run: |context| Box::pin(loads::memory_limit(context)) },
    Scenario { name: "backlog", rows: &["F37", "F38"], run: |context| Box::pin(loads::backlog(context)) },
    Scenario { name: "journal_io_error", rows: &["F7"], run: |context| Box::pin(io_error::journal_io_error(context)) },
    Scenario {
        name: "journal_write_error",
        rows: &["F8"],
        run: |context| Box::pin(io_error::journal_write_error(context)),
    },
    Scenario {
        name: "journal_read_error",
        rows: &["F9"],
        run: |context| Box::pin(io_error::journal_read_error(context)),
    },
    Scenario {
        name: "disk_turns_read_only",
        rows: &["F12"],
        run: |context| Box::pin(full_disk::disk_turns_read_only(context)),
    },
    Scenario {
        name: "rebinding_names",
        rows: &["T1", "T2", "F23"],
        run: |context| Box::pin(names::rebinding_names(context)),
    },
    Scenario { name: "dead_zone", rows: &["F23", "T20"], run: |context| Box::pin(dead_zone::dead_zone(context)) },
    Scenario { name: "network_down", rows: &["F24"], run: |context| Box::pin(dead_zone::network_down(context)) },
    Scenario { name: "clock_jumps", rows: &["F34"], run: |context| Box::pin(clock::clock_jumps(context)) },
    Scenario {
        name: "restart_between_attempts",
        rows: &["F35"],
        run: |context| Box::pin(clock::restart_between_attempts(context)),
    },
];

/// No scenario is near this, but for a soak that is asked to be long; a hang in the harness itself must not hold up a CI machine for
/// ever.
const SCENARIO_MAX: Duration = Duration::from_secs(20 * 60);

struct Wish {
    list: bool,
    ignored_only: bool,
    exact: bool,
    threads: usize,
    filter: Option<String>,
    skip: Vec<String>,
}

impl Wish {
    /// Takes what cargo and nextest pass to any test binary, so that the suite runs under both.
    fn from_arguments() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut wish = Self { list: false, ignored_only: false, exact: false, threads, filter: None, skip: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => wish.list = true,
                "--ignored" => wish.ignored_only = true,
                "--exact" => wish.exact = true,
                "--skip" => wish.skip.extend(arguments.next()),
                "--test-threads" => wish.threads = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1),
                "--format" | "--color" => drop(arguments.next()),
                other if other.starts_with('-') => {}
                other => wish.filter = Some(other.to_owned()),
            }
        }
        wish
    }

    fn wants(&self, name: &str) -> bool {
        if self.skip.iter().any(|skip| if self.exact { name == skip } else { name.contains(skip.as_str()) }) {
            return false;
        }
        let Some(filter) = &self.filter else { return true };
        if self.exact { name == filter } else { name.contains(filter.as_str()) }
    }
}

// Scenarios block a thread now and then, and receivers are to answer meanwhile.
#[tokio::main(worker_threads = 4)]
async fn main() -> ExitCode {
    let wish = Wish::from_arguments();
    let chosen: Vec<_> = SCENARIOS.iter().filter(|scenario| wish.wants(scenario.name) && !wish.ignored_only).collect();
    if wish.list {
        for scenario in chosen {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let seed = number("SEED").unwrap_or_else(fresh_seed);
    let verdicts = all(&chosen, wish.threads, seed).await;
    if verdicts.contains(&Verdict::Interrupted) {
        return ExitCode::from(130);
    }
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let failures: Vec<&String> = verdicts
        .iter()
        .filter_map(|verdict| if let Verdict::Failed(line) = verdict { Some(line) } else { None })
        .collect();
    println!("\n{} passed, {} failed, {} skipped", count(Verdict::Passed), failures.len(), count(Verdict::Skipped));
    // Once more: whoever keeps only the end of a long log is to see them.
    for line in &failures {
        println!("{line}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those that bear company first, `threads` of them at a time; then the others, each alone.
async fn all(chosen: &[&'static Scenario], threads: usize, seed: u64) -> Vec<Verdict> {
    let find = |name: &&str| chosen.iter().find(|scenario| scenario.name == *name).copied();
    let beside: Vec<_> = if threads > 1 { BESIDE.iter().filter_map(find).collect() } else { Vec::new() };
    if beside.len() > 1 {
        let names: Vec<_> = beside.iter().map(|scenario| scenario.name).collect();
        println!("{threads} at a time: {}", names.join(", "));
    }
    let (mut verdicts, mut running, mut queue) = (Vec::new(), tokio::task::JoinSet::new(), beside.iter().copied());
    for scenario in queue.by_ref().take(threads) {
        running.spawn(run(scenario, seed));
    }
    while let Some(ended) = running.join_next().await {
        // Whatever a scenario does, it does in a task of its own.
        verdicts.push(ended.unwrap_or_else(|panic| Verdict::Failed(format!("the suite itself: {panic}"))));
        if !verdicts.contains(&Verdict::Interrupted) {
            queue.next().map(|scenario| running.spawn(run(scenario, seed)));
        }
    }
    for scenario in chosen.iter().filter(|scenario| !beside.iter().any(|done| done.name == scenario.name)) {
        if verdicts.contains(&Verdict::Interrupted) {
            break;
        }
        if std::io::stdout().is_terminal() {
            print!("{} ...\r", scenario.name);
            drop(std::io::stdout().flush());
        }
        verdicts.push(run(scenario, seed).await);
    }
    verdicts
}

#[derive(PartialEq)]
enum Verdict {
    Passed,
    /// With what was said of it.
    Failed(String),
    Skipped,
    Interrupted,
}

/// Somebody pressed Ctrl-C, or the CI machine cancelled the job.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

async fn run(scenario: &'static Scenario, seed: u64) -> Verdict {
    let began = Instant::now();
    let outcome = attempt(scenario, seed).await;
    let seconds = began.elapsed().as_secs_f64();
    // In one go, for another may have something to say at the same moment.
    let said = |what: String| {
        let line = format!("{} seed={seed} ... {what}", scenario.name);
        println!("{line}");
        line
    };
    match outcome {
        Ok(Report::Held(figures)) => {
            rows::covered(scenario.rows, scenario.name, &figures);
            said(format!("PASS {seconds:.1} s: {figures}"));
            Verdict::Passed
        }
        Ok(Report::Skipped(reason)) => {
            // The page shows it, so that nobody takes the row for covered.
            rows::covered(scenario.rows, scenario.name, format!("SKIPPED on this machine: {reason}"));
            said(format!("SKIP: {reason}"));
            Verdict::Skipped
        }
        Err(error) if error.is::<Interrupted>() => {
            said(format!("interrupted after {seconds:.1} s"));
            Verdict::Interrupted
        }
        Err(error) => Verdict::Failed(said(format!("FAIL {seconds:.1} s: {error:#}"))),
    }
}

async fn attempt(scenario: &'static Scenario, seed: u64) -> anyhow::Result<Report> {
    let work = tempfile::Builder::new().prefix("postrider-").tempdir()?;
    let context = Context {
        binary: binary(),
        seed,
        work: work.path().to_owned(),
        rounds_kill: number("ROUNDS_KILL").unwrap_or(10),
        rounds_backup: number("ROUNDS_BACKUP").unwrap_or(4),
        rounds_power: number("ROUNDS_POWER").unwrap_or(5),
        rounds_stop: number("ROUNDS_STOP").unwrap_or(5),
        rounds_restart: number("ROUNDS_RESTART").unwrap_or(10),
    };
    // A task of its own, so that a panic is a failure of this scenario and its guards still run.
    let mut task = tokio::task::JoinSet::new();
    task.spawn((scenario.run)(context));
    let most = SCENARIO_MAX + soak::length();
    let outcome = tokio::select! {
        Some(ended) = task.join_next() => ended.unwrap_or_else(|panic| Err(anyhow::anyhow!("{panic}"))),
        () = tokio::time::sleep(most) => Err(anyhow::anyhow!("did not end within {most:?}")),
        () = interruption() => return stopped(task, Interrupted.into()).await,
    };
    let outcome = match outcome {
        Err(error) => stopped(task, error).await,
        held => held,
    };
    if outcome.is_err() {
        show_log(scenario.name, work.path());
        if std::env::var_os("KEEP").is_some() {
            println!("  kept: {}", work.keep().display());
        }
    }
    outcome
}

/// Waits until the guards have killed the daemon and unmounted the disk: the work directory is removed right after.
async fn stopped(mut task: tokio::task::JoinSet<anyhow::Result<Report>>, why: anyhow::Error) -> anyhow::Result<Report> {
    task.shutdown().await;
    Err(why)
}

async fn interruption() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The last words of the daemon are usually the reason; those of the latest installation, where a scenario has several.
fn show_log(name: &str, work: &Path) {
    let folders = std::fs::read_dir(work).into_iter().flatten().flatten().map(|entry| entry.path());
    let logs = folders.chain([work.to_owned()]).map(|folder| folder.join("daemon.log"));
    let latest = logs.max_by_key(|log| log.metadata().and_then(|found| found.modified()).ok());
    let text = latest.and_then(|log| std::fs::read(log).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let last: String = lines[lines.len().saturating_sub(15)..].iter().map(|line| format!("  | {line}\n")).collect();
    print!("the daemon of {name}:\n{last}");
}

fn binary() -> PathBuf {
    std::env::var_os("POSTRIDER_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postrider")), PathBuf::from)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs() ^ u64::from(now.subsec_nanos()))
}
