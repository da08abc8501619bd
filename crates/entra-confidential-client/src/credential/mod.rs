//! The application's proof to Entra of who it is.

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

/// A credential that cannot be used, with the reason and what would be good.
///
/// `Debug` is the same text as `Display`, as that is what `fn main() -> Result<..>` prints.
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

/// The limit for files: more than any certificate chain or token.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Reads a whole file. Somebody else may replace it at any time. The error names it.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    read_regular_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_regular_file(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write into it.
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
