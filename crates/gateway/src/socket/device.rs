//! Devices: programs of a user that run tools under a name of their own.
//!
//! A device outlives its connections. While it is away, a call for it waits for as long as the
//! tool may take; when it comes back, open calls are sent again, with the same id.

use std::sync::Arc;

use serde::Deserialize;

use super::dialect::{Command, Refused};
use super::offer::{Declaration, Numbers, Offer, Patience};

/// Bytes of a device's name.
const NAME: usize = 64;

/// How long a tool that a client runs may take (capabilities, ADP-04).
pub(super) const PATIENCE: Patience = Patience { default_ms: 30_000, most_ms: 30_000 };

/// A device says who it is and what it can do.
#[derive(Debug, Deserialize)]
pub(super) struct DeviceHello {
    #[serde(alias = "device_id")]
    device: String,
    #[serde(default)]
    tools: Vec<Declaration>,
}

impl DeviceHello {
    pub(super) fn attach(self) -> Result<Command, Refused> {
        let Self { device, tools } = self;
        if device.is_empty() || device.len() > NAME {
            let message = format!("device: a name has 1 to {NAME} bytes");
            return Err(Refused::new("bad_frame", message));
        }
        let offer = Offer::new(tools, PATIENCE, Numbers::Any);
        let offer = offer.map_err(|error| Refused::new("bad_tool", error.to_string()))?;
        Ok(Command::Attach { device, offer: Arc::new(offer) })
    }
}
