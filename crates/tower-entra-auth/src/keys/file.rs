//! Keys from a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use entra_http::BoxError;

use super::{FetchedKeys, KeySource, MAX_DOCUMENT_BYTES};

/// A [`KeySource`] that reads a JWKS document from a file, such as a mounted `ConfigMap`.
///
/// The service reads the file every minute. It also reads the file immediately, within the limit of
/// [`KeySource`], when a token names a key that is not held. A key that is removed from the file
/// stays trusted for 24 h, as one of Entra's keys would. To distrust it immediately, restart the
/// service.
///
/// The file must be a regular file or a link to one, and a JWKS document of at most 512 KiB. While
/// it is not, or cannot be read, the held keys stay in use, for
/// [`max_staleness`](crate::settings::KeyOptions::max_staleness) at most. To replace the file,
/// write another one and rename it, so that the service never reads a half-written file.
#[derive(Clone, Debug)]
pub struct JwksFile {
    path: PathBuf,
}

impl JwksFile {
    const READ_EVERY: Duration = Duration::from_secs(60);

    /// Creates a source for the file at this path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl KeySource for JwksFile {
    async fn fetch(&self) -> Result<FetchedKeys, BoxError> {
        let path = self.path.clone();
        let document = tokio::task::spawn_blocking(move || read(&path)).await??;
        Ok(FetchedKeys::from_jwks(&document)?.check_again_after(Self::READ_EVERY))
    }

    fn name(&self) -> Cow<'static, str> {
        self.path.display().to_string().into()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would block until another process writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut document = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64;
    File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut document)?;
    if document.len() > MAX_DOCUMENT_BYTES {
        return Err(io::Error::other(format!("longer than {limit} bytes")));
    }
    Ok(document)
}
