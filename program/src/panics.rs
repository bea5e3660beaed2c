//! Panics are told in the same way as everything else: where it can't be done it is left out.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

/// From now on each panic of any thread is told by `tell`, as one line (and a backtrace if `RUST_BACKTRACE` asks for it).
/// The usual hook writes to standard error under its lock, and waits there as long as nobody reads.
pub fn told_by(tell: impl Fn(String) + Send + Sync + 'static) {
    set_hook(Box::new(move |panic| tell(describe(panic))));
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let current = std::thread::current();
    let thread = current.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let text = format!("thread '{thread}' panicked{place}: {}", message(panic.payload()));
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("{text}\n{backtrace}"),
        _ => text,
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
