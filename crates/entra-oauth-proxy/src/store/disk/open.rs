//! Opens the file for this process alone, and describes why it cannot be opened.

use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::{FORMAT_VERSION, Failed, NotOpened, sync_directory};

/// A failure to open a [`DiskStore`](crate::store::DiskStore).
///
/// Displays what to do about it.
pub struct OpenStoreError(Fault);

/// Kind of an [`OpenStoreError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum OpenStoreErrorKind {
    /// The directory of the file does not exist.
    NoDirectory,
    /// The path is a directory, not a file.
    IsDirectory,
    /// This process may not access the file or its directory.
    NotPermitted,
    /// The file is already open, in another process or in this one.
    InUse,
    /// The file is not a store, or is damaged.
    NotAStore,
    /// A later version of this server made the file.
    LaterVersion,
    /// The disk is full.
    Full,
    /// Another error of the operating system.
    Io,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(
        "{} does not exist: create it (mkdir -p -m 700), for the user of this process, on a \
         persistent disk", .directory.display()
    )]
    NoDirectory { directory: PathBuf },
    #[error("{0} is a directory: use a file in it, such as {0}/sign-ins.redb", path.display())]
    IsDirectory { path: PathBuf },
    #[error(
        "this process has no permission to read and write {}: make the user of this process the \
         owner of the file and of its directory (chown)", .path.display()
    )]
    NotPermitted { path: PathBuf },
    #[error(
        "{} is already open, in another process or in this one: stop the other process, or open \
         the file once and clone the handle; several instances need a shared store", .path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "{} is not a store, or is damaged ({reason}): use another file, restore a backup, or move \
         the file away: every user then signs in again", .path.display()
    )]
    NotAStore { path: PathBuf, reason: String },
    #[error(
        "{} was written by a later version of this server (format {found}; this one reads up to \
         {}): start that version again, or use another file", .path.display(), FORMAT_VERSION
    )]
    LaterVersion { path: PathBuf, found: u64 },
    #[error("no space is left for {}: free some space", .path.display())]
    Full { path: PathBuf },
    #[error("{} cannot be opened: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl OpenStoreError {
    /// Returns the kind, for a `match`.
    #[must_use]
    pub fn kind(&self) -> OpenStoreErrorKind {
        use OpenStoreErrorKind as Kind;

        match &self.0 {
            Fault::NoDirectory { .. } => Kind::NoDirectory,
            Fault::IsDirectory { .. } => Kind::IsDirectory,
            Fault::NotPermitted { .. } => Kind::NotPermitted,
            Fault::InUse { .. } => Kind::InUse,
            Fault::NotAStore { .. } => Kind::NotAStore,
            Fault::LaterVersion { .. } => Kind::LaterVersion,
            Fault::Full { .. } => Kind::Full,
            Fault::Io { .. } => Kind::Io,
        }
    }

    /// Returns the path of the file, or of the missing directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Fault::NoDirectory { directory: path }
            | Fault::IsDirectory { path }
            | Fault::NotPermitted { path }
            | Fault::InUse { path }
            | Fault::NotAStore { path, .. }
            | Fault::LaterVersion { path, .. }
            | Fault::Full { path }
            | Fault::Io { path, .. } => path,
        }
    }
}

impl fmt::Display for OpenStoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Writes the same text as `Display`, because `fn main() -> Result<..>` prints `Debug`.
impl fmt::Debug for OpenStoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Error for OpenStoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl OpenStoreError {
    /// Builds the error from its cause.
    pub(super) fn of(path: &Path, error: impl Into<NotOpened>) -> Self {
        let path = path.to_owned();
        let reason = match error.into() {
            NotOpened::Later(found) => return Self(Fault::LaterVersion { path, found }),
            NotOpened::Foreign => "it has tables of another program".to_owned(),
            NotOpened::Failed(Failed(error)) => match *error {
                redb::Error::DatabaseAlreadyOpen => return Self(Fault::InUse { path }),
                redb::Error::Io(source) => match source.kind() {
                    ErrorKind::PermissionDenied => return Self(Fault::NotPermitted { path }),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                        return Self(Fault::Full { path });
                    }
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof => source.to_string(),
                    _ => return Self(Fault::Io { path, source }),
                },
                error => error.to_string(),
            },
        };
        Self(Fault::NotAStore { path, reason })
    }
}

/// A locked file. Dropping it unlocks the file.
#[derive(Debug)]
struct LockedFile {
    backend: FileBackend,
    /// A handle to the same opened file, which owns the lock.
    lock: File,
}

impl Drop for LockedFile {
    /// Unlocks the file.
    ///
    /// Closing the file is not enough. If this process is just starting another one, that process
    /// also has the opened file until its program begins.
    fn drop(&mut self) {
        // If unlocking fails, closing the file must be enough.
        let _ = self.lock.unlock();
    }
}

impl StorageBackend for LockedFile {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }
}

/// Opens the file for this process alone.
pub(super) fn backend(path: &Path) -> Result<Arc<dyn StorageBackend>, OpenStoreError> {
    match locked(opened(path)?) {
        Ok(file) => Ok(Arc::new(file)),
        Err(error) => Err(OpenStoreError::of(path, error)),
    }
}

fn locked(file: File) -> Result<LockedFile, NotOpened> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => redb::Error::DatabaseAlreadyOpen,
        TryLockError::Error(error) => error.into(),
    })?;
    begin_anew_if_unfinished(&file)?;
    let lock = file.try_clone()?;
    let backend = FileBackend::new(file)?;
    Ok(LockedFile { backend, lock })
}

fn opened(path: &Path) -> Result<File, OpenStoreError> {
    if path.is_dir() {
        return Err(OpenStoreError(Fault::IsDirectory {
            path: path.to_owned(),
        }));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let is_new = !path.exists();
    // A device has no end, and a pipe no content.
    if !is_new && !path.is_file() {
        return Err(OpenStoreError(Fault::NotAStore {
            path: path.to_owned(),
            reason: "it is not a regular file".to_owned(),
        }));
    }
    let file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => OpenStoreError(Fault::NoDirectory {
            directory: directory.to_owned(),
        }),
        _ => OpenStoreError::of(path, error),
    })?;
    if is_new {
        let synced = sync_directory(directory);
        synced.map_err(|error| OpenStoreError::of(path, error))?;
    }
    Ok(file)
}

/// Empties a file that redb began to create and did not finish.
///
/// redb writes its mark at the beginning of the file last, and rejects a file without it. A file of
/// this length without a mark, with nothing after the header, contains no records.
fn begin_anew_if_unfinished(mut file: &File) -> io::Result<()> {
    /// Length of the file that redb creates before it writes anything into it, in bytes.
    const UNFINISHED: u64 = 18 * 4_096;
    /// Length of the header, which redb writes before the mark at its beginning, in bytes.
    const HEADER: usize = 320;
    const MARK: usize = 9;
    if file.metadata()?.len() != UNFINISHED {
        return Ok(());
    }
    let mut content = Vec::new();
    file.take(UNFINISHED).read_to_end(&mut content)?;
    let is_nothing = |part: &[u8]| part.iter().all(|byte| *byte == 0);
    if is_nothing(&content[..MARK]) && is_nothing(&content[HEADER..]) {
        file.set_len(0)?;
    }
    file.rewind()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_being_started_does_not_keep_the_lock() {
        let name = format!("entra-oauth-proxy {} lock.redb", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = locked(opened(&path).unwrap()).unwrap();
        // A process that is being started has this copy until its program begins.
        let copy = file.lock.try_clone().unwrap();
        assert!(matches!(
            backend(&path),
            Err(OpenStoreError(Fault::InUse { .. }))
        ));
        drop(file);
        let again = backend(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(again.is_ok(), "{again:?}");
        drop(copy);
    }
}
