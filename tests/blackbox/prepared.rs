//! T12. What another local user may have prepared: state directory, files in it, parents and configuration in the wrong
//! hands are refused with exit code 78 and their path, as root and as an ordinary user; a good start leaves nothing open.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bed::{Context, Report};

/// Users that are in no list of any machine.
const OURS: u32 = 65_534;
const FOREIGN: u32 = 64_321;

/// Where everything of one start lies.
struct Place {
    folder: PathBuf,
    state: PathBuf,
    config: PathBuf,
    uid: u32,
}

/// Spoils a place and gives the path that must be named.
type Spoil = fn(&Place) -> anyhow::Result<PathBuf>;

fn mode(path: PathBuf, bits: u32) -> anyhow::Result<PathBuf> {
    fs::set_permissions(&path, Permissions::from_mode(bits))?;
    Ok(path)
}

fn foreign(path: PathBuf) -> anyhow::Result<PathBuf> {
    chown(&path, Some(FOREIGN), None)?;
    Ok(path)
}

/// A link in its place to the thing itself, which works as before for whoever follows it.
fn link(place: &Place, path: PathBuf) -> anyhow::Result<PathBuf> {
    let aside = place.folder.join("aside");
    fs::rename(&path, &aside)?;
    symlink(&aside, &path)?;
    Ok(path)
}

fn second_name(place: &Place, path: PathBuf) -> anyhow::Result<PathBuf> {
    fs::hard_link(&path, place.folder.join("second"))?;
    Ok(path)
}

/// A pipe: whoever opens it to read waits for a writer that never comes.
fn pipe(place: &Place, path: PathBuf) -> anyhow::Result<PathBuf> {
    fs::remove_file(&path)?;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)?;
    chown(&path, Some(place.uid), Some(place.uid))?;
    Ok(path)
}

fn only(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut all = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(fs::DirEntry::file_name);
    Ok(all.first().context("an empty folder")?.path())
}

impl Place {
    fn in_state(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    fn day(&self) -> anyhow::Result<PathBuf> {
        only(&self.in_state("journal"))
    }

    fn segment(&self) -> anyhow::Result<PathBuf> {
        only(&self.day()?)
    }
}

const VARIANTS: &[(&str, Spoil)] = &[
    ("state directory for everybody", |place| mode(place.state.clone(), 0o777)),
    ("state directory for a group", |place| mode(place.state.clone(), 0o770)),
    ("state directory of somebody", |place| foreign(place.state.clone())),
    ("state directory a link", |place| link(place, place.state.clone())),
    ("state directory a file", |place| {
        fs::remove_dir_all(&place.state)?;
        fs::write(&place.state, "")?;
        Ok(place.state.clone())
    }),
    ("journal a link", |place| link(place, place.in_state("journal"))),
    ("journal of somebody", |place| foreign(place.in_state("journal"))),
    ("day for everybody", |place| mode(place.day()?, 0o777)),
    ("segment readable", |place| mode(place.segment()?, 0o644)),
    ("segment a link", |place| link(place, place.segment()?)),
    ("segment with a second name", |place| second_name(place, place.segment()?)),
    ("segment a pipe", |place| pipe(place, place.segment()?)),
    ("index of somebody", |place| foreign(place.in_state("index"))),
    ("master key readable", |place| mode(place.in_state("master.key"), 0o644)),
    ("master key a link", |place| link(place, place.in_state("master.key"))),
    ("master key with a second name", |place| second_name(place, place.in_state("master.key"))),
    ("master key a pipe", |place| pipe(place, place.in_state("master.key"))),
    ("master key of somebody", |place| foreign(place.in_state("master.key"))),
    ("token readable", |place| mode(place.in_state("ingest.token"), 0o644)),
    ("token a link", |place| link(place, place.in_state("ingest.token"))),
    ("lock a link", |place| link(place, place.in_state("lock"))),
    ("lock a pipe", |place| pipe(place, place.in_state("lock"))),
    ("format a link", |place| link(place, place.in_state("FORMAT"))),
    ("mail queue for everybody", |place| mode(place.in_state("mail.json"), 0o666)),
    ("admin socket a file", |place| {
        fs::write(place.in_state("admin.sock"), "")?;
        Ok(place.in_state("admin.sock"))
    }),
    ("admin socket a link", |place| {
        symlink(place.in_state("lock"), place.in_state("admin.sock"))?;
        Ok(place.in_state("admin.sock"))
    }),
    ("parent for everybody", |place| mode(place.folder.clone(), 0o777)),
    ("parent of somebody", |place| foreign(place.folder.clone())),
    ("configuration for everybody", |place| mode(place.config.clone(), 0o666)),
    ("configuration of somebody", |place| foreign(place.config.clone())),
    ("configuration with a password", |place| {
        let text = fs::read_to_string(&place.config)?;
        fs::write(&place.config, format!("{text}[egress]\nproxy = \"http://user:hunter2@127.0.0.1:1\"\n"))?;
        mode(place.config.clone(), 0o644)
    }),
];

pub(crate) async fn prepared_files(context: Context) -> anyhow::Result<Report> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Report::Skipped("needs root, to give files to other users".to_owned()));
    }
    tokio::task::spawn_blocking(move || all(&context)).await?
}

fn all(context: &Context) -> anyhow::Result<Report> {
    fs::set_permissions(&context.work, Permissions::from_mode(0o711))?;
    // Where everybody can run it.
    let binary = context.work.join("postrider");
    fs::copy(&context.binary, &binary)?;
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for uid in [0, OURS] {
        let good = context.work.join(format!("good-{uid}"));
        make_good(&binary, &good, uid)?;
        for (number, (what, spoil)) in VARIANTS.iter().enumerate() {
            let folder = context.work.join(format!("{uid}-{number}"));
            let copied = Command::new("cp").arg("-a").args([&good, &folder]).status()?;
            anyhow::ensure!(copied.success(), "cp -a: {copied}");
            let place = place(folder, uid);
            let named = spoil(&place).with_context(|| format!("{what}, as {uid}"))?;
            let began = Instant::now();
            let (code, said) = run(&binary, &place)?;
            slowest = slowest.max(began.elapsed());
            let named = named.display().to_string();
            anyhow::ensure!(code == Some(78), "{what}, as {uid}: exit {code:?} and not 78: {said}");
            anyhow::ensure!(said.contains(&named), "{what}, as {uid}: {named} is not named: {said}");
            anyhow::ensure!(!said.contains("hunter2"), "{what}, as {uid}: a password is told");
            refused += 1;
        }
    }
    Ok(Report::Held(format!(
        "{refused} prepared places refused with 78 and their path, as root and as user {OURS}, slowest after {} ms; \
         after a good start nothing is open to others but token (0640) and socket (0660)",
        slowest.as_millis()
    )))
}

fn place(folder: PathBuf, uid: u32) -> Place {
    Place { state: folder.join("state"), config: folder.join("postrider.toml"), folder, uid }
}

/// A first start that goes well, and what it leaves.
fn make_good(binary: &Path, folder: &Path, uid: u32) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    let place = place(folder.to_owned(), uid);
    fs::write(
        &place.config,
        "[ingest]\nlisten = \"127.0.0.1:0\"\n[retention]\nmin_free_bytes = 0\nmin_free_percent = 0\n",
    )?;
    for path in [folder, &place.config] {
        chown(path, Some(uid), Some(uid))?;
    }
    let mut daemon = command(binary, &place).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let complete = || ["ingest.token", "admin.sock", "mail.json"].iter().all(|name| place.in_state(name).exists());
    let began = Instant::now();
    while !complete() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let open = Command::new("find").arg(&place.state).args(["-perm", "/077", "-printf", "%P %m\n"]).output()?;
    let pid = i32::try_from(daemon.id()).ok().and_then(rustix::process::Pid::from_raw).context("a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let ended = daemon.wait()?;
    anyhow::ensure!(ended.success(), "the good start, as {uid}, ended with {ended}");
    let open = String::from_utf8(open.stdout)?;
    let mut open: Vec<&str> = open.lines().collect();
    open.sort_unstable();
    anyhow::ensure!(open == ["admin.sock 660", "ingest.token 640"], "open to others, as {uid}: {open:?}");
    Ok(())
}

fn command(binary: &Path, place: &Place) -> Command {
    let mut command = Command::new("setpriv");
    let uid = place.uid.to_string();
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]).arg(binary).arg("serve");
    command.arg("--config").arg(&place.config).arg("--state-dir").arg(&place.state);
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command
}

/// The exit code, if it ends in time, and what was said.
fn run(binary: &Path, place: &Place) -> anyhow::Result<(Option<i32>, String)> {
    let log = tempfile::tempfile()?;
    let mut child = command(binary, place).stdout(Stdio::null()).stderr(log.try_clone()?).spawn()?;
    let began = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait()? {
            break status.code();
        }
        if began.elapsed() > Duration::from_secs(10) {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut said = String::new();
    std::io::Seek::rewind(&mut &log)?;
    std::io::Read::read_to_string(&mut &log, &mut said)?;
    Ok((code, said))
}
