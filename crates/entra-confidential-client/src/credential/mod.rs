//! The application's proof of its identity to Entra.

mod assertion;
mod certificate;
mod federated;
mod proof;
mod secret;
mod x509;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

pub use self::certificate::Certificate;
pub use self::federated::FederatedAssertion;
pub use self::proof::Credential;
pub(crate) use self::proof::Proof;
pub use self::secret::Secret;

/// The error of an unusable credential, with the reason and an example of a good one.
///
/// `Debug` is the same text as `Display`, because `fn main() -> Result<..>` prints `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct InvalidCredential(String);

impl InvalidCredential {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for InvalidCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for InvalidCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for InvalidCredential {}

/// Maximum size of a file in bytes: more than any certificate chain or token has.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Reads a whole file, which another process may replace at any time. The error names the file.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    read_regular_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_regular_file(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a named pipe would block until another process writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "longer than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(content)
}
