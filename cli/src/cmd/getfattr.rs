//! `dfs getfattr`.

use dfs_types::{FsPath, Xattr, XattrName};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{List, name};
use crate::remote;
use crate::xattr_value::{Encoding, encode};

/// How `dfs getfattr` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Names begin with user, trusted, security, system or raw, and a dot. Those of users are seen by who may read the file; all
others but those of the file system itself by superusers.

Examples:
  dfs getfattr -d /a.txt
  dfs getfattr -n user.origin -e hex /a.txt
  dfs getfattr -R -d -o json /docs")]
pub(crate) struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// How values are shown; if it is not given: as text, or as base64 what is none.
    #[arg(short, long, value_enum, value_name = "ENCODING")]
    encoding: Option<Encoding>,
    /// Directories with everything in them.
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    #[command(flatten)]
    reading: Reading,
}

/// Which attributes are shown.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// The attribute of this name; also -n NAME.
    #[arg(long, value_name = "NAME")]
    name: Option<XattrName>,
    /// All attributes.
    #[arg(short, long)]
    dump: bool,
}

/// The attributes of one path as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    path: &'a FsPath,
    xattrs: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Value {
    name: String,
    value: String,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("getfattr");
        let json = context.global.output == Format::Json;
        let mut list = if json { List::json() } else { List::table(&[], &[]) };
        let names: Vec<XattrName> = self.wanted.name.iter().cloned().collect();
        for entry in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            remote::for_each(&dfs, entry, self.recursive, &mut failures, async |path, _| {
                let found = dfs.xattrs(path, &names).await?;
                self.print(&mut list, json, path, &found)
            })
            .await?;
        }
        list.finish()?;
        failures.finish()
    }

    fn print(&self, list: &mut List, json: bool, path: &FsPath, found: &[Xattr]) -> Outcome {
        if json {
            let value = |xattr: &Xattr| Value {
                name: xattr.name.to_string(),
                value: encode(&xattr.value, self.encoding),
            };
            return list.push(&Shown { path, xattrs: found.iter().map(value).collect() }, Vec::new);
        }
        list.heading(&format!("# file: {}", name(path.as_str())))?;
        for xattr in found {
            let text = xattr.name.to_string();
            let value = if xattr.value.is_empty() {
                String::new()
            } else {
                format!("={}", encode(&xattr.value, self.encoding))
            };
            list.heading(&format!("{}{value}", name(&text)))?;
        }
        Ok(())
    }
}
