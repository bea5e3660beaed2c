//! Where this node stands: its machine, and that machine's zone and rack, perhaps as a file says.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::sleep;

use crate::config::parse_topology;

/// Largest file that is read: the most that a Kubernetes ConfigMap holds.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Pauses between two looks into the file, the first one and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Where this node stands. Clones share what is found out.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    machine: String,
    file: Option<PathBuf>,
    location: Arc<OnceLock<String>>,
}

impl Place {
    /// On this machine (empty: as its host says) at this location.
    pub(crate) fn known(machine: String, location: String) -> Self {
        Self { machine, file: None, location: Arc::new(OnceLock::from(location)) }
    }

    /// On this machine, at the location that the file will say.
    pub(crate) fn listed(machine: String, file: PathBuf) -> Self {
        Self { machine, file: Some(file), location: Arc::default() }
    }

    /// The machine; empty if its host says that.
    pub(crate) fn machine(&self) -> &str {
        &self.machine
    }

    /// The location, `/zone/rack`; empty as long as it is not known.
    pub(crate) fn location(&self) -> &str {
        self.location.get().map_or("", String::as_str)
    }

    /// What is missing to know the location, if it is not known.
    pub(crate) fn missing(&self) -> Option<String> {
        let file = self.file.as_deref().filter(|_| self.location.get().is_none())?;
        Some(format!("{} has no line for machine {} yet", file.display(), self.machine))
    }

    /// Looks until the file lists the machine. It is looked up once: a machine does not move, and replicas are not to be
    /// copied about because somebody edits a label. Fails if its line cannot be understood.
    pub(crate) async fn find(&self) -> Result<(), String> {
        let mut pause = PAUSES.0;
        while let Some(file) = self.file.clone().filter(|_| self.location.get().is_none()) {
            let machine = self.machine.clone();
            let found = tokio::task::spawn_blocking(move || look_up(&file, &machine)).await;
            match found.map_err(|error| error.to_string())? {
                Ok(Some(location)) => {
                    tracing::info!(machine = self.machine, location, "found in the topology");
                    self.location.get_or_init(|| location);
                }
                Ok(None) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(reason) => return Err(reason),
            }
        }
        Ok(())
    }
}

/// The machine's location; `None` if the file or its line is not there yet.
fn look_up(file: &Path, machine: &str) -> Result<Option<String>, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|open| open.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > MAX_FILE_BYTES => {
            Err(format!("{} is longer than {MAX_FILE_BYTES} bytes: shorten it", file.display()))
        }
        Ok(_) => listed(&text, machine).map_err(|reason| format!("{}: {reason}", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// What the text says of the machine. Only its own line has to be right.
fn listed(text: &str, machine: &str) -> Result<Option<String>, String> {
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        if words.next() != Some(machine) {
            continue;
        }
        let location = words.next().unwrap_or_default();
        if words.next().is_some() {
            return Err(format!("line {number} has more than a machine and its /zone/rack"));
        }
        return parse_topology(location).map(Some).map_err(|reason| format!("line {number}: {reason}"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "worker-1 /a/r1\n\nworker-10 /b/r2\nodd one out\nbare\nwrong a/b\n";

    #[test]
    fn a_line_is_found_by_its_whole_first_word() {
        for (machine, location) in [
            ("worker-1", Some("/a/r1")),
            ("worker-10", Some("/b/r2")),
            ("bare", Some("")),
            ("worker", None),
            ("/a/r1", None),
        ] {
            assert_eq!(listed(FILE, machine).unwrap().as_deref(), location, "{machine}");
        }
        assert_eq!(listed(FILE, "odd").unwrap_err(), "line 4 has more than a machine and its /zone/rack");
        assert!(listed(FILE, "wrong").unwrap_err().starts_with("line 6: write /zone/rack"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_comes_later_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("topology");
        let place = Place::listed("w2".to_owned(), file.clone());
        let found = tokio::spawn({
            let place = place.clone();
            async move { place.find().await }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(place.missing().unwrap().contains("no line for machine w2"));
        std::fs::write(&file, "w1 /a\n").unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(place.location(), "");
        std::fs::write(&file, "w1 /a\nw2 /b\n").unwrap();
        found.await.unwrap().unwrap();
        assert_eq!((place.location(), place.missing()), ("/b", None));
        std::fs::write(&file, "w2 /c\n").unwrap();
        place.find().await.unwrap();
        assert_eq!(place.location(), "/b", "it is looked up once");
    }

    #[tokio::test]
    async fn what_is_known_is_not_looked_up() {
        let place = Place::known(String::new(), "/z/r".to_owned());
        place.find().await.unwrap();
        assert_eq!((place.machine(), place.location(), place.missing()), ("", "/z/r", None));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::listed("w1".to_owned(), directory.path().to_owned());
        assert!(place.find().await.unwrap_err().contains("cannot be read"));
        let large = directory.path().join("large");
        std::fs::write(&large, "x".repeat(MAX_FILE_BYTES as usize + 1)).unwrap();
        assert!(Place::listed("w1".to_owned(), large).find().await.unwrap_err().contains("longer than"));
    }
}
