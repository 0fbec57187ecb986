//! OSC as a tool: agents drive declared targets, and what these say becomes events.
//!
//! A target is a file in `bus-config/osc/`, live through the bus; its profile, a file in
//! `bus-config/osc-profiles/`, says what there is to get, to set and to do, so that another program is
//! data and not code. Invariants: nothing is sent but to a declared target of the call's tenant, and
//! to addresses that the target or its profile allows; a tool is advertised only while there is a
//! target for it; every send is an `osc.sent`, every recorded packet one `osc.received`, in the
//! conversation that is named after the target; recording is bounded per target, and what is
//! dropped is counted.
//!
//! Replies come to one port per target and machine: run one tools worker on a machine with targets.

mod allow;
mod argument;
mod declared;
mod fault;
mod link;
mod log;
mod profile;
mod query;
mod record;
mod send;
mod table;
mod targets;

pub use argument::{played, recorded};
pub use fault::{fault_of_profile, fault_of_target};
pub(crate) use targets::Targets;

/// The channel of all OSC events.
const CHANNEL: &str = "osc";
