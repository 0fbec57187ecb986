//! Secrets that people type or pipe in.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;

/// Most bytes that are read.
const MOST: u64 = 64 * 1024;

/// Turns the echo on again, whatever happens.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Result<Self> {
        let before = tcgetattr(io::stdin()).context("reading the terminal's settings")?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).context("hiding what is typed")?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        eprintln!();
    }
}

/// Reads a secret: typed without echo on a terminal, else all of standard input. Spaces and line
/// ends around it are left out.
pub(crate) fn read(prompt: &str) -> Result<SecretString> {
    // Room for any key: a growing text would leave copies behind.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(8 * 1024));
    if io::stdin().is_terminal() {
        eprint!("{prompt}: ");
        let _quiet = Quiet::begin()?;
        io::stdin().lock().read_line(&mut text).context("reading what is typed")?;
    } else {
        let piped = io::stdin().lock().take(MOST).read_to_string(&mut text);
        piped.context("reading standard input")?;
    }
    Ok(SecretString::from(text.trim().to_owned()))
}
