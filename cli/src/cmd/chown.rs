//! `dfs chown`.

use std::str::FromStr;

use dfs_types::attributes::check_principal;

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::remote;

/// How `dfs chown` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs chown ann /a.txt
  dfs chown -R ann:staff /home/ann
  dfs chown :staff /shared     the group only")]
pub(crate) struct Args {
    /// New owner, group, or both.
    #[arg(value_name = "OWNER[:GROUP]")]
    owner: Ownership,
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Directories with everything in them.
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    #[command(flatten)]
    reading: Reading,
}

/// `OWNER`, `OWNER:GROUP` or `:GROUP`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ownership {
    owner: Option<String>,
    group: Option<String>,
}

impl FromStr for Ownership {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (owner, group) = text.split_once(':').unwrap_or((text, ""));
        let named = |what: &str, name: &str| {
            if name.is_empty() {
                return Ok(None);
            }
            check_principal(what, name).map_err(|error| error.message)?;
            Ok::<_, String>(Some(name.to_owned()))
        };
        match (named("user", owner)?, named("group", group)?) {
            (None, None) => Err("name an owner, a group or both: OWNER, :GROUP or OWNER:GROUP".to_owned()),
            (owner, group) => Ok(Self { owner, group }),
        }
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("chown");
        let Ownership { owner, group } = &self.owner;
        for entry in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            remote::for_each(&dfs, entry, self.recursive, &mut failures, async |path, _| {
                dfs.set_owner(path, owner.as_deref(), group.as_deref()).await.map_err(Failure::from)
            })
            .await?;
        }
        failures.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_groups_are_read() {
        let both = |owner: Option<&str>, group: Option<&str>| {
            Ok(Ownership { owner: owner.map(str::to_owned), group: group.map(str::to_owned) })
        };
        assert_eq!("ann".parse(), both(Some("ann"), None));
        assert_eq!("ann:".parse(), both(Some("ann"), None));
        assert_eq!(":staff".parse(), both(None, Some("staff")));
        assert_eq!("ann:staff".parse(), both(Some("ann"), Some("staff")));
        for text in ["", ":", "a:b:c", "a\nb"] {
            assert!(text.parse::<Ownership>().is_err(), "{text}");
        }
    }
}
