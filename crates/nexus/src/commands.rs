//! One file for each command.

pub(crate) mod ask;
pub(crate) mod bus;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod lists;
pub(crate) mod providers;
pub(crate) mod replay;
pub(crate) mod schema;
pub(crate) mod tail;
pub(crate) mod usage;
