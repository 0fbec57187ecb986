//! What tests need and production does not: stand-ins for services, and Nexus as a process.

pub mod bot_api;
pub mod process;
