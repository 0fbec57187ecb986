//! One owner per data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::Error;
use crate::account::Account;

/// Ownership of a data folder, for as long as the value lives; the kernel releases
/// it when the process dies.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the folder, and makes it when it is missing.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process, named by its id, has it.
    pub fn acquire(data: &Path) -> Result<Self, Error> {
        let data = Account::current().make_data_folder(data)?;
        let path = data.join("nexus.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(Error::io("reading", &path))?;
                // 0 only in the moment between the holder's lock and its write.
                return Err(Error::InUse { data, pid: holder.trim().parse().unwrap_or(0) });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("locking", &path)(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::io("writing", &path))?;
        Ok(Self { _file: file })
    }
}
