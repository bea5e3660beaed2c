//! `dfs setfattr`.

use dfs_types::{Xattr, XattrName, XattrSetFlag};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::remote;
use crate::xattr_value::decode;

/// How `dfs setfattr` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A value is text, perhaps in quotation marks, or hexadecimal digits after 0x, or base64 after 0s. Without one it is empty.

Examples:
  dfs setfattr -n user.origin -v scanner /a.txt
  dfs setfattr -n user.hash -v 0x00ff /a.txt
  dfs setfattr -x user.origin /a.txt")]
pub(crate) struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// The attribute's value; also -v VALUE.
    #[arg(long, value_name = "VALUE", value_parser = value, allow_hyphen_values = true, conflicts_with = "remove")]
    value: Option<Bytes>,
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

/// Which attribute is set or removed.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// Sets the attribute of this name; also -n NAME.
    #[arg(long, value_name = "NAME")]
    name: Option<XattrName>,
    /// Removes the attribute of this name.
    #[arg(short = 'x', long, value_name = "NAME")]
    remove: Option<XattrName>,
}

#[derive(Debug, Clone, Default)]
struct Bytes(Vec<u8>);

fn value(text: &str) -> Result<Bytes, String> {
    decode(text).map(Bytes)
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("setfattr");
        let Bytes(value) = self.value.unwrap_or_default();
        for (path, _) in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            if let Some(name) = &self.wanted.name {
                let xattr = Xattr { name: name.clone(), value: value.clone() };
                let set = dfs.set_xattr(&path, xattr, XattrSetFlag::CreateOrReplace).await;
                failures.keep(set.map_err(Failure::from))?;
            }
            if let Some(name) = &self.wanted.remove {
                failures.keep(dfs.remove_xattr(&path, name).await.map_err(Failure::from))?;
            }
        }
        failures.finish()
    }
}
