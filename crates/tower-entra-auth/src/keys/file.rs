//! Keys from a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use entra_http::BoxError;

use super::{FetchedKeys, KeySource, MAX_DOCUMENT_BYTES};

/// A JWKS document in a file, such as a mounted `ConfigMap`: a [`KeySource`].
///
/// It is read again every minute, and at once (within the refill bucket) when a token names a key
/// that is not held. A key that is taken out of the file stays trusted for 24 h, as one of Entra's
/// would; to distrust it at once, restart the service. While the file cannot be read, is no JWKS
/// document of at most 512 KiB, or neither a regular file nor a link to one, the keys that are held
/// serve, for [`max_staleness`](crate::settings::KeyOptions::max_staleness) at most. Write it to another
/// name and rename that, so that it is never seen half-written.
#[derive(Clone, Debug)]
pub struct JwksFile {
    path: PathBuf,
}

impl JwksFile {
    const READ_EVERY: Duration = Duration::from_secs(60);

    /// Takes the file at this path, which need not be there yet.
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
    // Opening a pipe would wait for somebody to write into it.
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
