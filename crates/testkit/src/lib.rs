//! 
pub mod bot_api;
