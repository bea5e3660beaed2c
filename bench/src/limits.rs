//! What this machine can do, measured in the same run as what we do with it.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

/// Bytes a raw read or write moves at a time.
const BUFFER: usize = 1 << 20;

/// The machine's limits, each in bytes per second unless its name says otherwise.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limits {
    /// One file written and fsynced.
    pub(crate) disk_write_fsync: f64,
    /// One file written into the page cache.
    pub(crate) page_cache_write: f64,
    /// One file read after its pages were dropped from the cache.
    pub(crate) disk_read: f64,
    /// One TCP stream over loopback.
    pub(crate) loopback: f64,
    /// CRC32C over 512-byte units, one core.
    pub(crate) crc32c: f64,
    /// Memory copy, one core.
    pub(crate) memcpy: f64,
    /// Appends of 4 KiB with fdatasync per second, one writer.
    pub(crate) fsyncs_per_second: f64,
    /// Raw sockets and files: sender → three relays in a row, each of which writes all it forwards to a file.
    pub(crate) pipeline: f64,
    /// The same with an fsync of each file at the end.
    pub(crate) pipeline_fsync: f64,
    /// Raw sockets: a cached file sent over loopback and written to a file in memory.
    pub(crate) fetch: f64,
}

/// Takes as much memory as the measurements need, writes to each page, and gives it back. On a virtual machine the first
/// use of a page may cost more than anything measured here, so it must not fall into what is measured first.
pub(crate) fn touch_memory(bytes: u64) -> Result<()> {
    let available = fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .context("/proc/meminfo tells MemAvailable")?;
    // The source, three replicas in the page cache, what comes back, and as much again for buffers and databases.
    let wanted = (10 * bytes).min((available << 10) / 10 * 7);
    let pieces: Vec<Vec<u8>> = (0..wanted / BUFFER as u64).map(|_| vec![1; BUFFER]).collect();
    black_box(&pieces);
    Ok(())
}

/// Measures every limit with `bytes` of data in `disk`, and `memory` for the fetched copy.
pub(crate) fn measure(disk: &Path, memory: &Path, bytes: u64) -> Result<Limits> {
    let file = disk.join("limit");
    let (page_cache_write, disk_write_fsync) = disk_write(&file, bytes)?;
    let disk_read = disk_read(&file, bytes)?;
    let limits = Limits {
        disk_write_fsync,
        page_cache_write,
        disk_read,
        loopback: loopback(bytes)?,
        crc32c: crc32c(),
        memcpy: memcpy(),
        fsyncs_per_second: fsyncs(disk)?,
        pipeline: pipeline(disk, bytes, false)?,
        pipeline_fsync: pipeline(disk, bytes, true)?,
        fetch: fetch(&file, memory, bytes)?,
    };
    fs::remove_file(&file)?;
    Ok(limits)
}

fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(bytes);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    data
}

fn disk_write(path: &Path, bytes: u64) -> Result<(f64, f64)> {
    let buffer = noise(BUFFER);
    let mut file = File::create(path)?;
    let start = Instant::now();
    for _ in 0..bytes / BUFFER as u64 {
        file.write_all(&buffer)?;
    }
    let cached = start.elapsed();
    file.sync_all()?;
    Ok((rate(bytes, cached), rate(bytes, start.elapsed())))
}

fn disk_read(path: &Path, bytes: u64) -> Result<f64> {
    let mut file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let mut buffer = vec![0; BUFFER];
    let start = Instant::now();
    while file.read(&mut buffer)? > 0 {}
    Ok(rate(bytes, start.elapsed()))
}

/// A connected pair of TCP sockets on loopback: (client's end, server's end).
fn socket_pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

fn send(mut to: TcpStream, bytes: u64) -> Result<()> {
    let buffer = noise(BUFFER);
    for _ in 0..bytes / BUFFER as u64 {
        to.write_all(&buffer)?;
    }
    Ok(())
}

fn join(handle: thread::JoinHandle<Result<()>>) -> Result<()> {
    handle.join().map_err(|_| anyhow::anyhow!("a measuring thread panicked"))?
}

fn loopback(bytes: u64) -> Result<f64> {
    let (client, mut server) = socket_pair()?;
    let start = Instant::now();
    let sender = thread::spawn(move || send(client, bytes));
    let mut buffer = vec![0; BUFFER];
    while server.read(&mut buffer)? > 0 {}
    join(sender)?;
    Ok(rate(bytes, start.elapsed()))
}

fn relay(mut from: TcpStream, mut to: Option<TcpStream>, path: &Path, sync: bool) -> Result<()> {
    let mut file = File::create(path)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        if let Some(next) = &mut to {
            next.write_all(&buffer[..read])?;
        }
        file.write_all(&buffer[..read])?;
    }
    if sync {
        file.sync_all()?;
    }
    Ok(())
}

fn pipeline(disk: &Path, bytes: u64, sync: bool) -> Result<f64> {
    let hops = (0..3).map(|_| socket_pair()).collect::<Result<Vec<_>>>()?;
    let (outs, ins): (Vec<_>, Vec<_>) = hops.into_iter().unzip();
    let mut outs = outs.into_iter();
    let first = outs.next().context("three hops")?;
    let paths: Vec<_> = (0..3).map(|hop| disk.join(format!("limit-hop-{hop}"))).collect();
    let start = Instant::now();
    let mut threads = vec![thread::spawn(move || send(first, bytes))];
    for (from, path) in ins.into_iter().zip(paths.clone()) {
        let to = outs.next();
        threads.push(thread::spawn(move || relay(from, to, &path, sync)));
    }
    threads.into_iter().try_for_each(join)?;
    let time = start.elapsed();
    paths.iter().try_for_each(fs::remove_file)?;
    Ok(rate(bytes, time))
}

fn fetch(file: &Path, memory: &Path, bytes: u64) -> Result<f64> {
    let mut source = File::open(file)?;
    let mut buffer = vec![0; BUFFER];
    while source.read(&mut buffer)? > 0 {}
    let mut source = File::open(file)?;
    let (mut client, server) = socket_pair()?;
    let copy = memory.join("dfs-bench-limit");
    let start = Instant::now();
    let sender = thread::spawn(move || -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..read])?;
        }
    });
    relay(server, None, &copy, false)?;
    join(sender)?;
    let time = start.elapsed();
    fs::remove_file(copy)?;
    Ok(rate(bytes, time))
}

/// Repeats `work`, which handles `bytes` each time, for about 300 ms.
fn repeat(bytes: u64, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < Duration::from_millis(300) {
        work();
        done += bytes;
    }
    rate(done, start.elapsed())
}

fn crc32c() -> f64 {
    let data = noise(BUFFER);
    repeat(BUFFER as u64, || {
        black_box(dfs_types::checksum::compute(black_box(&data)));
    })
}

fn memcpy() -> f64 {
    // Larger than the caches, so that memory itself is measured.
    let source = noise(64 * BUFFER);
    let mut target = vec![1; source.len()];
    repeat(source.len() as u64, || {
        target.copy_from_slice(black_box(&source));
        black_box(&target);
    })
}

fn fsyncs(disk: &Path) -> Result<f64> {
    let path = disk.join("limit-fsync");
    let mut file = File::create(&path)?;
    let block = noise(4_096);
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    let time = start.elapsed();
    fs::remove_file(path)?;
    Ok(f64::from(count) / time.as_secs_f64())
}
