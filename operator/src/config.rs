//! The command line and environment, read and checked once.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use dfs_kubernetes::crd::PullPolicy;

use crate::build::DefaultImage;

/// Makes DfsClusters real and keeps them so
#[derive(Debug, Parser)]
#[command(name = "dfs-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM or SIGINT
    Run(RunArgs),
    /// Print the definition of DfsCluster, to be given to 'kubectl apply --server-side -f -'
    Crd,
}

/// When a machine pulls the image of pods whose spec does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Pull {
    /// At each start of a pod.
    Always,
    /// Only if it has none.
    IfNotPresent,
    /// Never.
    Never,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Namespace whose DfsClusters to look after [default: all namespaces]
    #[arg(long, env = "DFS_OPERATOR_NAMESPACE", value_name = "NAME", value_parser = name)]
    pub namespace: Option<String>,
    /// Image of pods whose spec does not say: the operator's own
    #[arg(long, env = "DFS_OPERATOR_IMAGE", value_name = "REPOSITORY:TAG", default_value = "dfs:dev")]
    pub image: String,
    /// When a machine pulls that image
    #[arg(long, env = "DFS_OPERATOR_IMAGE_PULL_POLICY", value_enum, default_value_t = Pull::IfNotPresent)]
    pub image_pull_policy: Pull,
    /// Address of the HTTP port (metrics, health)
    #[arg(long, env = "DFS_OPERATOR_HTTP", value_name = "HOST:PORT", default_value = "0.0.0.0:8080")]
    pub http: String,
    /// Namespace of the Lease by which one of several operators is chosen [default: that of the pod or kubeconfig]
    #[arg(long, env = "DFS_OPERATOR_LEASE_NAMESPACE", value_name = "NAME", value_parser = name)]
    pub lease_namespace: Option<String>,
    /// Name of that Lease
    #[arg(long, env = "DFS_OPERATOR_LEASE_NAME", value_name = "NAME", default_value = "dfs-operator", value_parser = name)]
    pub lease_name: String,
    /// Work without the Lease: only if no other operator can run
    #[arg(long, env = "DFS_OPERATOR_NO_LEASE")]
    pub no_lease: bool,
    /// Whether to read zones and racks from the labels of machines, and to end without the right to
    #[arg(long, env = "DFS_OPERATOR_NODE_LABELS", value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    pub node_labels: bool,
    /// Reach NameNodes through the API server's port-forward: for an operator that runs outside of the Kubernetes cluster
    #[arg(long, env = "DFS_OPERATOR_PORT_FORWARD")]
    pub port_forward: bool,
    /// What to log, for example 'info' or 'info,dfs_operator=debug' [default: info]
    #[arg(long, env = "DFS_OPERATOR_LOG", value_name = "DIRECTIVES")]
    pub log: Option<String>,
    /// How log lines look
    #[arg(long, env = "DFS_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogStyle::Text)]
    pub log_format: LogStyle,
}

impl RunArgs {
    /// The image of pods whose spec does not say; an error in words if it is none.
    pub fn default_image(&self) -> Result<DefaultImage, String> {
        let policy = match self.image_pull_policy {
            Pull::Always => PullPolicy::Always,
            Pull::IfNotPresent => PullPolicy::IfNotPresent,
            Pull::Never => PullPolicy::Never,
        };
        DefaultImage::parse(&self.image, policy)
            .ok_or_else(|| format!("'{}' is no image: give --image as REPOSITORY:TAG", self.image))
    }
}

/// Checks that `text` can be the name of an object.
fn name(text: &str) -> Result<String, String> {
    let allowed =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    if (1..=253).contains(&text.len()) && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("write a name of small letters, digits and dashes".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;
    use dfs_program::command_line;

    use super::*;

    fn parse(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let command = Cli::try_parse_from(["dfs-operator", "run"].iter().chain(flags))?.command;
        match command {
            Command::Run(args) => Ok(args),
            Command::Crd => unreachable!("run was given"),
        }
    }

    #[test]
    fn variables_that_are_set_to_nothing_are_not_read() {
        let empty = |command| command_line::without_empty(command, &|_| Some(OsString::new()));
        assert!(!command_line::variables(&Cli::command()).is_empty());
        assert_eq!(command_line::variables(&empty(Cli::command())), []);
        let full = command_line::without_empty(Cli::command(), &|_| Some("x".into()));
        assert_eq!(command_line::variables(&full), command_line::variables(&Cli::command()));
    }

    #[test]
    fn images_are_taken_apart() {
        for (image, repository, tag) in [
            ("dfs:dev", "dfs", "dev"),
            ("dfs", "dfs", "latest"),
            ("host:5000/a/dfs:1.2", "host:5000/a/dfs", "1.2"),
            ("host:5000/dfs", "host:5000/dfs", "latest"),
            ("a/dfs@sha256:00", "a/dfs", "@sha256:00"),
        ] {
            let read = parse(&["--image", image]).unwrap().default_image().unwrap();
            assert_eq!((read.repository.as_str(), read.tag.as_str()), (repository, tag), "{image}");
        }
        for image in ["", ":dev", "dfs:", "a b"] {
            assert!(parse(&["--image", image]).unwrap().default_image().is_err(), "{image}");
        }
    }

    #[test]
    fn flags_are_checked() {
        assert_eq!(parse(&["--image-pull-policy", "Never"]).unwrap().image_pull_policy, Pull::Never);
        assert!(parse(&["--namespace", "No"]).is_err());
        assert!(parse(&[]).unwrap().node_labels && !parse(&["--node-labels=false"]).unwrap().node_labels);
        assert!(parse(&["--image-pull-policy", "sometimes"]).is_err());
    }
}
