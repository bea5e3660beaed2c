//! Daemons whose clocks are set as a test likes (with libfaketime; monotonic clocks stay as they are).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where distributions put the library.
const PLACES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// A folder of programs whose NameNodes each have a clock of their own, known by the name of their directory.
#[derive(Debug)]
pub struct Clocks {
    folder: PathBuf,
}

impl Clocks {
    /// Makes the folder. `programs` holds the daemons, of which the NameNode is the program `namenode`.
    pub fn new(folder: &Path, programs: &Path, namenode: &str) -> Result<Self> {
        let library = PLACES
            .iter()
            .map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .context("libfaketime is missing: run `make setup`")?;
        let this = Self { folder: folder.to_owned() };
        fs::create_dir_all(this.bin_dir())?;
        fs::create_dir_all(this.folder.join("clocks"))?;
        symlink(programs.join("dfs-datanode"), this.bin_dir().join("dfs-datanode"))?;
        // Until a clock is set it is right.
        let script = format!(
            "#!/bin/sh\n\
             previous=; for argument; do [ \"$previous\" = --dir ] && member=${{argument##*/}}; previous=$argument; done\n\
             clock='{}'/$member\n\
             [ -e \"$clock\" ] || echo +0s >\"$clock\"\n\
             exec env LD_PRELOAD='{}' FAKETIME_TIMESTAMP_FILE=\"$clock\" FAKETIME_NO_CACHE=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1 '{}' \"$@\"\n",
            this.folder.join("clocks").display(),
            library.display(),
            programs.join(namenode).display()
        );
        let wrapper = this.bin_dir().join("dfs-namenode");
        fs::write(&wrapper, script)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        Ok(this)
    }

    /// The folder to start daemons from.
    pub fn bin_dir(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Sets the clock of the NameNode with this directory so many seconds fast (or slow, below zero).
    pub fn set(&self, directory: &Path, seconds: i64) -> Result<()> {
        let member = directory.file_name().context("a NameNode's directory has a name")?;
        let clock = self.folder.join("clocks").join(member);
        // Replaced as a whole: the daemon reads it at any moment.
        let new = clock.with_extension("new");
        fs::write(&new, format!("{seconds:+}s\n"))?;
        Ok(fs::rename(new, clock)?)
    }
}

/// The folder of the programs that were built with this test.
pub fn programs() -> Result<PathBuf> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    folder.pop();
    Ok(folder)
}
