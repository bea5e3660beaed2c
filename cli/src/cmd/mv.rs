//! `dfs mv`.

use dfs_client::Dfs;
use dfs_types::{ErrorCode, FsError, FsPath};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome, print_error};
use crate::glob::Reading;
use crate::remote;
use crate::transfer::claims::Claims;
use crate::transfer::target::{RemoteTarget, exists_already};

/// How `dfs mv` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs mv /a.txt /b.txt         rename
  dfs mv /a.txt /b.txt /docs   move into an existing directory
  dfs mv -f /new /current      replace an existing file")]
pub(crate) struct Args {
    /// What to move; patterns are fine.
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// New name, or an existing directory.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Replace an existing file.
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("mv");
        let sources = remote::sources(&dfs, &self.sources, self.reading, &mut failures).await?;
        let several = sources.len() > 1 || self.sources.len() > 1;
        let target = RemoteTarget::look(&dfs, &self.target, several).await?;
        if let RemoteTarget::New(path) = &target {
            let message = format!("the target {path} does not exist: make it with 'dfs mkdir -p'");
            return Err(FsError::new(ErrorCode::NotFound, message).into());
        }
        let claims = Claims::new(sources.len());
        for source in sources {
            let outcome = self.rename(&dfs, source, &target, &claims).await;
            failures.keep(outcome)?;
        }
        failures.finish()
    }

    async fn rename(
        &self,
        dfs: &Dfs,
        source: remote::Source,
        target: &RemoteTarget,
        claims: &Claims<FsPath, FsPath>,
    ) -> Outcome {
        let remote::Source { path, status, name } = source;
        let Some(name) = name else {
            return Err(Failure::Usage(format!("{path} has to be named by its own name to be moved")));
        };
        let to = match target {
            RemoteTarget::NewSlash(to) if !status.is_directory() => {
                let message = format!("there is no directory {to}: make it with 'dfs mkdir -p'");
                return Err(FsError::new(ErrorCode::NotFound, message).into());
            }
            RemoteTarget::NewSlash(to) | RemoteTarget::As { path: to, .. } => to.clone(),
            RemoteTarget::Into(_) | RemoteTarget::New(_) => target.for_file(|| Ok(Some(name.as_str())))?,
        };
        if to == path {
            return Err(FsError::invalid(format!("{path} can't be moved to itself")).into());
        }
        let Some(claim) = claims.take(to.clone(), path.clone()).await? else {
            print_error("mv", &format!("{path} is named more than once: it is moved once"));
            return Ok(());
        };
        match dfs.rename(&path, &to, self.force).await {
            Ok(()) => {
                claim.keep();
                Ok(())
            }
            Err(error) => {
                // It may have been moved all the same, and what comes next would destroy it.
                if matches!(error.code, ErrorCode::Unavailable | ErrorCode::TimedOut) {
                    claim.keep();
                }
                Err(self.refused(error, &path, &to))
            }
        }
    }

    fn refused(&self, error: FsError, path: &FsPath, to: &FsPath) -> Failure {
        match error.code {
            ErrorCode::AlreadyExists if !self.force => exists_already(to),
            ErrorCode::NotEmpty => {
                let message = format!("the directory {to} is not empty: {path} can't replace it");
                FsError::new(ErrorCode::NotEmpty, message).into()
            }
            _ => error.into(),
        }
    }
}
