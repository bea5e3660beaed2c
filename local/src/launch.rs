//! Starting the processes: what is to run, with which arguments, and where each listens then.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::cluster::{LocalCluster, POLL};
use crate::daemon::{Daemon, MAX_DATANODES, MAX_NAMENODES};
use crate::error::{LocalError, Result};
use crate::options::{Lifetime, Options, PortPair, Ports};
use crate::process::Identity;
use crate::record::{Addresses, Record, file_error};

impl LocalCluster {
    /// Notes how everything that does not run shall be started; returns what to start and what runs.
    pub(crate) fn plan(&self, options: &Options) -> Result<(Vec<Daemon>, Vec<Daemon>)> {
        if !(1..=MAX_NAMENODES).contains(&options.namenodes) {
            return Err(LocalError::Namenodes(options.namenodes));
        }
        let logs = self.layout.logs();
        fs::create_dir_all(&logs).map_err(file_error("create", &logs))?;
        let mut cluster = self.layout.load()?;
        for record in cluster.daemons.values_mut().filter(|record| !record.is_alive()) {
            // A daemon that died and is not wanted any more is nothing to wait for.
            record.process = None;
        }
        let namenodes = usize::from(options.namenodes).max(cluster.namenodes().count()) as u16;
        let wanted = (1..=namenodes)
            .map(Daemon::NameNode)
            .chain((1..=options.datanodes.min(MAX_DATANODES)).map(Daemon::DataNode));
        let mut taken =
            cluster.daemons.values().flat_map(|record| [record.ports.rpc, record.ports.http]).collect();
        let (mut started, mut running) = (Vec::new(), Vec::new());
        for daemon in wanted {
            let former = cluster.daemons.get(&daemon);
            if former.is_some_and(Record::is_alive) {
                running.push(daemon);
                continue;
            }
            let (ports, args) = match (daemon, former, options.ports) {
                (Daemon::NameNode(_), Some(former), Ports::Free) => (former.ports, &options.namenode_args),
                (Daemon::NameNode(number), former, ports) => {
                    let ports = ports.namenode(number, &mut taken)?;
                    let moved = former.filter(|former| namenodes > 1 && former.ports.rpc != ports.rpc);
                    if let Some(former) = moved {
                        return Err(LocalError::Moved {
                            daemon,
                            known: former.rpc_address(),
                            port: ports.rpc,
                        });
                    }
                    (ports, &options.namenode_args)
                }
                (Daemon::DataNode(number), _, ports) => {
                    let ports = match options.advertise.get(&daemon) {
                        Some(address) => PortPair { rpc: port_of(daemon, address)?, http: 0 },
                        None => ports.datanode(number)?,
                    };
                    (ports, &options.datanode_args)
                }
            };
            let addresses = former.and_then(|record| record.addresses.clone());
            let topology = match daemon {
                Daemon::NameNode(_) => None,
                Daemon::DataNode(number) => options.topology.get(usize::from(number) - 1).cloned(),
            };
            let record = Record {
                ports,
                advertise: options.advertise.get(&daemon).cloned(),
                volumes: options.volumes.max(1),
                topology,
                args: args.clone(),
                process: None,
                addresses,
                log_start: 0,
            };
            cluster.daemons.insert(daemon, record);
            started.push(daemon);
        }
        self.layout.save(&cluster)?;
        Ok((started, running))
    }

    /// Starts these daemons' processes and waits until each says where it listens: members of a group wait for each
    /// other, so all are started first.
    pub(crate) async fn launch(&self, daemons: &[Daemon], deadline: Instant) -> Result<()> {
        let began = Instant::now();
        for daemon in daemons.iter().copied() {
            self.blocking(move |this| this.spawn(daemon)).await?;
        }
        for daemon in daemons.iter().copied() {
            while !self.blocking(move |this| this.note_addresses(daemon)).await? {
                if Instant::now() >= deadline {
                    let what = (daemon, format!("{daemon} did not say where it listens"));
                    return self.blocking(move |this| Err(this.not_ready(what, began.elapsed()))).await;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn spawn(&self, daemon: Daemon) -> Result<()> {
        let mut cluster = self.layout.load()?;
        let namenodes = cluster.namenode_addresses();
        let record = cluster.daemons.get_mut(&daemon).ok_or(LocalError::NotRunning(daemon))?;
        let mut command = self.command(daemon, record, &namenodes)?;
        record.log_start = fs::metadata(self.layout.log(daemon)).map_or(0, |log| log.len());
        // What is not of the log: few words, such as why it could not start. A disk that has no room for them is no reason
        // not to start.
        let said = self.layout.said(daemon);
        let said = OpenOptions::new().create(true).write(true).truncate(true).open(said);
        let both = said.and_then(|file| Ok((Stdio::from(file.try_clone()?), Stdio::from(file))));
        let (output, errors) = both.unwrap_or_else(|_| (Stdio::null(), Stdio::null()));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        if self.lifetime == Lifetime::Detached {
            command.process_group(0);
        }
        let failed = |action| move |source| LocalError::Process { action, daemon, source };
        let child = command.spawn().map_err(failed("start"))?;
        record.process = Some(Identity::of(child.id()).map_err(failed("watch"))?);
        self.layout.save(&cluster)
    }

    fn command(&self, daemon: Daemon, record: &Record, namenodes: &[String]) -> Result<Command> {
        let listen = record.rpc_address();
        let http = format!("127.0.0.1:{}", record.ports.http);
        let name = match daemon {
            Daemon::NameNode(_) => "dfs-namenode",
            Daemon::DataNode(_) => "dfs-datanode",
        };
        let program = self.bin_dir.join(name);
        if !program.is_file() {
            return Err(LocalError::NoProgram { name, directory: self.bin_dir.clone() });
        }
        let mut command = Command::new(program);
        command.arg("run").args(["--listen", &listen, "--http", &http]);
        // It keeps its log within bounds itself: nobody else is there when this command has ended.
        command.arg("--log-file").arg(self.layout.log(daemon));
        match daemon {
            Daemon::NameNode(_) => {
                let (disk, directory) = (self.layout.disk(daemon), self.layout.directory(daemon));
                fs::create_dir_all(&disk).map_err(file_error("create", &disk))?;
                remove_stale(&directory.join("addresses.json"))?;
                command.arg("--dir").arg(directory).arg("--format-if-empty");
                if namenodes.len() > 1 || record.advertise.is_some() {
                    command.args(["--advertise", &record.advertised()]);
                }
                if namenodes.len() > 1 {
                    command.args(["--peers", &namenodes.join(",")]);
                }
            }
            Daemon::DataNode(_) => {
                command.args(namenodes.iter().flat_map(|address| ["--namenode", address]));
                if let Some((host, _)) = record.advertise.as_ref().and_then(|known| known.rsplit_once(':')) {
                    command.args(["--advertise-host", host]);
                }
                if let Some(topology) = &record.topology {
                    command.args(["--topology", topology]);
                }
                for volume in self.layout.volumes(daemon, record.volumes) {
                    fs::create_dir_all(&volume).map_err(file_error("create", &volume))?;
                    remove_stale(&volume.join("addresses.json"))?;
                    command.arg("--volume").arg(volume);
                }
            }
        }
        command.args(&record.args);
        Ok(command)
    }

    /// Takes over where a started daemon listens; `false` if it has not said so yet.
    fn note_addresses(&self, daemon: Daemon) -> Result<bool> {
        let mut cluster = self.layout.load()?;
        let record = cluster.daemons.get_mut(&daemon).ok_or(LocalError::NotRunning(daemon))?;
        let directories = match daemon {
            Daemon::NameNode(_) => vec![self.layout.directory(daemon)],
            // In the first volume that can be used.
            Daemon::DataNode(_) => self.layout.volumes(daemon, record.volumes),
        };
        let mut paths = directories.into_iter().map(|directory| directory.join("addresses.json"));
        let first = paths.next().unwrap_or_default();
        let path = if first.exists() { first } else { paths.find(|path| path.exists()).unwrap_or(first) };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let addresses: Addresses =
                    serde_json::from_str(&text).map_err(|source| LocalError::Damaged { path, source })?;
                record.addresses = Some(addresses);
                self.layout.save(&cluster)?;
                Ok(true)
            }
            Err(_) if !record.is_alive() => Err(self.died(daemon, record.log_start)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(LocalError::File { action: "read", path, source }),
        }
    }
}

fn port_of(daemon: Daemon, address: &str) -> Result<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| LocalError::Advertise { daemon, address: address.to_owned() })
}

/// A file of an earlier run would be taken for this one's.
fn remove_stale(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    /// A daemon that notes its arguments, says where it listens, and does nothing. The NameNodes do so only when the
    /// last one of the group is there, as members do that wait for each other.
    const DAEMON: &str = r#"#!/bin/sh
previous=
for word in "$@"; do
  case "$previous" in
    --dir | --volume) directory=$word ;;
    --listen) listen=$word ;;
    --http) http=$word ;;
  esac
  previous=$word
done
mkdir -p "$directory"
disk=${directory%/meta}
echo "$@" >> "$disk.args"
root=$(dirname "$disk")
case "$directory" in */namenode-*)
  while [ ! -e "$root/namenode-$(cat "$root/wait-for").args" ]; do sleep 0.05; done ;;
esac
printf '{"rpc":"%s","http":"%s"}' "$listen" "$http" > "$directory/addresses.json"
exec sleep 60
"#;

    struct Stage {
        folder: tempfile::TempDir,
        options: Options,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let bin = folder.path().join("bin");
            fs::create_dir(&bin).unwrap();
            fs::create_dir(folder.path().join("data")).unwrap();
            for program in ["dfs-namenode", "dfs-datanode"] {
                fs::write(bin.join(program), DAEMON).unwrap();
                fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
            }
            let options = Options {
                datanodes: 1,
                // Nobody answers: this is how long it takes to notice.
                ready_within: Duration::from_secs(1),
                lifetime: Lifetime::Scoped,
                bin_dir: Some(bin),
                ..Options::default()
            };
            Self { folder, options }
        }

        fn data(&self) -> PathBuf {
            self.folder.path().join("data")
        }

        fn cluster(&self) -> LocalCluster {
            LocalCluster::new(&self.data(), &self.options).unwrap()
        }

        /// Starts this many NameNodes; answers with the error, as nothing ever gets ready.
        async fn up(&mut self, namenodes: u16, ports: Ports) -> String {
            fs::write(self.data().join("wait-for"), namenodes.to_string()).unwrap();
            let options = Options { ports, namenodes, ..self.options.clone() };
            self.cluster().up(&options).await.unwrap_err().to_string()
        }

        /// The arguments of a daemon's last start.
        fn arguments(&self, name: &str) -> String {
            let text = fs::read_to_string(self.data().join(format!("{name}.args"))).unwrap();
            text.lines().last().unwrap().to_owned()
        }
    }

    #[tokio::test]
    async fn one_namenode_is_started_without_a_group() {
        let mut stage = Stage::new();
        let error = stage.up(1, Ports::Free).await;
        assert!(error.contains("no NameNode answers"), "{error}");
        let arguments = stage.arguments("namenode-1");
        assert!(arguments.contains("--format-if-empty"), "{arguments}");
        assert!(!arguments.contains("--peers") && !arguments.contains("--advertise"), "{arguments}");
        let address = stage.cluster().namenode_addresses().await.unwrap().join(",");
        assert!(stage.arguments("datanode-1").contains(&format!("--namenode {address}")));
    }

    #[tokio::test]
    async fn members_are_started_together_and_know_each_other() {
        let mut stage = Stage::new();
        stage.up(1, Ports::Free).await;
        let alone = stage.cluster().namenode_addresses().await.unwrap();
        let error = stage.up(3, Ports::Free).await;
        assert!(error.contains("no NameNode answers"), "all said where they listen: {error}");
        let all = stage.cluster().namenode_addresses().await.unwrap();
        assert_eq!((all.len(), &all[..1]), (3, &alone[..]), "the first one stays where it was");
        for (number, address) in (1..).zip(&all) {
            let arguments = stage.arguments(&format!("namenode-{number}"));
            assert!(arguments.contains(&format!("--listen {address} ")), "{arguments}");
            assert!(
                arguments.contains(&format!("--advertise {address} --peers {}", all.join(","))),
                "{arguments}"
            );
            assert!(stage.arguments("datanode-1").contains(&format!("--namenode {address}")));
        }
        stage.up(1, Ports::Free).await;
        assert_eq!(
            stage.cluster().namenode_addresses().await.unwrap(),
            all,
            "none leaves by not being asked for"
        );
        assert_eq!(fs::read_to_string(stage.data().join("namenode-3.args")).unwrap().lines().count(), 2);

        let error = stage.up(3, Ports::From(20_000)).await;
        assert!(error.contains("namenode-1 is known to its group as") && error.contains("20000"), "{error}");
        for wrong in [0, MAX_NAMENODES + 1] {
            let error = stage.up(wrong, Ports::Free).await;
            assert!(error.contains("1 to 5"), "{error}");
        }
    }

    #[tokio::test]
    async fn others_are_told_the_advertised_address() {
        let mut stage = Stage::new();
        stage.options.advertise = BTreeMap::from([
            (Daemon::NameNode(1), "127.0.0.1:1".to_owned()),
            (Daemon::DataNode(1), "127.0.1.1:2".to_owned()),
        ]);
        stage.options.topology = vec!["/a/b".to_owned()];
        stage.up(2, Ports::Free).await;
        let cluster = stage.cluster();
        let all = cluster.namenode_addresses().await.unwrap();
        assert_eq!(all[0], "127.0.0.1:1");
        let listens: Vec<_> =
            cluster.status().await.unwrap().into_iter().filter_map(|daemon| daemon.address).collect();
        assert_eq!(listens[1], all[1], "the second one is known by where it listens");
        assert_ne!(listens[0], all[0]);
        let arguments = stage.arguments("namenode-1");
        assert!(arguments.contains(&format!("--listen {} ", listens[0])), "{arguments}");
        assert!(
            arguments.contains(&format!("--advertise {} --peers {}", all[0], all.join(","))),
            "{arguments}"
        );
        let arguments = stage.arguments("datanode-1");
        for words in [
            "--namenode 127.0.0.1:1",
            "--listen 127.0.0.1:2",
            "--advertise-host 127.0.1.1",
            "--topology /a/b",
        ] {
            assert!(arguments.contains(words), "{arguments}");
        }
        stage.options.advertise = BTreeMap::from([(Daemon::DataNode(1), "nowhere".to_owned())]);
        let error = LocalCluster::new(&stage.folder.path().join("other"), &stage.options).unwrap();
        let error = error.up(&stage.options).await.unwrap_err();
        assert!(matches!(error, LocalError::Advertise { daemon: Daemon::DataNode(1), .. }), "{error}");
    }

    #[tokio::test]
    async fn a_disk_is_replaced_only_under_a_stopped_daemon() {
        let mut stage = Stage::new();
        stage.up(2, Ports::Free).await;
        let (cluster, daemon) = (stage.cluster(), Daemon::NameNode(2));
        cluster.start(daemon).await.unwrap();
        let error = cluster.replace_disk(daemon).await.unwrap_err();
        assert!(matches!(error, LocalError::Runs(Daemon::NameNode(2))), "{error}");
        cluster.kill(daemon).await.unwrap();
        assert!(cluster.directory(daemon).join("addresses.json").exists());
        cluster.replace_disk(daemon).await.unwrap();
        assert!(!cluster.directory(daemon).exists() && cluster.disk(daemon).exists());
        cluster.replace_disk(daemon).await.unwrap();
        let error = cluster.replace_disk(Daemon::NameNode(3)).await.unwrap_err();
        assert!(matches!(error, LocalError::NotRunning(Daemon::NameNode(3))), "{error}");
    }
}
