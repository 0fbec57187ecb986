//! The user that servers run as: ourselves, or `nobody` when we are root.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};

use crate::Error;

/// `nobody` has this id, and its group too, on every Linux that we know of.
const NOBODY: u32 = 65534;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Ourselves { user: u32 },
    Nobody,
}

impl Account {
    pub(crate) fn current() -> Self {
        match rustix::process::geteuid().as_raw() {
            0 => Self::Nobody,
            user => Self::Ourselves { user },
        }
    }

    /// User and group to switch to, if any.
    pub(crate) fn switch(self) -> Option<(u32, u32)> {
        match self {
            Self::Ourselves { .. } => None,
            Self::Nobody => Some((NOBODY, NOBODY)),
        }
    }

    /// The data folder, made if missing, as an absolute path that the servers can enter.
    pub(crate) fn make_data_folder(self, data: &Path) -> Result<PathBuf, Error> {
        let mode = match self {
            Self::Ourselves { .. } => 0o700,
            Self::Nobody => 0o711,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(data)
            .map_err(Error::io("making the folder", data))?;
        let data = data.canonicalize().map_err(Error::io("finding", data))?;
        self.check_reach(&data)?;
        Ok(data)
    }

    /// A folder that belongs to the servers' user, with everything in it.
    pub(crate) fn make_folder(self, folder: &Path) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("making the folder", folder)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let owner = fs::metadata(folder).map_err(Error::io("reading", folder))?.uid();
        match self {
            Self::Ourselves { user } if owner != user => {
                Err(Error::OtherOwner { folder: folder.to_path_buf(), owner, user })
            }
            Self::Nobody if owner != NOBODY => {
                give(folder).map_err(Error::io("changing the owner of", folder))
            }
            Self::Ourselves { .. } | Self::Nobody => Ok(()),
        }
    }

    /// Writes a file that only the servers' user, and root, can read; all of it or nothing.
    pub(crate) fn write_private(self, path: &Path, text: &str) -> Result<(), Error> {
        let part = path.with_added_extension("part");
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&part)?;
            file.write_all(text.as_bytes())?;
            if let Some((user, group)) = self.switch() {
                chown(&part, Some(user), Some(group))?;
            }
            file.sync_all()?;
            fs::rename(&part, path)
        };
        write().map_err(Error::io("writing", path))
    }

    /// Whether the servers' user can enter every folder above `path`, and `path` itself.
    pub(crate) fn check_reach(self, path: &Path) -> Result<(), Error> {
        if self.switch().is_none() {
            return Ok(());
        }
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        for folder in folders {
            let metadata = fs::metadata(folder).map_err(Error::io("reading", folder))?;
            if !nobody_enters(&metadata) {
                return Err(Error::Unreachable {
                    folder: folder.to_path_buf(),
                    path: path.to_path_buf(),
                });
            }
        }
        Ok(())
    }
}

fn nobody_enters(metadata: &Metadata) -> bool {
    let needed = match (metadata.uid(), metadata.gid()) {
        (NOBODY, _) => 0o100,
        (_, NOBODY) => 0o010,
        (_, _) => 0o001,
    };
    metadata.permissions().mode() & needed != 0
}

/// The folder itself comes last, so that an interrupted change is seen and repeated.
fn give(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_parent_is_named() {
        let data = tempfile::tempdir().unwrap();
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let child = data.path().join("a/b");
        fs::create_dir_all(&child).unwrap();

        match Account::Nobody.check_reach(&child) {
            Err(Error::Unreachable { folder, .. }) => assert_eq!(folder, data.path()),
            other => panic!("{other:?}"),
        }
    }
}
