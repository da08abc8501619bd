//! Reads the token and the keys, from files or standard input.

use std::error::Error;
use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use entra_jwt_core::{KeySet, integration::Escaped};

use crate::pasted::token_in;

/// Maximum length of an input in bytes, far more than any token or JWKS document has.
const LIMIT: u64 = 1024 * 1024;

/// Reads the token. Returns it with notes on how it was found.
pub(crate) fn token(path: Option<&Path>) -> Result<(String, Vec<&'static str>), Box<dyn Error>> {
    let bytes = match path {
        Some(path) => file(path)?,
        None => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                eprintln!("paste the token, then press Enter and Ctrl-D");
            }
            limited(stdin.lock(), "standard input")?
        }
    };
    Ok(token_in(&String::from_utf8_lossy(&bytes))?)
}

/// Reads the keys of a JWKS document.
pub(crate) fn keys(path: &Path) -> Result<KeySet, Box<dyn Error>> {
    KeySet::from_jwks(&file(path)?).map_err(|error| format!("{}: {error}", name_of(path)).into())
}

fn file(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let name = name_of(path);
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    limited(file, &name)
}

/// Returns the file's name, escaped for printing.
fn name_of(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

fn limited(source: impl Read, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    source
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name}: {error}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LIMIT) {
        return Err(format!("{name}: more than 1 MiB, which no token or key document has").into());
    }
    Ok(bytes)
}
