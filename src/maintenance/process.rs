//! What the daemon itself takes from the machine, as the kernel counts it.
//!
//! A figure that can not be read is 0: nothing is decided by any of them.

use std::time::Duration;

/// What this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Processor time, user and system, of all threads that ever were.
    pub cpu: Duration,
    /// Memory in use.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// The most there may be.
    pub descriptors_max: u64,
}

/// Looks.
#[must_use]
pub fn process() -> Process {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Process {
        cpu,
        resident_bytes: resident.map_or(0, |kib: u64| kib << 10),
        descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        descriptors_max: limit.current.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sees_what_is_taken() {
        let before = process();
        assert!(
            before.resident_bytes > 1 << 20 && before.descriptors > 2 && before.descriptors_max >= before.descriptors
        );
        let files: Vec<std::fs::File> = (0..20).map(|_| tempfile::tempfile().unwrap()).collect();
        let work: u64 = (0..20_000_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        let after = process();
        // Other tests open and close files meanwhile, but not only close.
        assert!(after.descriptors + 10 > before.descriptors + files.len() as u64, "{before:?} {after:?} {work}");
        assert!(after.cpu > before.cpu);
    }
}
