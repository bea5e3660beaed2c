//! Standard output and standard error, none of which is trusted to work.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use dfs_descriptors::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How long a last word may take: whoever reads standard error may have stopped reading.
const LAST_WORD: Duration = Duration::from_secs(2);
/// How long a descriptor that does not block may take to accept more.
const WRITABLE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// One line on standard error, as a whole. A failure is nobody's business.
pub fn tell(line: &str) {
    let _lost = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// As [`tell`], but waits two seconds at most: for the last word of a program that must end.
pub fn tell_and_go(line: String) {
    let (done, told) = mpsc::channel::<()>();
    let teller = std::thread::Builder::new().name("last-word".to_owned()).spawn(move || {
        let _lost = StandardError.write_all(format!("{line}\n").as_bytes());
        drop(done);
    });
    if teller.is_ok() {
        // Either way the program ends now.
        let _ = told.recv_timeout(LAST_WORD);
    }
}

/// Whether standard input is something that can be read. The library takes one that can't be for an empty one.
pub fn check_input() -> io::Result<()> {
    check(Stream::Input, &io::stdin(), OFlags::WRONLY)
}

/// Whether standard output is something that can be written. The library writes to one that can't be, and is content.
pub fn check_output() -> io::Result<()> {
    check(Stream::Output, &io::stdout(), OFlags::RDONLY)
}

fn check(stream: Stream, descriptor: &impl AsFd, useless: OFlags) -> io::Result<()> {
    if !stream.was_given() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is closed"));
    }
    let flags = rustix::fs::fcntl_getfl(descriptor)?;
    if flags.contains(OFlags::PATH) || flags & OFlags::RWMODE == useless {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not open for this"));
    }
    Ok(())
}

/// Text on standard output, which is there when this returns. Errors: what the descriptor says, such as `StorageFull`.
pub fn print(text: &str) -> io::Result<()> {
    StandardOutput.write_all(text.as_bytes())?;
    StandardOutput.flush()
}

/// Standard output as the library has it, but with an error where nothing can be written.
#[derive(Debug, Clone, Copy)]
pub struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check_output()?;
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Standard error without the lock that all users of [`io::stderr`] share: who is stuck here holds up nobody else.
#[derive(Debug, Clone, Copy)]
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match rustix::io::write(&stderr, bytes) {
                // Another process may have made the shared descriptor one that does not block.
                Err(Errno::AGAIN) => {
                    if poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&WRITABLE))? == 0 {
                        return Err(Errno::AGAIN.into());
                    }
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
