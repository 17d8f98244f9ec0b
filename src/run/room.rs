//! What this machine has left: memory for this process, and space on a disk.

use std::path::Path;

/// Bytes of memory that this process may still take, where the system says so: what is free, the control group's limit
/// and the limit on the process's address space, whichever is least.
pub fn memory() -> Option<u64> {
    [free_memory(), group_memory(), address_space()]
        .into_iter()
        .flatten()
        .min()
}

/// Bytes on the disk of `path`, or of the nearest directory above it that exists, that this user may still take.
#[cfg(unix)]
pub fn disk(path: &Path) -> Option<u64> {
    let mut ways = path
        .ancestors()
        .map(|way| match way.as_os_str().is_empty() {
            true => Path::new("."),
            false => way,
        });
    let disk = ways.find_map(|way| rustix::fs::statvfs(way).ok())?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Nobody says so here.
#[cfg(not(unix))]
pub fn disk(_: &Path) -> Option<u64> {
    None
}

/// Memory of the machine that programs can get without swapping, in bytes.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// What the control groups of this process, such as those of a batch system or a container, leave it.
fn group_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let left = groups.lines().flat_map(|line| {
        // `0::/path` (version 2) or `7:memory:/path` (version 1).
        let mut parts = line.splitn(3, ':').skip(1);
        let (kinds, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (root, files) = match kinds {
            "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"]),
            _ => (
                "/sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            ),
        };
        let ours = kinds.is_empty() || kinds.split(',').any(|kind| kind == "memory");
        // A limit holds for all groups inside; a container may see its own group as the root.
        let ways = Path::new(path).ancestors().filter(move |_| ours);
        let ways = ways
            .map(move |way| Path::new(root).join(way.strip_prefix("/").unwrap_or(Path::new(""))));
        ways.filter_map(move |way| left_in(&way, files))
            .collect::<Vec<_>>()
    });
    left.min()
}

/// Limit less use, where there is a limit; what the system merely caches counts as left.
fn left_in(group: &Path, [limit, used]: [&str; 2]) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // `max`, or a number near 2^63: no limit.
    let limit = number(limit).filter(|limit| *limit < 1 << 60)?;
    let cached = read("memory.stat").and_then(|text| {
        let mut lines = text.lines();
        lines.find_map(|l| {
            let value = l.strip_prefix("inactive_file ");
            let value = value.or(l.strip_prefix("total_inactive_file "))?;
            value.trim().parse::<u64>().ok()
        })
    });
    let used = number(used)?.saturating_sub(cached.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

/// What `ulimit -v` leaves.
#[cfg(unix)]
fn address_space() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').next()?.parse().ok()?;
    Some(limit.saturating_sub(pages * rustix::param::page_size() as u64))
}

#[cfg(not(unix))]
fn address_space() -> Option<u64> {
    None
}

/// Bytes for a reader: `3.2 GB`.
pub fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    match unit {
        0 => format!("{bytes} bytes"),
        _ if value < 9.95 => format!("{value:.1} {}", units[unit]),
        _ => format!("{value:.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_readers() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (999_600, "1.0 MB"),
            (123_456_789, "123 MB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_something_left() {
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
        let here = disk(Path::new("there/is/no/such/file"));
        assert!(here.is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn groups_leave_their_limit_less_their_use() {
        let group = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(group.path().join(name), text).unwrap();
        let left = || left_in(group.path(), ["memory.max", "memory.current"]);
        put("memory.current", "700\n");
        put("memory.max", "max\n");
        assert_eq!(left(), None);
        put("memory.max", "1000\n");
        assert_eq!(left(), Some(300));
        put("memory.stat", "anon 5\ninactive_file 100\n");
        assert_eq!(left(), Some(400));
        put("memory.current", "1700\n");
        assert_eq!(left(), Some(0));
    }
}
