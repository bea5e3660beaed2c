//! A writer that does what it is told on standard input, for tests that kill it with a file open.
//!
//! `held_writer NAMENODE PATH CHUNK_SIZE SEED` creates the file. Then each line is a command: `write BYTES` (a multiple of
//! 8), `hsync`, `hflush`. Each is answered, when it is done, by a line with the number of bytes written so far.

use std::io::Write;

use anyhow::{Context, Result, bail};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::content::Stream;
use dfs_types::FsPath;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [namenode, path, chunk_size, seed] = arguments.as_slice() else {
        bail!("usage: held_writer NAMENODE PATH CHUNK_SIZE SEED");
    };
    let dfs = Dfs::connect(namenode).await?;
    let options = CreateOptions { chunk_size: Some(chunk_size.parse()?), ..CreateOptions::default() };
    let mut writer = dfs.create(&FsPath::parse(path)?, options).await?;
    let mut content = Stream::new(seed.parse()?);
    let mut written = 0;
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    answer(written)?;
    while let Some(line) = commands.next_line().await? {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("write", bytes) => {
                let mut bytes = vec![0; bytes.parse().context("write BYTES")?];
                content.fill(&mut bytes);
                writer.write_all(&bytes).await?;
                written += bytes.len();
            }
            ("hsync", "") => writer.hsync().await?,
            ("hflush", "") => writer.hflush().await?,
            _ => bail!("'{line}' is not a command"),
        }
        answer(written)?;
    }
    Ok(())
}

fn answer(written: usize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{written}")?;
    Ok(out.flush()?)
}
