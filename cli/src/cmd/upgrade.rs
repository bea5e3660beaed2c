//! `dfs admin upgrade`: the cluster's feature level.

use dfs_client::{NamenodeMember, Upgrade};
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::{Out, table};

/// How `dfs admin upgrade` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
NameNodes of a new release go on at the feature level of the release before, so that it can be gone back to. When all are
of the new release and work as they should, 'finalize' takes what is new into use; then the release before is refused.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the cluster's feature level and what its NameNodes know.
    Status,
    /// Raises the level to the highest that all NameNodes know; there is no way back.
    Finalize {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Serialize)]
struct Shown<'a> {
    level: u32,
    highest: u32,
    finalized: bool,
    hindrance: Option<&'a str>,
    members: Vec<ShownMember<'a>>,
}

#[derive(Serialize)]
struct ShownMember<'a> {
    id: u64,
    address: &'a str,
    release: Option<&'a str>,
    level: Option<u32>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let upgrade = match self.command {
            Command::Status => dfs.upgrade().await?,
            Command::Finalize { yes } => {
                let Upgrade { level, highest, .. } = dfs.upgrade().await?;
                if level < highest {
                    let what = format!(
                        "the cluster is raised from feature level {level} to {highest} for good, and NameNodes of earlier \
                         releases are refused"
                    );
                    confirm(what, yes).await?;
                }
                dfs.finalize_upgrade().await?
            }
        };
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&shown(&upgrade))?;
        } else {
            out.line(&text(&upgrade))?;
        }
        out.flush()
    }
}

fn shown(upgrade: &Upgrade) -> Shown<'_> {
    let Upgrade { level, highest, hindrance, members } = upgrade;
    Shown {
        level: *level,
        highest: *highest,
        finalized: level >= highest,
        hindrance: hindrance.as_deref(),
        members: members.iter().map(shown_member).collect(),
    }
}

fn shown_member(member: &NamenodeMember) -> ShownMember<'_> {
    let NamenodeMember { id, address, release, level, .. } = member;
    ShownMember { id: *id, address, release: release.as_deref(), level: *level }
}

fn text(upgrade: &Upgrade) -> String {
    let Upgrade { level, highest, hindrance, members } = upgrade;
    let headline = if level >= highest {
        format!("the cluster is at feature level {level}, the highest that its leader knows")
    } else {
        let next = hindrance.as_ref().map_or_else(
            || "'dfs admin upgrade finalize' raises it".to_owned(),
            |hindrance| format!("it can't be raised yet: {hindrance}"),
        );
        format!("the cluster is at feature level {level}, its leader knows {highest}: {next}")
    };
    let unknown = || "-".to_owned();
    let rows = members.iter().map(|member| {
        vec![
            member.id.to_string(),
            member.address.clone(),
            member.release.clone().unwrap_or_else(unknown),
            member.level.map_or_else(unknown, |level| level.to_string()),
        ]
    });
    let table = table(vec!["ID", "ADDRESS", "RELEASE", "KNOWS"], rows.collect(), &[0, 3]);
    format!("{headline}\n{table}")
}

#[cfg(test)]
mod tests {
    use dfs_client::MemberRole;

    use super::*;

    fn upgrade(level: u32, hindrance: Option<&str>) -> Upgrade {
        let member = |id, known: Option<u32>| NamenodeMember {
            id,
            address: format!("nn-{id}:9000"),
            pid: None,
            role: MemberRole::Follower,
            term: 1,
            applied: 1,
            lag: 0,
            note: None,
            level: known,
            release: known.map(|known| format!("0.{known}.0")),
        };
        let members = vec![member(1, Some(2)), member(2, Some(1)), member(3, None)];
        Upgrade { level, highest: 2, hindrance: hindrance.map(ToOwned::to_owned), members }
    }

    #[test]
    fn it_says_what_to_do_next() {
        assert_eq!(
            text(&upgrade(1, Some("NameNode 2 is old"))),
            "the cluster is at feature level 1, its leader knows 2: it can't be raised yet: NameNode 2 is old\n\
             ID  ADDRESS    RELEASE  KNOWS\n\
             \u{20}1  nn-1:9000  0.2.0        2\n\
             \u{20}2  nn-2:9000  0.1.0        1\n\
             \u{20}3  nn-3:9000  -            -"
        );
        assert!(text(&upgrade(1, None)).contains("'dfs admin upgrade finalize' raises it"));
        assert!(text(&upgrade(2, None)).starts_with("the cluster is at feature level 2, the highest"));
    }

    #[test]
    fn it_is_shown_as_json() {
        let found = serde_json::to_value(shown(&upgrade(1, None))).unwrap();
        assert_eq!((&found["level"], &found["finalized"]), (&1.into(), &false.into()));
        assert_eq!(found["hindrance"], serde_json::Value::Null);
        assert_eq!(
            found["members"][2],
            serde_json::json!({ "id": 3, "address": "nn-3:9000", "release": null, "level": null })
        );
    }
}
