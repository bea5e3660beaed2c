//! What every long-running process needs: logs, the HTTP port with health and metrics, room for open files, and a clean
//! stop.

pub mod admin;
pub mod limits;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;

pub use admin::{Admin, Readiness};
pub use metrics::{Described, Kind, Meter};
pub use shutdown::Shutdown;
pub use telemetry::LogFormat;
