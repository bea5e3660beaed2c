//! The options that every command has.

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use dfs_types::address::Addresses;
use dfs_types::names::{ENV_FOLLOWER_READS, ENV_NAMENODE, ENV_USER};

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Address of a NameNode; of several, repeated or with commas between them, the one that leads is found
    /// [default: 127.0.0.1:9000].
    #[arg(id = "namenode", long, global = true, value_name = "HOST:PORT", env = ENV_NAMENODE,
          help_heading = "Connection")]
    pub(crate) namenodes: Vec<Addresses>,
    /// DfsCluster on Kubernetes to work with instead: every connection is forwarded by its API server.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Kubernetes")]
    pub(crate) cluster: Option<String>,
    /// Namespace of the DfsCluster [default: the kubeconfig's]; without --cluster its only one is meant.
    #[arg(short, long, global = true, value_name = "NAMESPACE", help_heading = "Kubernetes")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, global = true, value_name = "NAME", help_heading = "Kubernetes")]
    pub(crate) context: Option<String>,
    /// Whether this is called as `kubectl dfs`: Kubernetes is meant, if nothing else is said.
    #[arg(skip)]
    pub(crate) plugin: bool,
    /// Let any NameNode answer what changes nothing: as new as what this command has seen, not always the latest.
    #[arg(long, global = true, env = ENV_FOLLOWER_READS, value_parser = BoolishValueParser::new(),
          help_heading = "Connection")]
    pub(crate) follower_reads: bool,
    /// User name to present [default: yours on this machine].
    #[arg(long, global = true, value_name = "NAME", env = ENV_USER, help_heading = "Connection")]
    pub(crate) user: Option<String>,
    /// How to print what a command has to say.
    #[arg(short, long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub(crate) output: Format,
    /// Log on standard error what happens; -vv logs more, DFS_LOG chooses exactly.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people who want to know more.
    Wide,
    /// For programs.
    Json,
}
