//! One operation on a cell, through the client library.

use anyhow::{Result, anyhow};
use dfs_client::{CreateOptions, Dfs, FileWriter};
use dfs_e2e::cell::{Answer, Entry, Mark, Name, Operation, State};
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath, InodeId};

/// An entry that was seen, and its inode.
pub(super) type Sighting = (Mark, InodeId);

/// How an operation ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was answered.
    Answered(Answer, Vec<Sighting>),
    /// A file was made and is to be closed.
    Opened(Box<FileWriter>),
    /// Nobody knows whether it took effect.
    Unknown,
}

/// Asks for `operation` on the cell in `directory`. Fails if the answer is one that nothing here may be given.
pub(super) async fn perform(dfs: &Dfs, directory: &FsPath, operation: Operation) -> Result<Outcome> {
    let path = |name: Name| directory.join(&name.to_string());
    let done = match operation {
        Operation::Create(name, mark) => {
            let options = CreateOptions { mode: mark.mode().into(), ..CreateOptions::default() };
            dfs.create(&path(name)?, options).await.map(|writer| Outcome::Opened(Box::new(writer)))
        }
        Operation::Mkdir(name, mark) => {
            dfs.mkdir(&path(name)?, mark.mode()).await.map(|status| seen(Answer::Done, &[status]))
        }
        Operation::Delete(name) => {
            dfs.delete(&path(name)?, true).await.map(|existed| seen(Answer::Removed(existed), &[]))
        }
        Operation::Rename { from, to, overwrite } => {
            dfs.rename(&path(from)?, &path(to)?, overwrite).await.map(|()| seen(Answer::Done, &[]))
        }
        Operation::Stat(name) => match dfs.stat(&path(name)?).await {
            Ok(status) => Ok(seen(Answer::Found(Some(Entry::of(&status))), &[status])),
            Err(error) if error.code == ErrorCode::NotFound => Ok(seen(Answer::Found(None), &[])),
            Err(error) => Err(error),
        },
        Operation::List => return list(dfs, directory).await,
        // What a writer does by itself.
        Operation::Abandon(..) => Ok(Outcome::Unknown),
    };
    done.or_else(|error| failed(operation, error))
}

/// All entries, in one page and so of one moment.
async fn list(dfs: &Dfs, directory: &FsPath) -> Result<Outcome> {
    let (entries, more) = match dfs.list_page(directory, "", 0).await {
        Ok(page) => page,
        Err(error) => return failed(Operation::List, error),
    };
    let mut state = State::default();
    for entry in &entries {
        let place = (0..).map(Name).zip(&mut state).find(|(name, _)| name.to_string() == entry.name);
        let (_, place) = place.ok_or_else(|| anyhow!("{directory} has an entry {}", entry.name))?;
        *place = Some(Entry::of(&entry.status));
    }
    anyhow::ensure!(!more, "{directory} is listed in several pages");
    let statuses: Vec<_> = entries.into_iter().map(|entry| entry.status).collect();
    Ok(seen(Answer::Listed(state), &statuses))
}

fn seen(answer: Answer, statuses: &[FileStatus]) -> Outcome {
    let sightings = statuses.iter().map(|status| (Entry::of(status).mark, status.inode)).collect();
    Outcome::Answered(answer, sightings)
}

/// What an error says of an operation.
fn failed(operation: Operation, error: FsError) -> Result<Outcome> {
    match error.code {
        ErrorCode::NotFound
        | ErrorCode::AlreadyExists
        | ErrorCode::NotADirectory
        | ErrorCode::IsADirectory
        | ErrorCode::NotEmpty => Ok(seen(Answer::Refused(error.code), &[])),
        code if code.is_transient() || code == ErrorCode::TimedOut => Ok(Outcome::Unknown),
        _ => Err(anyhow!("{operation:?} failed in a way it never may: {error:?}")),
    }
}

/// Closes a file that was just made. Answers what is seen of it; nothing if it could not be closed, as when another
/// client deleted it: then the writer abandons it.
pub(super) async fn close(writer: FileWriter) -> Result<Option<Sighting>> {
    match writer.close().await {
        Ok(status) => Ok(Some((Entry::of(&status).mark, status.inode))),
        Err(error) => match error.code {
            ErrorCode::NotFound | ErrorCode::LeaseConflict | ErrorCode::TimedOut => Ok(None),
            code if code.is_transient() => Ok(None),
            _ => Err(anyhow!("closing a file failed in a way it never may: {error:?}")),
        },
    }
}
