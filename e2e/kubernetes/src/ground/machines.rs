//! The machines of a kind cluster: containers that Docker runs, named as their nodes. Processes of pods, their network and
//! their disks are reached from there.

use std::fmt;

use anyhow::{Result, ensure};
use tokio::process::Command;

use super::command::run;

/// What is sent to processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ends them without a word.
    Kill,
    /// Holds them.
    Stop,
    /// Lets them go on.
    Continue,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        })
    }
}

/// Prints the ids of the processes of a pod, `$1`, found by the environment that its container has.
const PIDS: &str = r#"pids() {
    for dir in /proc/[0-9]*; do
        ! tr '\0' '\n' <"$dir/environ" 2>/dev/null | grep -qx "POD_NAME=$1" || echo "${dir#/proc/}"
    done
}
"#;

/// The machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machines;

impl Machines {
    /// Runs a shell script on a machine, with arguments `$1` and so on.
    pub(crate) async fn shell(self, machine: &str, script: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new("docker");
        command.args(["exec", machine, "sh", "-ec", script, "sh"]).args(arguments);
        run(&mut command).await
    }

    /// Sends a signal to all processes of pods that run on one machine, at once. Answers with how many there were.
    pub(crate) async fn signal(self, machine: &str, pods: &[String], signal: Signal) -> Result<usize> {
        // Found first, signalled together: between the first and the last there is no time for anything.
        let script = format!(
            "{PIDS}signal=$1; shift; all=$(for pod; do pids \"$pod\"; done); \
             [ -z \"$all\" ] || kill -\"$signal\" $all; echo $all"
        );
        let signal = signal.to_string();
        let mut arguments = vec![signal.as_str()];
        arguments.extend(pods.iter().map(String::as_str));
        let said = self.shell(machine, &script, &arguments).await?;
        Ok(String::from_utf8_lossy(&said).split_whitespace().count())
    }

    /// Runs a shell script in the network of a pod.
    pub(crate) async fn in_network_of(self, machine: &str, pod: &str, script: &str) -> Result<()> {
        let wrapped = format!(
            "{PIDS}pid=$(pids \"$1\" | head -n 1); [ -n \"$pid\" ] || {{ echo \"no process of $1\" >&2; exit 1; }}; \
             exec nsenter --target \"$pid\" --net sh -ec \"$2\""
        );
        self.shell(machine, &wrapped, &[pod, script]).await.map(drop)
    }

    /// Takes a machine's power.
    pub(crate) async fn stop(self, machine: &str) -> Result<()> {
        run(Command::new("docker").args(["kill", machine])).await.map(drop)
    }

    /// Gives it back.
    pub(crate) async fn start(self, machine: &str) -> Result<()> {
        run(Command::new("docker").args(["start", machine])).await.map(drop)
    }

    /// Whether a machine has power.
    pub(crate) async fn runs(self, machine: &str) -> Result<bool> {
        let said =
            run(Command::new("docker").args(["inspect", "--format", "{{.State.Running}}", machine])).await?;
        let said = String::from_utf8_lossy(&said);
        ensure!(["true", "false"].contains(&said.trim()), "docker says '{said}' of {machine}");
        Ok(said.trim() == "true")
    }
}
