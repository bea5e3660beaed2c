//! `dfs admin`: the group of NameNodes, DataNodes' duties, users' groups, settings, files without a writer, and backups of the
//! metadata.

use std::path::{Path, PathBuf};

use dfs_client::{BackupSummary, MemberRole, NamenodeMember};
use dfs_descriptors::Stream;
use dfs_local::path_text;
use dfs_types::ErrorCode;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Outcome, print_error};
use crate::global::Format;
use crate::output::{Out, name, table};
use crate::size;
use crate::transfer::standard_streams;
use crate::transfer::target::exists_already;

/// How `dfs admin` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the NameNodes: which one leads and how far the others are.
    Namenodes,
    /// Lets another NameNode lead.
    TransferLeader {
        /// Id of the one that is to lead [default: the one that is least behind].
        #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        to: Option<u64>,
    },
    /// Takes a NameNode out of the group for good; its directory is of no use afterwards.
    RemoveNamenode {
        /// Its id, as 'dfs admin namenodes' shows it.
        #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
    },
    /// Shows DataNodes and changes what they are used for.
    Node(super::node::Args),
    /// Shows and deletes replicas of chunks that the namespace does not know.
    Quarantine(super::quarantine::Args),
    /// Closes a file whose writer is gone, or says what that waits for.
    RecoverLease(super::recover_lease::Args),
    /// Shows which groups users are in.
    Groups(super::groups::Args),
    /// Shows who may do anything: the user who runs the NameNodes, and the members of a group.
    Superuser,
    /// Shows and changes settings of the cluster, such as its umask.
    Settings(super::settings::Args),
    /// Shows and raises the feature level, after NameNodes were replaced by a new release.
    Upgrade(super::upgrade::Args),
    /// Copies the metadata, as of one moment, to a local file while the cluster goes on.
    #[command(after_help = "\
The file is complete or not there at all. 'dfs-namenode restore --dir DIR FILE' makes a new NameNode directory of it.")]
    Backup {
        /// The file to write.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace an existing file.
        #[arg(short, long)]
        force: bool,
    },
}

/// The members as JSON shows them.
#[derive(Serialize)]
struct Shown<'a> {
    members: Vec<ShownMember<'a>>,
}

#[derive(Serialize)]
struct ShownMember<'a> {
    id: u64,
    address: &'a str,
    pid: Option<u32>,
    role: &'static str,
    term: u64,
    applied: u64,
    lag: u64,
    note: Option<&'a str>,
    level: Option<u32>,
    release: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownBackup {
    file: String,
    cluster: String,
    applied: u64,
    length: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let mut out = Out::new();
        let json = context.global.output == Format::Json;
        match self.command {
            Command::Namenodes => {
                // Also while nobody leads: then it is wanted most.
                let group = context.builder().await?.namenodes().await?;
                if !group.by_leader {
                    print_error(
                        "admin",
                        "no leader answers: this is what another NameNode knows of the group",
                    );
                }
                show(&mut out, &group.members, json)?;
            }
            Command::TransferLeader { to } => {
                let leader = context.dfs().await?.transfer_leader(to).await?;
                if json {
                    out.json(&serde_json::json!({ "leader": leader }))?;
                } else {
                    out.line(&format!("NameNode {leader} leads"))?;
                }
            }
            Command::RemoveNamenode { id } => {
                show(&mut out, &context.dfs().await?.remove_namenode(id).await?, json)?;
            }
            Command::Node(args) => return args.run(context).await,
            Command::Quarantine(args) => return args.run(context).await,
            Command::RecoverLease(args) => return args.run(context).await,
            Command::Groups(args) => return args.run(context).await,
            Command::Superuser => return super::groups::superuser(context).await,
            Command::Settings(args) => return args.run(context).await,
            Command::Upgrade(args) => return args.run(context).await,
            Command::Backup { file, force } => backup(context, &mut out, &file, force).await?,
        }
        out.flush()
    }
}

async fn backup(context: &Context, out: &mut Out, file: &Path, force: bool) -> Outcome {
    let looked = file.to_owned();
    let look = move || standard_streams::check_given(&looked).map(|()| standard_streams::stream(&looked));
    let stream = tokio::task::spawn_blocking(look).await??;
    let backup = context.dfs().await?.backup(file, force).await;
    let summary = backup.map_err(|error| match error.code {
        ErrorCode::AlreadyExists if !force => exists_already(&file.display()),
        _ => error.into(),
    })?;
    if stream == Some(Stream::Output) {
        // A word here would be a part of the backup.
        return Ok(());
    }
    let BackupSummary { cluster, applied, length } = summary;
    let file = told(file);
    if context.global.output == Format::Json {
        return out.json(&ShownBackup { file, cluster: cluster.to_string(), applied, length });
    }
    let size = size::human(length);
    out.line(&format!("{}: {size}, all changes up to log entry {applied}", name(&file)))
}

/// A file as it was named, or, if that is no text, as one that tells every byte.
fn told(file: &Path) -> String {
    match file.to_str() {
        Some(text) => text.to_owned(),
        // There is no folder to begin with only if that was removed; then the name has to do.
        None => path_text(&std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
    }
}

fn show(out: &mut Out, members: &[NamenodeMember], json: bool) -> Outcome {
    if json { out.json(&shown(members)) } else { out.line(&text(members)) }
}

fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Leader => "leader",
        MemberRole::Follower => "follower",
        MemberRole::Learner => "learner",
        MemberRole::Candidate => "candidate",
        MemberRole::Unreachable => "unreachable",
    }
}

fn shown(members: &[NamenodeMember]) -> Shown<'_> {
    let members = members.iter().map(|member| {
        let NamenodeMember { id, address, pid, role: is, term, applied, lag, note, level, release } = member;
        ShownMember {
            id: *id,
            address,
            pid: *pid,
            role: role(*is),
            term: *term,
            applied: *applied,
            lag: *lag,
            note: note.as_deref(),
            level: *level,
            release: release.as_deref(),
        }
    });
    Shown { members: members.collect() }
}

fn text(members: &[NamenodeMember]) -> String {
    let rows = members.iter().map(|member| {
        vec![
            member.id.to_string(),
            member.address.clone(),
            member.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            role(member.role).to_owned(),
            member.term.to_string(),
            member.applied.to_string(),
            member.lag.to_string(),
        ]
    });
    let mut text = table(
        vec!["ID", "ADDRESS", "PID", "ROLE", "TERM", "APPLIED", "LAG"],
        rows.collect(),
        &[0, 2, 4, 5, 6],
    );
    for note in notes(members) {
        text = format!("{text}\n{note}");
    }
    text
}

/// What is wrong with each NameNode, a line each.
pub(crate) fn notes(members: &[NamenodeMember]) -> impl Iterator<Item = String> {
    let noted = members.iter().filter_map(|member| member.note.as_deref().map(|note| (member, note)));
    // It comes from another machine: only text, on one line.
    let plain =
        |text: &str| text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    noted.map(move |(member, note)| {
        let note: String = plain(note);
        format!("NameNode {} at {}: {note}", member.id, member.address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<NamenodeMember> {
        let member = |id, pid, role, applied, lag| NamenodeMember {
            id,
            address: format!("nn-{id}:9000"),
            pid,
            role,
            term: 4,
            applied,
            lag,
            note: (lag > 0).then(|| "the metadata disk is full\x1b: make room".to_owned()),
            level: Some(2),
            release: pid.map(|_| "1.0.0".to_owned()),
        };
        vec![
            member(1, Some(4_711), MemberRole::Leader, 1_200, 0),
            member(2, None, MemberRole::Unreachable, 200, 1_000),
            member(13, Some(12), MemberRole::Learner, 0, 1_200),
        ]
    }

    #[test]
    fn members_are_shown_as_a_table() {
        assert_eq!(
            text(&members()),
            "ID  ADDRESS      PID  ROLE         TERM  APPLIED   LAG\n\
             \u{20}1  nn-1:9000   4711  leader          4     1200     0\n\
             \u{20}2  nn-2:9000      -  unreachable     4      200  1000\n\
             13  nn-13:9000    12  learner         4        0  1200\n\
             NameNode 2 at nn-2:9000: the metadata disk is full : make room\n\
             NameNode 13 at nn-13:9000: the metadata disk is full : make room"
        );
    }

    #[test]
    fn members_are_shown_as_json() {
        let shown = serde_json::to_value(shown(&members()[..2])).unwrap();
        let expected = serde_json::json!({ "members": [
            { "id": 1, "address": "nn-1:9000", "pid": 4711, "role": "leader", "term": 4, "applied": 1200, "lag": 0,
              "note": null, "level": 2, "release": "1.0.0" },
            { "id": 2, "address": "nn-2:9000", "pid": null, "role": "unreachable", "term": 4, "applied": 200,
              "lag": 1000, "note": "the metadata disk is full\u{1b}: make room", "level": 2, "release": null },
        ]});
        assert_eq!(shown, expected);
    }
}
