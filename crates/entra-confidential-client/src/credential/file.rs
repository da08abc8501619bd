//! Small files that somebody else may replace at any time.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// More than any certificate chain or token is long.
const MOST_BYTES: u64 = 256 * 1024;

/// The whole file. The error names it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_regular(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("longer than {MOST_BYTES} bytes")));
    }
    Ok(content)
}
