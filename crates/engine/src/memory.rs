//! How much memory there is: the machine's, or what its control groups leave of it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use relign_model::Device;

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What this process may use: the machine's, or the least that one of its control groups allows.
    pub total: u64,
    /// What of it is free, or becomes so when files' contents are let go of.
    pub free: u64,
    /// Whether a control group allows less than the machine has.
    pub limited: bool,
}

/// The memory of this process; 0 where the system does not say.
#[must_use]
pub fn here() -> Memory {
    at(Path::new("/"))
}

/// Bytes of a device's memory; a GPU that does not say is taken for a small one. Not what happens to be free, so that
/// equal runs on one machine schedule alike.
pub(crate) fn of(device: Device) -> usize {
    match device {
        Device::Cuda(index) => relign_model::device::gpu_memory(index).unwrap_or(4 << 30),
        _ => match here().total {
            0 => 4 << 30,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        },
    }
}

/// The memory that the system whose files lie below `root` has for the process that reads them.
fn at(root: &Path) -> Memory {
    let machine = |key| number(&root.join("proc/meminfo"), key).unwrap_or(0).saturating_mul(1024);
    let (total, free) = (machine("MemTotal:"), machine("MemAvailable:"));
    let mut memory = Memory { total, free, limited: false };
    for group in groups(root) {
        let Some(limit) = group.limit() else { continue };
        if total == 0 || limit < total {
            memory.limited = true;
            memory.total = if memory.total == 0 { limit } else { memory.total.min(limit) };
            let left = limit.saturating_sub(group.used());
            memory.free = if free == 0 { left } else { memory.free.min(left) };
        }
    }
    memory
}

/// A control group's folder, of the first or the second version.
struct Group {
    folder: PathBuf,
    second: bool,
}

impl Group {
    /// The most that its processes may use before they are slowed down or ended; `None` without a limit.
    fn limit(&self) -> Option<u64> {
        let names: &[&str] = if self.second { &["memory.max", "memory.high"] } else { &["memory.limit_in_bytes"] };
        names.iter().filter_map(|name| read_to_string(self.folder.join(name)).ok()?.trim().parse().ok()).min()
    }

    /// What they use, files' contents aside, which are let go of where memory is short.
    fn used(&self) -> u64 {
        let (name, files) = if self.second {
            ("memory.current", ["inactive_file", "active_file"])
        } else {
            ("memory.usage_in_bytes", ["total_inactive_file", "total_active_file"])
        };
        let used = read_to_string(self.folder.join(name)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let stat = self.folder.join("memory.stat");
        files.iter().fold(used, |used: u64, key| used.saturating_sub(number(&stat, key).unwrap_or(0)))
    }
}

/// The control groups that this process is in and all above them: a limit holds for everything below it.
fn groups(root: &Path) -> Vec<Group> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let mounts = mounts(&read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default());
    let mut groups = Vec::new();
    for line in read_to_string(root.join("proc/self/cgroup")).unwrap_or_default().lines() {
        // `0::/path` for the second version, `5:memory:/path` for the first.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let second = controllers.is_empty();
        if !second && !controllers.split(',').any(|name| name == "memory") {
            continue;
        }
        let usual = Mount {
            second,
            top: "/".to_owned(),
            place: if second { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" }.to_owned(),
        };
        let mount = mounts.iter().find(|mount| mount.second == second).unwrap_or(&usual);
        // A container may see its own group at the place of the mount, under a path that only the host knows.
        let inner = Path::new(path).strip_prefix(&mount.top).unwrap_or(Path::new(""));
        let inner = if inner.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            inner
        } else {
            Path::new("")
        };
        let place = below(&mount.place);
        groups.extend(inner.ancestors().map(|part| Group { folder: place.join(part), second }));
    }
    groups
}

/// Where control groups that limit memory are mounted.
struct Mount {
    second: bool,
    /// The group that lies there.
    top: String,
    place: String,
}

fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.split(' ').collect();
        let second = match *back.first()? {
            "cgroup2" => true,
            "cgroup" if back.get(2)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        Some(Mount { second, top: (*front.get(3)?).to_owned(), place: (*front.get(4)?).to_owned() })
    };
    text.lines().filter_map(mount).collect()
}

/// The number after `key` in a file of such lines.
fn number(file: &Path, key: &str) -> Option<u64> {
    let text = read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key).filter(|rest| rest.starts_with([' ', '\t'])))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    /// A system of 24 GiB, 20 of them free, with these files.
    fn system(files: &[(&str, &str)]) -> Memory {
        let root = tempfile::tempdir().unwrap();
        let meminfo = format!("MemTotal:       {} kB\nMemFree:  1 kB\nMemAvailable:   {} kB\n", 24 << 20, 20 << 20);
        for (name, text) in [("proc/meminfo", meminfo.as_str())].iter().chain(files) {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        at(root.path())
    }

    const SECOND: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    const FIRST: &str = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                         32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let unlimited = Memory { total: 24 * GIB, free: 20 * GIB, limited: false };
        let memory = |total, free| Memory { total, free, limited: true };
        let cases: &[(&str, &[(&str, &str)], Memory)] = &[
            ("no groups", &[], unlimited),
            (
                "no limit",
                &[
                    ("proc/self/cgroup", "0::/a\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/a/memory.max", "max\n"),
                ],
                unlimited,
            ),
            (
                "its own group, files' contents aside",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/a/b/memory.max", "943718400\n"),
                    ("sys/fs/cgroup/a/b/memory.current", "524288000\n"),
                    ("sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 104857600\nactive_file 104857600\n"),
                ],
                memory(900 * MIB, 600 * MIB),
            ),
            (
                "a group above, its soft limit",
                &[
                    ("proc/self/cgroup", "0::/a/b/c\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/a/b/c/memory.max", "max\n"),
                    ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
                    ("sys/fs/cgroup/a/memory.high", "2147483648\n"),
                    ("sys/fs/cgroup/a/memory.current", "1073741824\n"),
                ],
                memory(2 * GIB, GIB),
            ),
            (
                "a container that sees its group at the top",
                &[
                    ("proc/self/cgroup", "0::/\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/memory.max", "1073741824\n"),
                ],
                memory(GIB, GIB),
            ),
            (
                "a container that knows the path on its host",
                &[
                    ("proc/self/cgroup", "0::/../../docker/x\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/memory.max", "1073741824\n"),
                ],
                memory(GIB, GIB),
            ),
            (
                "the first version, mounted at a container's own group",
                &[
                    ("proc/self/cgroup", "7:cpu,cpuacct:/docker/x\n5:memory:/docker/x\n"),
                    (
                        "proc/self/mountinfo",
                        "32 23 0:28 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
                    ),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "943718400\n"),
                    ("sys/fs/cgroup/memory/memory.usage_in_bytes", "838860800\n"),
                    ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 104857600\ntotal_active_file 0\n"),
                ],
                memory(900 * MIB, 200 * MIB),
            ),
            (
                "the first version, a limit above, none below",
                &[
                    ("proc/self/cgroup", "5:memory:/a/b\n0::/\n"),
                    ("proc/self/mountinfo", FIRST),
                    ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n"),
                ],
                memory(GIB, GIB),
            ),
            (
                "mounts unknown",
                &[
                    ("proc/self/cgroup", "5:memory:/a\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824"),
                ],
                memory(GIB, GIB),
            ),
            (
                "more than the machine has",
                &[
                    ("proc/self/cgroup", "0::/a\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/a/memory.max", "1099511627776\n"),
                ],
                unlimited,
            ),
            (
                "nothing left",
                &[
                    ("proc/self/cgroup", "0::/a\n"),
                    ("proc/self/mountinfo", SECOND),
                    ("sys/fs/cgroup/a/memory.max", "1048576\n"),
                    ("sys/fs/cgroup/a/memory.current", "2097152\n"),
                ],
                memory(MIB, 0),
            ),
        ];
        for (name, files, expected) in cases {
            assert_eq!(system(files), *expected, "{name}");
        }
    }

    #[test]
    fn memory_is_found() {
        let Memory { total, free, .. } = here();
        assert!(total > 64 << 20 && free > 0 && free <= total, "{total} {free}");
        assert_eq!(of(Device::Cpu) as u64, total);
    }
}
