//! Stores a few bytes, reads them back in three ways and cleans up.
//!
//! ```sh
//! make run-cluster
//! cargo run -p dfs-client --example hello              # or: … hello HOST:PORT
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

use dfs_client::{CreateOptions, Dfs};
use dfs_types::FsPath;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let dfs = Dfs::connect(address).await?;
    let path = FsPath::parse("/example/hello")?;

    let options = CreateOptions { parents: true, overwrite: true, ..CreateOptions::default() };
    let mut writer = dfs.create(&path, options).await?;
    writer.write_all(b"hello, ").await?;
    // From here on other clients can read these bytes, and they survive a crash of any node.
    writer.hsync().await?;
    writer.write_all(b"world\n").await?;
    let status = writer.close().await?;
    println!("{path} has {} bytes, {} replicas of each chunk", status.length, status.replication);

    let mut reader = dfs.open(&path).await?;
    reader.seek(std::io::SeekFrom::Start(7)).await?;
    let mut rest = String::new();
    reader.read_to_string(&mut rest).await?;
    println!("from byte 7 on: {}", rest.trim_end());

    let whole = dfs.open(&path).await?.read_all().await?;
    println!("the whole: {}", String::from_utf8_lossy(&whole).trim_end());
    println!("CRC32C: {:08x}", dfs.checksum(&path).await?.crc32c);

    dfs.delete(&FsPath::parse("/example")?, true).await?;
    Ok(())
}
