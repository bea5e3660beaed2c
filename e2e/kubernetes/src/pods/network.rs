//! Partitions: rules in the network of a pod itself, put there from its machine. What a pod sends to another is dropped where
//! it begins, so it does not matter which machines they are on or how the cluster routes.

use anyhow::{Context, Result};
use dfs_failure::cluster::{Cut, Daemon, Party};
use k8s_openapi::api::core::v1::Pod;

use super::Pods;

/// The chain of our rules.
const CHAIN: &str = "DFS-E2E";

/// What of a pod no longer arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loss {
    /// Anything to this address.
    To(String),
    /// Answers of its port to clients: the API server forwards them, and they arrive from the pod itself.
    Clients,
}

impl Pods {
    /// Keeps what each of `ones` sends from each of `others`; both ways if `cut` says so.
    pub(super) async fn cut(&self, ones: &[Party], others: &[Party], cut: Cut) -> Result<()> {
        for one in ones {
            for other in others {
                self.silence(*one, *other).await?;
                if cut == Cut::BothWays {
                    self.silence(*other, *one).await?;
                }
            }
        }
        Ok(())
    }

    async fn silence(&self, from: Party, to: Party) -> Result<()> {
        let (daemon, loss, back) = match (from, to) {
            (Party::Daemon(from), Party::Daemon(to)) => (from, Loss::To(self.ip(to).await?), false),
            (Party::Daemon(from), Party::Clients) => (from, Loss::Clients, false),
            // Where clients are nobody can drop anything; where it arrives is as good.
            (Party::Clients, Party::Daemon(to)) => (to, Loss::Clients, true),
            (Party::Clients, Party::Clients) => return Ok(()),
        };
        let pod = self.pod(daemon);
        let machine = self.machine(&pod).await?;
        self.machines()?
            .in_network_of(&machine, &pod, &rules(daemon, &loss, back))
            .await
            .with_context(|| format!("cutting {from:?} off from {to:?}"))
    }

    async fn ip(&self, daemon: Daemon) -> Result<String> {
        let pod = self.pod(daemon);
        let found = self.api::<Pod>().get(&pod).await?;
        found.status.and_then(|status| status.pod_ip).with_context(|| format!("{pod} has no address yet"))
    }

    /// Ends all partitions.
    pub(super) async fn join(&self) -> Result<()> {
        let Some(machines) = self.ground.machines else { return Ok(()) };
        let api = self.api::<Pod>();
        let found = api.list(&kube::api::ListParams::default().labels(&self.name.selector())).await?;
        for pod in found {
            let name = kube::ResourceExt::name_any(&pod);
            let Some(machine) = pod.spec.and_then(|spec| spec.node_name) else { continue };
            if !machines.runs(&machine).await? {
                continue;
            }
            // One without a process has no network to mend; a new process gets a new one.
            let _ = machines.in_network_of(&machine, &name, &mending()).await;
        }
        Ok(())
    }
}

/// The commands that make a pod silent towards somebody.
fn rules(daemon: Daemon, loss: &Loss, back: bool) -> String {
    let port = match daemon {
        Daemon::NameNode(_) => dfs_types::names::NAMENODE_PORT,
        Daemon::DataNode(_) => dfs_types::names::DATANODE_PORT,
    };
    let rule = match (loss, back) {
        (Loss::To(ip), _) => format!("--destination {ip}"),
        (Loss::Clients, false) => format!("--out-interface lo --protocol tcp --source-port {port}"),
        (Loss::Clients, true) => format!("--out-interface lo --protocol tcp --destination-port {port}"),
    };
    format!(
        "iptables -w --new-chain {CHAIN} 2>/dev/null || true; \
         iptables -w --check OUTPUT --jump {CHAIN} 2>/dev/null || iptables -w --insert OUTPUT --jump {CHAIN}; \
         iptables -w --append {CHAIN} {rule} --jump DROP"
    )
}

fn mending() -> String {
    format!("iptables -w --flush {CHAIN} 2>/dev/null || true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_drops_one_direction() {
        let to = rules(Daemon::DataNode(1), &Loss::To("10.1.2.3".to_owned()), false);
        assert!(to.ends_with("--append DFS-E2E --destination 10.1.2.3 --jump DROP"), "{to}");
        let out = rules(Daemon::NameNode(1), &Loss::Clients, false);
        assert!(out.contains("--out-interface lo --protocol tcp --source-port 9000 --jump DROP"), "{out}");
        let back = rules(Daemon::DataNode(1), &Loss::Clients, true);
        assert!(back.contains("--destination-port 9001 --jump DROP"), "{back}");
    }
}
