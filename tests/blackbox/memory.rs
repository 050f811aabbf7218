//! What the kernel says of the daemon's memory, threads and descriptors.
//!
//! Peaks are the kernel's own, so nothing between two looks is missed.

use anyhow::Context as _;

/// A number of `/proc/PID/status`, as it stands there (sizes in KiB).
pub(crate) fn status(pid: u32, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no such line")?;
    Ok(number.parse()?)
}

/// Bytes that are resident now; from here on a peak is counted anew.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<u64> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    Ok(status(pid, "VmRSS")? << 10)
}

/// The most bytes that were resident since.
pub(crate) fn peak(pid: u32) -> anyhow::Result<u64> {
    Ok(status(pid, "VmHWM")? << 10)
}

/// Open descriptors.
pub(crate) fn descriptors(pid: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Open descriptors of what is no file under a path: sockets, pipes, the program itself.
pub(crate) fn descriptors_beside(pid: u32, path: &std::path::Path) -> anyhow::Result<usize> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    // One that was closed meanwhile leads nowhere.
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(targets.filter(|target| !target.starts_with(path)).count())
}
