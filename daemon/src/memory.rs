//! How much memory the process may use: the limit of its control groups, or the machine's memory.

use std::fs;
use std::path::{Path, PathBuf};

/// What the process may use, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// A control group ends the process above so many bytes.
    Limited(u64),
    /// Nobody but the machine, which has so many bytes for all of its processes.
    Machine(u64),
}

/// Memory of a machine that does not say how much it has, in bytes.
const UNKNOWN: u64 = 1 << 30;

impl Memory {
    /// Asks the operating system. Reads a few small files of `/proc` and `/sys`, which never wait for a disk.
    pub fn of_process() -> Self {
        let machine = total(Path::new("/")).unwrap_or(UNKNOWN);
        match limit(Path::new("/")) {
            Some(limit) if limit < machine => Self::Limited(limit),
            Some(_) | None => Self::Machine(machine),
        }
    }

    /// Bytes that data in flight may take: half of what a limit leaves to the process alone, an eighth of a machine that
    /// others use too. The rest is for code, threads, caches, sockets, and what the allocator does not give back.
    pub fn for_data(self) -> u64 {
        match self {
            Self::Limited(bytes) => bytes / 2,
            Self::Machine(bytes) => bytes / 8,
        }
    }

    /// All that may be used, in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Limited(bytes) | Self::Machine(bytes) => bytes,
        }
    }
}

/// Bytes of memory in the machine, by `/proc/meminfo` below `root`.
fn total(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// The tightest limit of the process's control group and of those around it, of both versions, seen below `root`.
fn limit(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let limits = mounts.lines().filter_map(Mount::read).filter_map(|mount| mount.limit(root, &own));
    limits.min()
}

/// A mounted hierarchy of control groups that can limit memory.
#[derive(Debug)]
struct Mount {
    /// The group that is seen at the mount point: a container sees its own.
    group: String,
    point: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Mount {
    /// Reads a line of `/proc/self/mountinfo` (see proc(5)).
    fn read(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (group, point) = (mount.next()?, mount.next()?);
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup2" => Version::Two,
            "cgroup" if kind.nth(1)?.split(',').any(|controller| controller == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { group: group.to_owned(), point: PathBuf::from(point), version })
    }

    /// The tightest limit on the way from the process's group to the mount point.
    fn limit(&self, root: &Path, own: &str) -> Option<u64> {
        let group = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            let wanted = match self.version {
                Version::One => controllers.split(',').any(|controller| controller == "memory"),
                Version::Two => controllers.is_empty(),
            };
            wanted.then_some(group)
        })?;
        // A group that is not below the mounted one is seen through another namespace: only the mount point is left.
        let below = Path::new(group).strip_prefix(&self.group).unwrap_or(Path::new(""));
        let top = root.join(self.point.strip_prefix("/").unwrap_or(&self.point));
        let files: &[&str] = match self.version {
            Version::One => &["memory.limit_in_bytes"],
            // Above `memory.high` a process is slowed down until it hardly runs.
            Version::Two => &["memory.max", "memory.high"],
        };
        let groups = below.ancestors().map(|group| top.join(group));
        groups.flat_map(|group| files.iter().filter_map(move |file| number(&group.join(file)))).min()
    }
}

/// The number in a file; `None` if there is no file or no limit.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str =
        "24 1 0:22 / / rw - ext4 /dev/sda rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n";
    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 GROUP /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// A tree of files to look at.
    fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_of_nested_groups_counts() {
        let root = files(&[
            ("proc/self/cgroup", "0::/kubepods/pod1/c1\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/kubepods/memory.max", "max\n"),
            ("sys/fs/cgroup/kubepods/pod1/memory.max", "67108864\n"),
            ("sys/fs/cgroup/kubepods/pod1/memory.high", "max\n"),
            ("sys/fs/cgroup/kubepods/pod1/c1/memory.max", "134217728\n"),
        ]);
        assert_eq!(limit(root.path()), Some(64 << 20));
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mount_point() {
        let root = files(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/memory.max", "1048576\n"),
            ("sys/fs/cgroup/memory.high", "524288\n"),
        ]);
        assert_eq!(limit(root.path()), Some(512 << 10), "above 'high' a process hardly runs");
    }

    #[test]
    fn version_one_with_and_without_a_namespace() {
        let v1 = |group: &str, own: &str| {
            files(&[
                ("proc/self/cgroup", own),
                ("proc/self/mountinfo", &V1.replace("GROUP", group)),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"),
            ])
        };
        let own = "5:devices:/\n4:memory:/a/b\n0::/\n";
        assert_eq!(limit(v1("/", own).path()), Some(4_096));
        assert_eq!(limit(v1("/a/b", own).path()), Some(9_223_372_036_854_771_712), "the container's own");
        assert_eq!(limit(v1("/elsewhere", own).path()), Some(9_223_372_036_854_771_712));
    }

    #[test]
    fn without_groups_or_limits_the_machine_counts() {
        assert_eq!(limit(Path::new("/nowhere")), None);
        let root = files(&[
            ("proc/self/cgroup", "0::/a\nnonsense"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n"),
        ]);
        assert_eq!((limit(root.path()), total(root.path())), (None, Some(16 << 20)));
        assert!(Memory::of_process().bytes() > 0);
        assert_eq!((Memory::Limited(8).for_data(), Memory::Machine(8).for_data()), (4, 1));
    }
}
