//! What is written into files and read from them.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Checked, Ops, Run, contains, equal, same_bytes, sample};
use crate::exit::Outcome;

const SMALL: &[u8] = b"hello, file system\n";
/// Five chunks of a mebibyte and a bit of a sixth.
const SEVERAL_CHUNKS: usize = (5 << 20) + 17;
/// How long a child may take to do what it is asked for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn checks(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("put stores a file, cat shows it", async {
        ops.write("small", SMALL).await?;
        ops.ok("put @/small {}/small").await?;
        same_bytes(&ops.bytes("cat {}/small", b"").await?, SMALL)
    })
    .await?;
    run.check("put refuses an existing file and keeps it", async {
        ops.write("other", b"other").await?;
        ops.fails_saying(1, "put @/other {}/small", "add -f").await?;
        same_bytes(&ops.bytes("cat {}/small", b"").await?, SMALL)
    })
    .await?;
    run.check("put -f replaces it", async {
        ops.ok("put -f @/other {}/small").await?;
        same_bytes(&ops.bytes("cat {}/small", b"").await?, b"other")?;
        ops.ok("put -f @/small {}/small").await.map(drop)
    })
    .await?;
    run.check("put into a directory keeps the names", async {
        ops.ok("mkdir {}/into").await?;
        ops.ok("put @/small @/other {}/into").await?;
        equal(ops.ok("ls {}/into").await?.trim(), "other\nsmall")?;
        ops.ok("put @/small @/other {}/made/for/them").await?;
        equal(ops.ok("ls {}/made/for/them").await?.trim(), "other\nsmall")
    })
    .await?;
    run.check("put and get an empty file", async {
        ops.write("empty", b"").await?;
        ops.ok("put @/empty {}/empty").await?;
        ops.ok("get {}/empty @/empty-back").await?;
        same_bytes(&ops.read("empty-back").await?, b"")
    })
    .await?;
    run.check("put - stores standard input, get - writes standard output", async {
        let bytes = sample(300_000);
        ops.ok_with("put - {}/piped", &bytes).await?;
        same_bytes(&ops.bytes("get {}/piped -", b"").await?, &bytes)?;
        ops.fails(2, "put - {}/into").await.map(drop)
    })
    .await?;
    run.check("put of nothing, of a folder or below a file fails and leaves nothing", async {
        ops.fails_saying(3, "put @/none {}/x", "no such file").await?;
        ops.fails_saying(1, "put @ {}/x", "-r").await?;
        ops.fails(1, "put @/small {}/small/x").await?;
        ops.fails(3, "stat {}/x").await.map(drop)
    })
    .await?;
    chunks(ops, run).await?;
    copies(ops, run).await?;
    ends(ops, run).await?;
    run.check("get refuses an existing file, -f replaces it", async {
        ops.write("there", b"mine").await?;
        ops.fails_saying(1, "get {}/small @/there", "add -f").await?;
        same_bytes(&ops.read("there").await?, b"mine")?;
        ops.ok("get -f {}/small @/there").await?;
        same_bytes(&ops.read("there").await?, SMALL)
    })
    .await?;
    run.check("get of nothing or of a directory fails", async {
        ops.fails(3, "get {}/none @/x").await?;
        ops.fails_saying(1, "get {}/dir @/x", "-r").await
    })
    .await?;
    run.check("put -p and get -p keep mode and time", async {
        ops.ok("touch {}/kept").await?;
        ops.ok("chmod 640 {}/kept").await?;
        ops.ok("get -p {}/kept @/kept").await?;
        ops.ok("put -p @/kept {}/kept-again").await?;
        let (before, after) = (ops.json("stat {}/kept").await?, ops.json("stat {}/kept-again").await?);
        equal(&after[0]["mode"], &before[0]["mode"])?;
        equal(&after[0]["mtime"], &before[0]["mtime"])
    })
    .await?;
    run.check("cat shows several files and goes on after a missing one", async {
        same_bytes(&ops.bytes("cat {}/small {}/small", b"").await?, &[SMALL, SMALL].concat())?;
        let ended = ops.call("cat {}/none {}/small", b"").await?;
        same_bytes(&ended.stdout, SMALL)?;
        equal(&ended.status, &Some(3))?;
        ops.fails(1, "cat {}/dir").await.map(drop)
    })
    .await?;
    run.check("tail shows the end", async {
        equal(ops.ok("tail -c 7 {}/small").await?.as_str(), "system\n")?;
        equal(ops.ok("tail {}/small").await?.as_bytes(), SMALL)?;
        ops.fails(3, "tail {}/none").await.map(drop)
    })
    .await?;
    run.check("an interrupted put leaves nothing behind", interrupted_put(ops)).await?;
    run.check("a closed pipe ends cat quietly", closed_pipe(ops)).await
}

async fn ends(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("append writes to the end of a file, and makes it", async {
        ops.write("first", b"one,").await?;
        ops.ok("append @/first {}/end").await?;
        ops.ok_with("append @/first - {}/end", b"two").await?;
        same_bytes(&ops.bytes("cat {}/end", b"").await?, b"one,one,two")?;
        ops.fails(3, "append @/first {}/none/end").await?;
        ops.fails(1, "append @/none {}/end").await.map(drop)
    })
    .await?;
    run.check("truncate shortens a file, and only that", async {
        ops.ok("truncate 5 {}/end").await?;
        same_bytes(&ops.bytes("cat {}/end", b"").await?, b"one,o")?;
        ops.fails_saying(1, "truncate 6 {}/end", "only shortens").await?;
        ops.fails(3, "truncate 0 {}/none").await.map(drop)
    })
    .await?;
    run.check("concat moves contents to the end of a file", async {
        ops.ok("put @/first {}/second").await?;
        ops.ok("concat {}/end {}/second").await?;
        same_bytes(&ops.bytes("cat {}/end", b"").await?, b"one,oone,")?;
        ops.fails(3, "stat {}/second").await?;
        ops.fails(1, "concat {}/end {}/end").await.map(drop)
    })
    .await
}

async fn chunks(ops: &Ops, run: &mut Run) -> Outcome {
    let bytes = sample(SEVERAL_CHUNKS);
    run.check("a file of several chunks comes back as it was", async {
        ops.write("chunks", &bytes).await?;
        ops.ok("put --chunk-size 1MiB @/chunks {}/chunks").await?;
        ops.ok("get {}/chunks @/chunks-back").await?;
        same_bytes(&ops.read("chunks-back").await?, &bytes)
    })
    .await?;
    run.check("info shows its chunks and their replicas", async {
        let info = ops.json("info {}/chunks").await?;
        let chunks = info[0]["chunks"].as_array().ok_or("there are no chunks")?;
        equal(&chunks.len(), &6)?;
        let lengths: u64 = chunks.iter().filter_map(|chunk| chunk["length"].as_u64()).sum();
        equal(&lengths, &(SEVERAL_CHUNKS as u64))?;
        if chunks.iter().any(|chunk| chunk["replicas"].as_array().is_none_or(Vec::is_empty)) {
            return Err(format!("a chunk has no replica: {info}"));
        }
        contains(&ops.ok("info {}/chunks").await?, "complete")?;
        ops.fails(1, "info {}/dir").await.map(drop)
    })
    .await?;
    run.check("the checksum does not depend on chunk size or name", async {
        ops.ok("put --chunk-size 2MiB --no-sync @/chunks {}/chunks2").await?;
        let (one, two) = (ops.json("checksum {}/chunks").await?, ops.json("checksum {}/chunks2").await?);
        equal(&one[0]["value"], &two[0]["value"])?;
        ops.ok("put - {}/chunks3").await?;
        let other = ops.json("checksum {}/chunks3").await?;
        if other[0]["value"] == one[0]["value"] {
            return Err("different files have the same checksum".to_owned());
        }
        ops.fails(1, "checksum {}/dir").await.map(drop)
    })
    .await?;
    run.check("a wrong chunk size or replication is refused", async {
        ops.fails(1, "put --chunk-size 1000 @/small {}/x").await?;
        ops.fails(2, "put --chunk-size 1XB @/small {}/x").await?;
        ops.fails(2, "put --replication 0 @/small {}/x").await?;
        ops.fails(3, "stat {}/x").await.map(drop)
    })
    .await
}

async fn copies(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("put --replication 1 stores one replica", async {
        ops.ok("put --replication 1 @/small {}/single").await?;
        let info = ops.json("info {}/single").await?;
        equal(&info[0]["replication"], &1.into())?;
        equal(&info[0]["chunks"][0]["replicas"].as_array().map(Vec::len), &Some(1))
    })
    .await?;
    run.check("cp copies a file, and replaces one only with -f", async {
        ops.ok("cp {}/chunks {}/copy").await?;
        same_bytes(&ops.bytes("cat {}/copy", b"").await?, &sample(SEVERAL_CHUNKS))?;
        ops.fails_saying(1, "cp {}/small {}/copy", "add -f").await?;
        ops.ok("cp -f {}/small {}/copy").await?;
        same_bytes(&ops.bytes("cat {}/copy", b"").await?, SMALL)?;
        ops.fails(1, "cp {}/small {}/small").await?;
        ops.fails(3, "cp {}/none {}/copy").await.map(drop)
    })
    .await
}

/// Feeds a put without end, interrupts it, and looks for leftovers.
async fn interrupted_put(ops: &Ops) -> Checked {
    let mut child = ops.program.spawn(&ops.words("put - {}/interrupted"))?;
    let mut stdin = child.stdin.take().ok_or("the child has no standard input")?;
    let piece = sample(1 << 20);
    for _ in 0..4 {
        tokio::time::timeout(PATIENCE, stdin.write_all(&piece))
            .await
            .map_err(|_| "put does not take its input".to_owned())?
            .map_err(|error| format!("put closed its input: {error}"))?;
    }
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // Not SIGINT, which a job in the background of a script ignores, and so do its children.
    kill_process(pid.ok_or("put ended by itself")?, Signal::TERM).map_err(|error| error.to_string())?;
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .map_err(|_| "put does not end when interrupted".to_owned())?
        .map_err(|error| error.to_string())?;
    equal(&status.code(), &Some(130))?;
    let left = ops.ok("ls {}").await?;
    if left.contains("interrupted") { Err(format!("something is left: {left}")) } else { Ok(()) }
}

async fn closed_pipe(ops: &Ops) -> Checked {
    let mut child = ops.program.spawn(&ops.words("cat {}/chunks"))?;
    let mut stdout = child.stdout.take().ok_or("the child has no standard output")?;
    let mut first = [0; 1];
    stdout.read_exact(&mut first).await.map_err(|error| format!("cat wrote nothing: {error}"))?;
    drop(stdout);
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| "cat does not end".to_owned())?
        .map_err(|error| error.to_string())?;
    equal(&ended.status.code(), &Some(141))?;
    equal(String::from_utf8_lossy(&ended.stderr).as_ref(), "")
}
