//! Ports that stay the same from run to run.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;

use crate::Error;

/// Where a server's port comes from.
///
/// Ranges lie below 32768, where the kernel takes ports for outgoing connections: a
/// client that keeps reconnecting to a dead server's port could otherwise be given
/// that very port, connect to itself and keep the server from coming back.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The user's choice, by the setting of this name.
    pub(crate) fixed: Option<u16>,
    pub(crate) setting: &'static str,
    /// Remembers the choice of the last run.
    pub(crate) file: PathBuf,
    pub(crate) range: Range<u16>,
}

impl Choice {
    /// The fixed port, else the last one, else any free one.
    pub(crate) fn choose(&self) -> Result<u16, Error> {
        if let Some(port) = self.fixed {
            return if is_free(port) {
                Ok(port)
            } else {
                Err(Error::PortTaken { port, setting: self.setting })
            };
        }
        let last = fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(port) = last.filter(|port| is_free(*port)) {
            return Ok(port);
        }
        let port = (0..1000)
            .map(|_| rand::random_range(self.range.clone()))
            .find(|port| is_free(*port))
            .ok_or(Error::NoPort { setting: self.setting })?;
        fs::write(&self.file, format!("{port}\n")).map_err(Error::io("writing", &self.file))?;
        Ok(port)
    }

    /// Whether a server that failed on `port` may be tried on another one: somebody
    /// took it between our look and the server's.
    pub(crate) fn was_overtaken(&self, port: u16) -> bool {
        self.fixed.is_none() && !is_free(port)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
