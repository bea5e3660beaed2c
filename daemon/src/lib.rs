//! What every long-running process needs: logs, the HTTP port with health and metrics, an accept loop, budgets of memory and
//! open files, and a clean stop.

pub mod accept;
pub mod admin;
pub mod budget;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;

pub use accept::Room;
pub use admin::{Admin, Readiness};
pub use budget::Budget;
pub use memory::Memory;
pub use metrics::{Described, Kind, Meter};
pub use shutdown::Shutdown;
pub use telemetry::{Log, LogFile, LogFormat};
