mod admission;
mod approvals;
mod cancel;
mod fixtures;
mod interleavings;
mod late;
mod limits;
mod offers;
mod panics;
mod parallel;
mod properties;
mod replay;
mod size;
mod timeouts;
mod tool_run;
mod wishes;
mod world;

pub(crate) use panics::panic_if_told;
