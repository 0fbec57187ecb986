use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::keyring::Keyring;
use crate::seal::KEY_BYTES;
use crate::sources::Fill;

/// Most bytes of a file of keys: far above a thousand rotations.
const MAX_BYTES: u64 = 256 * 1024;

/// Where the master keys come from.
#[derive(Clone)]
pub enum KeySource {
    /// A file that only its owner may read; it may be missing.
    File(PathBuf),
    /// Lines of such a file from somewhere else, separated by line ends or `,`.
    Fixed {
        /// What people call it, for example `NEXUS_VAULT_KEYS`.
        place: String,
        lines: SecretString,
    },
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({})", self.place())
    }
}

impl KeySource {
    /// What people call it.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Fixed { place, .. } => place.clone(),
        }
    }

    /// Reads the keys as they are now; a missing file holds none.
    ///
    /// # Errors
    /// [`Error::Permissions`] when others may read the file, [`Error::File`], [`Error::KeyLine`].
    pub fn read(&self) -> Result<Keyring, Error> {
        match self {
            Self::File(path) => Keyring::parse(&read(path)?, &self.place()),
            Self::Fixed { place, lines } => {
                let lines = Zeroizing::new(lines.expose_secret().replace(',', "\n"));
                Keyring::parse(&lines, place)
            }
        }
    }

    /// Makes the first key if there is none yet; returns its id if it did.
    ///
    /// # Errors
    /// As [`Self::read`] and [`Self::add`].
    pub fn prepare(&self, fill: Fill) -> Result<Option<String>, Error> {
        match self.read()?.first() {
            Ok(_) => Ok(None),
            Err(_) => self.add(fill).map(Some),
        }
    }

    /// Puts a new key before all others, and returns its id.
    ///
    /// # Errors
    /// [`Error::FixedKeys`], [`Error::Randomness`], [`Error::File`], and as [`Self::read`].
    pub fn add(&self, fill: Fill) -> Result<String, Error> {
        let Self::File(path) = self else {
            return Err(Error::FixedKeys { place: self.place() });
        };
        let before = read(path)?;
        let id = Keyring::parse(&before, &self.place())?.next_id();
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        fill(&mut *key)?;
        let text = Zeroizing::new(format!("{}{}", Keyring::line(&id, &key).as_str(), &*before));
        let doing = "writing the master keys to";
        write(path, text.as_bytes()).map_err(|source| file_error(doing, path, source))?;
        Ok(id)
    }
}

fn file_error(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { doing, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |source| file_error("reading the master keys in", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Zeroizing::default()),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Permissions { path: path.to_owned(), mode });
    }
    let length = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0);
    // Room for all of it: a growing text would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length + 64));
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Writes the file whole or not at all, for its owner alone.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let next = path.with_extension("next");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    // A key that a credential is encrypted under must survive a power cut.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the real one")]
    fn ones(bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(1);
        Ok(())
    }

    fn ids(source: &KeySource) -> Vec<String> {
        source.read().unwrap().ids().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_key_is_made_once_and_later_ones_come_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/master.keys");
        let source = KeySource::File(path.clone());
        assert_eq!(ids(&source), [""; 0]);
        assert_eq!(source.prepare(ones).unwrap().as_deref(), Some("v1"));
        assert_eq!(source.prepare(ones).unwrap(), None);
        let made = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        assert_eq!(source.add(ones).unwrap(), "v2");
        assert_eq!(ids(&source), ["v2", "v1"]);
        assert!(fs::read_to_string(&path).unwrap().ends_with(&made), "old keys stay as they were");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.keys");
        let source = KeySource::File(path.clone());
        source.prepare(ones).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let shown = path.display();
            let expected =
                format!("{shown} may be read by others (mode {mode:03o}); run: chmod 600 {shown}");
            assert_eq!(source.read().unwrap_err().to_string(), expected);
            assert!(source.add(ones).is_err(), "and nothing is written over it");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(ids(&source), ["v1"]);
    }

    #[test]
    fn keys_of_the_environment_are_read_and_never_changed() {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let lines = SecretString::from(format!("v2 {key},v1 {key}"));
        let source = KeySource::Fixed { place: "NEXUS_VAULT_KEYS".to_owned(), lines };
        assert_eq!(ids(&source), ["v2", "v1"]);
        assert_eq!(format!("{source:?}"), "KeySource(NEXUS_VAULT_KEYS)");
        assert!(
            source.add(ones).unwrap_err().to_string().contains("come from NEXUS_VAULT_KEYS, which")
        );
    }
}
