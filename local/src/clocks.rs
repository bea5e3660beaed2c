//! Daemons whose clocks are set as one likes (with libfaketime; monotonic clocks stay as they are), and that may run
//! other programs than the usual ones, or each NameNode the program of an earlier release.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::daemon::Daemon;
use crate::error::{LocalError, Result};
use crate::record::file_error;

/// Where distributions put the library.
const PLACES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// What stands for the daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Folder of both.
    pub folder: PathBuf,
    /// Name of the NameNode's program.
    pub namenode: String,
    /// Name of the DataNode's program.
    pub datanode: String,
    /// Environment variables for both.
    pub environment: Vec<(String, String)>,
    /// The NameNode of an earlier release, for those that [`Clocks::set_release`] says run it.
    pub earlier: Option<Earlier>,
}

/// The NameNode's program of an earlier release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Its name, in the same folder.
    pub namenode: String,
    /// Environment variables for it.
    pub environment: Vec<(String, String)>,
}

impl Programs {
    /// The usual ones in this folder.
    pub fn usual(folder: PathBuf) -> Self {
        Self {
            folder,
            namenode: "dfs-namenode".into(),
            datanode: "dfs-datanode".into(),
            environment: Vec::new(),
            earlier: None,
        }
    }
}

/// A folder of programs whose processes each have a clock of their own.
#[derive(Debug)]
pub struct Clocks {
    folder: PathBuf,
}

impl Clocks {
    /// Makes it in `folder`. Until a clock is set it is right.
    ///
    /// Errors: [`LocalError::NoFakeTime`] without libfaketime.
    pub fn new(folder: &Path, programs: &Programs) -> Result<Self> {
        let library = library()?;
        let this = Self { folder: folder.to_owned() };
        for folder in [this.bin_dir(), this.folder.join("clocks"), this.folder.join("earlier")] {
            fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        }
        let variables = |of: &[(String, String)]| -> String {
            let words: Vec<_> = of.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
            words.concat()
        };
        let earlier = programs.earlier.as_ref().map_or_else(String::new, |earlier| {
            format!(
                "[ ! -e '{}'/$daemon ] || {{ program='{}'; export {}; }}\n",
                this.folder.join("earlier").display(),
                programs.folder.join(&earlier.namenode).display(),
                variables(&earlier.environment)
            )
        });
        for (name, program) in [("dfs-namenode", &programs.namenode), ("dfs-datanode", &programs.datanode)] {
            let script = format!(
                "#!/bin/sh\n\
                 previous=; daemon=; for argument; do case \"$previous$daemon\" in\n\
                 --dir | --volume) daemon=${{argument%/volume-*}}; daemon=${{daemon%/meta}}; daemon=${{daemon##*/}};; esac; previous=$argument; done\n\
                 clock='{clocks}'/$daemon\n\
                 [ -e \"$clock\" ] || echo +0s >\"$clock\"\n\
                 program='{program}'\n\
                 {earlier}\
                 exec env {environment}LD_PRELOAD='{library}' FAKETIME_TIMESTAMP_FILE=\"$clock\" FAKETIME_NO_CACHE=1 \
                 FAKETIME_DONT_FAKE_MONOTONIC=1 \"$program\" \"$@\"\n",
                clocks = this.folder.join("clocks").display(),
                program = programs.folder.join(program).display(),
                environment = variables(&programs.environment),
                library = library.display(),
            );
            write_program(&this.bin_dir().join(name), &script)?;
        }
        Ok(this)
    }

    /// Says whether a NameNode runs the earlier release's program from its next start on.
    pub fn set_release(&self, daemon: Daemon, earlier: bool) -> Result<()> {
        let mark = self.folder.join("earlier").join(daemon.to_string());
        if earlier {
            return fs::write(&mark, "").map_err(file_error("write", &mark));
        }
        match fs::remove_file(&mark) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(file_error("remove", &mark)),
        }
    }

    /// Whether clocks can be set here.
    ///
    /// Errors: [`LocalError::NoFakeTime`] without libfaketime.
    pub fn available() -> Result<()> {
        library().map(drop)
    }

    /// The folder to start daemons from.
    pub fn bin_dir(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Sets a daemon's clock so many seconds fast (or slow, below zero).
    pub fn set(&self, daemon: Daemon, seconds: i64) -> Result<()> {
        let clock = self.folder.join("clocks").join(daemon.to_string());
        // Replaced as a whole: the daemon reads it at any moment.
        let new = clock.with_extension("new");
        fs::write(&new, format!("{seconds:+}s\n")).map_err(file_error("write", &new))?;
        fs::rename(&new, &clock).map_err(file_error("replace", &clock))
    }
}

fn library() -> Result<PathBuf> {
    let mut places = PLACES.iter().map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
    places.find(|library| library.exists()).ok_or(LocalError::NoFakeTime)
}

fn write_program(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script).map_err(file_error("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(file_error("change", path))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn each_daemon_has_its_own_clock_and_environment() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs {
            environment: vec![("FAULT".to_owned(), "some".to_owned())],
            ..Programs::usual(folder.path().to_owned())
        };
        for name in [&programs.namenode, &programs.datanode] {
            write_program(&folder.path().join(name), "#!/bin/sh\necho $FAULT $(date +%s)\n").unwrap();
        }
        let clocks = Clocks::new(&folder.path().join("clocks"), &programs).unwrap();
        let year = |program: &str, arguments: &[&str]| {
            let output = Command::new(clocks.bin_dir().join(program)).args(arguments).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (fault, seconds) = text.trim().split_once(' ').unwrap();
            assert_eq!(fault, "some");
            seconds.parse::<i64>().unwrap() / 31_557_600
        };
        let now = year("dfs-namenode", &["run", "--dir", "/x/namenode-1/meta"]);
        clocks.set(Daemon::NameNode(2), -20 * 31_557_600).unwrap();
        clocks.set(Daemon::DataNode(1), 20 * 31_557_600).unwrap();
        assert_eq!(year("dfs-namenode", &["run", "--dir", "/x/namenode-2/meta"]), now - 20);
        assert_eq!(year("dfs-namenode", &["run", "--dir", "/x/namenode-1/meta"]), now);
        for volumes in
            [&["--volume", "/x/datanode-1"][..], &["--volume", "/x/datanode-1/volume-1", "--volume", "/y"]]
        {
            assert_eq!(year("dfs-datanode", volumes), now + 20, "{volumes:?}");
        }
    }

    #[test]
    fn a_namenode_runs_the_release_that_it_is_set_to() {
        let folder = tempfile::tempdir().unwrap();
        let environment = vec![("LEVEL".to_owned(), "1".to_owned())];
        let earlier = Earlier { namenode: "before".to_owned(), environment };
        let programs = Programs { earlier: Some(earlier), ..Programs::usual(folder.path().to_owned()) };
        for name in [programs.namenode.as_str(), programs.datanode.as_str(), "before"] {
            write_program(&folder.path().join(name), "#!/bin/sh\necho ${0##*/} $LEVEL\n").unwrap();
        }
        let clocks = Clocks::new(&folder.path().join("clocks"), &programs).unwrap();
        let ran = |dir: &str| {
            let program = clocks.bin_dir().join("dfs-namenode");
            let output = Command::new(program).args(["run", "--dir", dir]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        clocks.set_release(Daemon::NameNode(2), true).unwrap();
        assert_eq!(ran("/x/namenode-2/meta"), "before 1");
        assert_eq!(ran("/x/namenode-1/meta"), "dfs-namenode");
        for _ in 0..2 {
            clocks.set_release(Daemon::NameNode(2), false).unwrap();
        }
        assert_eq!(ran("/x/namenode-2/meta"), "dfs-namenode");
    }
}
