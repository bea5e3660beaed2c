//! `dfs admin groups` and `dfs admin superuser`.

use dfs_client::{GroupOrigin, GroupReport, GroupSource, Superusers, UserGroups};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::Out;

/// How `dfs admin groups` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The NameNodes take groups from where their option --groups says: from each request, so that only your own are known, or from
a file in the format of /etc/group. Of several NameNodes the one that leads is asked.

Examples:
  dfs admin groups
  dfs admin groups ann bob -o json")]
pub(crate) struct Args {
    /// Whose groups to show [default: yours].
    #[arg(value_name = "USER")]
    users: Vec<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    users: Vec<ShownUser<'a>>,
    #[serde(flatten)]
    origin: ShownOrigin<'a>,
}

#[derive(Serialize)]
struct ShownUser<'a> {
    user: &'a str,
    groups: Option<&'a [String]>,
}

#[derive(Serialize)]
struct ShownSuperusers<'a> {
    superuser: &'a str,
    supergroup: &'a str,
    members: Option<&'a [String]>,
    #[serde(flatten)]
    origin: ShownOrigin<'a>,
}

/// Where groups come from.
#[derive(Serialize)]
struct ShownOrigin<'a> {
    source: String,
    problem: Option<&'a str>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let report = context.dfs().await?.groups(&self.users).await?;
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&shown(&report))?;
        } else {
            out.line(&text(&report))?;
        }
        out.flush()
    }
}

/// Shows who may do anything.
pub(super) async fn superuser(context: &Context) -> Outcome {
    let superusers = context.dfs().await?.superusers().await?;
    let mut out = Out::new();
    if context.global.output == Format::Json {
        out.json(&shown_superusers(&superusers))?;
    } else {
        out.line(&text_of_superusers(&superusers))?;
    }
    out.flush()
}

fn shown_origin(GroupOrigin { source, problem }: &GroupOrigin) -> ShownOrigin<'_> {
    ShownOrigin { source: source.to_string(), problem: problem.as_deref() }
}

fn shown(GroupReport { users, origin }: &GroupReport) -> Shown<'_> {
    let users = users.iter().map(|UserGroups { user, groups }| ShownUser { user, groups: groups.as_deref() });
    Shown { users: users.collect(), origin: shown_origin(origin) }
}

fn shown_superusers(Superusers { user, group, members, origin }: &Superusers) -> ShownSuperusers<'_> {
    ShownSuperusers {
        superuser: user,
        supergroup: group,
        members: members.as_deref(),
        origin: shown_origin(origin),
    }
}

/// A line with names, or with a dash if they are not known.
fn line(of: &str, names: Option<&Vec<String>>) -> String {
    let names = names.map_or_else(|| "-".to_owned(), |names| names.join(" "));
    format!("{of} : {names}").trim_end().to_owned()
}

fn text_of_origin(GroupOrigin { source, problem }: &GroupOrigin) -> String {
    match (source, problem) {
        (GroupSource::Caller, _) => "groups are those that each request says".to_owned(),
        (GroupSource::File(path), None) => format!("groups are those of the NameNode's file {path}"),
        (GroupSource::File(path), Some(problem)) => format!(
            "groups are those that the NameNode's file {path} had before it could not be used any more: {problem}"
        ),
    }
}

/// As `hdfs groups` has it, and where that comes from.
fn text(GroupReport { users, origin }: &GroupReport) -> String {
    let users = users.iter().map(|UserGroups { user, groups }| line(user, groups.as_ref()));
    users.chain([text_of_origin(origin)]).collect::<Vec<_>>().join("\n")
}

fn text_of_superusers(Superusers { user, group, members, origin }: &Superusers) -> String {
    let members = line("members", members.as_ref());
    format!("superuser : {user}\nsupergroup : {group}\n{members}\n{}", text_of_origin(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(problem: Option<&str>) -> GroupOrigin {
        GroupOrigin {
            source: GroupSource::File("/etc/groups".into()),
            problem: problem.map(ToOwned::to_owned),
        }
    }

    fn report(origin: GroupOrigin) -> GroupReport {
        let user = |user: &str, groups: Option<&[&str]>| UserGroups {
            user: user.to_owned(),
            groups: groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect()),
        };
        GroupReport {
            users: vec![user("ann", Some(&["staff", "ops"])), user("bob", Some(&[])), user("eve", None)],
            origin,
        }
    }

    #[test]
    fn groups_are_shown_as_hdfs_does() {
        assert_eq!(
            text(&report(origin(None))),
            "ann : staff ops\nbob :\neve : -\ngroups are those of the NameNode's file /etc/groups"
        );
        let stale = text(&report(origin(Some("line 3 is wrong"))));
        assert!(stale.ends_with("could not be used any more: line 3 is wrong"), "{stale}");
        let caller = GroupOrigin { source: GroupSource::Caller, problem: None };
        assert!(text(&report(caller)).ends_with("each request says"));
    }

    #[test]
    fn groups_are_shown_as_json() {
        let shown = serde_json::to_value(shown(&report(origin(None)))).unwrap();
        let expected = serde_json::json!({
            "users": [
                { "user": "ann", "groups": ["staff", "ops"] },
                { "user": "bob", "groups": [] },
                { "user": "eve", "groups": null },
            ],
            "source": "file:/etc/groups",
            "problem": null,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn superusers_are_shown_both_ways() {
        let superusers = |members| Superusers {
            user: "hdfs".into(),
            group: "supergroup".into(),
            members,
            origin: origin(Some("gone")),
        };
        let text = text_of_superusers(&superusers(Some(vec!["ann".into()])));
        assert!(text.starts_with("superuser : hdfs\nsupergroup : supergroup\nmembers : ann\n"), "{text}");
        assert!(text_of_superusers(&superusers(None)).contains("members : -\n"));
        let shown = serde_json::to_value(shown_superusers(&superusers(None))).unwrap();
        let expected = serde_json::json!({ "superuser": "hdfs", "supergroup": "supergroup", "members": null,
            "source": "file:/etc/groups", "problem": "gone" });
        assert_eq!(shown, expected);
    }
}
