//! File systems of our own, small enough to fill and ours to cut the power of.
//!
//! Every mount is undone when its guard is dropped, also in a panic: a leaked loop device outlives the test.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::fs::{FallocateFlags, fallocate, fsync, statvfs};

/// `EXT4_IOC_SHUTDOWN` is `_IOR('X', 125, __u32)`; flag 2 is NOLOGFLUSH: nothing unwritten is written any more.
/// A helper in Python, because the call can not be made from safe Rust and this tree forbids the other kind.
const CUT_POWER: &str = "import fcntl, os, struct, sys\n\
    directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)\n\
    fcntl.ioctl(directory, 0x8004587D, struct.pack('I', 2))\n";

/// Why this machine can not run a scenario with mounts, if so.
pub(crate) fn missing_prerequisite() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root for loop mounts".to_owned());
    }
    for tool in ["mkfs.ext4", "mount", "umount", "python3"] {
        if !has_tool(tool) {
            return Some(format!("needs {tool}"));
        }
    }
    None
}

pub(crate) fn has_tool(name: &str) -> bool {
    let found = Command::new("sh").arg("-c").arg(format!("command -v {name}")).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// An ext4 file system in a sparse file, mounted through a loop device.
pub(crate) struct LoopFs {
    image: PathBuf,
    mountpoint: PathBuf,
    mounted: bool,
}

impl LoopFs {
    pub(crate) fn create(work: &Path, bytes: u64) -> anyhow::Result<Self> {
        let (image, mountpoint) = (work.join("disk.img"), work.join("mnt"));
        File::create(&image)?.set_len(bytes)?;
        std::fs::create_dir_all(&mountpoint)?;
        // No blocks kept back for root, or "full" would not mean full for a daemon that runs as root here.
        // No lazy initialisation: its background writes would go on after the mount and disturb the timing.
        let lazy = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", lazy]).arg(&image))?;
        let mut disk = Self { image, mountpoint, mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }

    pub(crate) fn mount(&mut self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.mountpoint))?;
        self.mounted = true;
        Ok(())
    }

    /// From here on the file system loses whatever was not on stable storage. Stop its writers first: fired during
    /// an fdatasync the ioctl loses even what a bare append had acknowledged, which no machine does.
    pub(crate) fn cut_power(&self) -> anyhow::Result<()> {
        run(Command::new("python3").arg("-c").arg(CUT_POWER).arg(&self.mountpoint))
    }

    /// What ext4 does when it finds itself damaged: from here on it can only be read. Returns a reason if it can not.
    pub(crate) fn turn_read_only(&self) -> anyhow::Result<Option<String>> {
        let found = Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.mountpoint).output()?;
        let device = String::from_utf8(found.stdout)?;
        let name = device.trim().rsplit('/').next().unwrap_or_default().to_owned();
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        let wrote = std::fs::write(&trigger, "postrider's test");
        Ok(wrote.err().map(|error| format!("needs {}: {error}", trigger.display())))
    }

    /// The machine comes back: forget the caches, recover the ext4 journal.
    pub(crate) async fn power_on(&mut self) -> anyhow::Result<()> {
        self.unmount().await?;
        self.mount()
    }

    pub(crate) async fn unmount(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(busy) = run(Command::new("umount").arg(&self.mountpoint)) {
            anyhow::ensure!(Instant::now() < deadline, "can not unmount: {busy}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.mounted = false;
        Ok(())
    }

    pub(crate) fn free_bytes(&self) -> anyhow::Result<u64> {
        let space = statvfs(&self.mountpoint)?;
        Ok(space.f_bavail * space.f_frsize)
    }

    /// Takes `bytes` away, as another program on the same disk would.
    pub(crate) fn take(&self, name: &str, bytes: u64) -> anyhow::Result<()> {
        let file = File::create(self.mountpoint.join(name))?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes).context("fallocate the filler")?;
        Ok(())
    }

    /// Leaves no free block at all. Returns what is still reported as free.
    pub(crate) fn fill(&self, name: &str) -> anyhow::Result<u64> {
        let mut file = File::create(self.mountpoint.join(name))?;
        let reserved = self.free_bytes()?.saturating_sub(8 << 20);
        fallocate(&file, FallocateFlags::empty(), 0, reserved.max(1)).context("fallocate the filler")?;
        file.seek(SeekFrom::Start(reserved.max(1)))?;
        for block in [1 << 20, 4096] {
            let bytes = vec![0_u8; block];
            while file.write_all(&bytes).is_ok() {}
        }
        // Delayed allocation: only now is it certain that the blocks are gone. ENOSPC here is the aim.
        let _no_space = fsync(&file);
        self.free_bytes()
    }

    pub(crate) fn give_back(&self, name: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.mountpoint.join(name))?)
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        if self.mounted && run(Command::new("umount").arg(&self.mountpoint)).is_err() {
            drop(run(Command::new("umount").arg("-l").arg(&self.mountpoint)));
        }
    }
}

/// The control beside the daemon: bare append + fdatasync. If this loses a record the cut itself is at fault.
pub(crate) struct Control {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
    writer: Option<JoinHandle<anyhow::Result<u64>>>,
}

const CONTROL_RECORD: usize = 512;

impl Control {
    pub(crate) fn start(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let path = directory.join(name);
        let file = File::create(&path)?;
        // The name has to be durable too.
        fsync(File::open(directory)?)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopping);
        let writer = std::thread::spawn(move || append_until(&file, &flag));
        Ok(Self { path, stopping, writer: Some(writer) })
    }

    /// Ends the appends and says how many were durable.
    pub(crate) fn stop(&mut self) -> anyhow::Result<u64> {
        self.stopping.store(true, Ordering::Relaxed);
        let writer = self.writer.take().context("stopped twice")?;
        writer.join().map_err(|_| anyhow::anyhow!("the control writer panicked"))?
    }

    /// How many of the records are there, in order and whole.
    pub(crate) fn recovered(&self) -> anyhow::Result<u64> {
        let bytes = std::fs::read(&self.path)?;
        let whole = bytes.chunks_exact(CONTROL_RECORD).zip(0_u64..);
        Ok(whole.take_while(|(record, number)| **record == control_record(*number)).count() as u64)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

fn append_until(file: &File, stopping: &AtomicBool) -> anyhow::Result<u64> {
    let mut durable = 0;
    while !stopping.load(Ordering::Relaxed) {
        file.write_all_at(&control_record(durable), durable * CONTROL_RECORD as u64)?;
        file.sync_data()?;
        durable += 1;
    }
    Ok(durable)
}

fn control_record(number: u64) -> [u8; CONTROL_RECORD] {
    let mut record = [0x5A; CONTROL_RECORD];
    record[..8].copy_from_slice(&number.to_be_bytes());
    record
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {} {}", output.status, said.trim());
    Ok(())
}
