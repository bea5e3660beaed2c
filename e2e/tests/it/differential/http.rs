//! As much of an HTTP client as WebHDFS needs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Largest answer that is taken, in bytes: listings and files of these tests are far below it.
const MAX_ANSWER_BYTES: u64 = 8 << 20;
/// Time for one request.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Sends one request. It is of HTTP 1.0, so that the answer comes in one piece and ends with the connection.
pub(super) async fn request(method: &str, url: &str, body: &[u8]) -> Result<Reply> {
    timeout(PATIENCE, exchange(method, url, body))
        .await
        .with_context(|| format!("{method} {url}: no answer within {PATIENCE:?}"))?
        .with_context(|| format!("{method} {url}"))
}

async fn exchange(method: &str, url: &str, body: &[u8]) -> Result<Reply> {
    let rest = url.strip_prefix("http://").context("the URL must begin with http://")?;
    let (host, target) = rest.split_at(rest.find('/').context("the URL must have a path")?);
    let mut stream = TcpStream::connect(host).await?;
    let head =
        format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut answer).await?;
    ensure!(answer.len() as u64 <= MAX_ANSWER_BYTES, "the answer has more than {MAX_ANSWER_BYTES} bytes");
    final_reply(&answer)
}

/// The reply in an answer. A DataNode sends `100 Continue` before it, asked for or not.
fn final_reply(mut answer: &[u8]) -> Result<Reply> {
    loop {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let (head, rest) = answer.split_at(end.context("the answer has no end of its head")? + 4);
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let status = std::str::from_utf8(line)?.split(' ').nth(1);
        let status: u16 = status.context("the answer has no status")?.parse()?;
        if status >= 200 {
            return Ok(Reply { status, body: rest.to_owned() });
        }
        answer = rest;
    }
}
