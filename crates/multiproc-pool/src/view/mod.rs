//! What a pool does, for people to see.
//!
//! - [`stats`]: how much is done and by whom, counted whether or not anybody asks
//! - [`timeline`]: which worker ran which task when, where the pool was built to keep that
//! - [`progress`]: how far a call is
//! - [`recorder`]: how that is kept, in memory that does not grow
//! - [`span`]: the span of a call, in its tasks
//! - [`describe`]: an encoded argument as text
//! - [`trace`], [`svg`]: a timeline as a file

mod describe;
mod progress;
pub(crate) mod recorder;
pub(crate) mod span;
mod stats;
mod svg;
mod timeline;
mod trace;

pub use progress::Progress;
pub use stats::{SlowTask, Stats, WorkerStats};
pub use timeline::{TaskOutcome, TaskSpan, Timeline, WorkerSpan};
