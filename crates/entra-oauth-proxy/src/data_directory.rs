//! The directory in which a single instance keeps what it must not lose: sign-ins, and its keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use crate::builder::EntraOAuthProxyBuilder;
use crate::format;
use crate::keys::ProxyKeys;
use crate::store::{DiskStore, sync_directory};

const SETTING: &str = "data_directory";
const SIGN_INS: &str = "sign-ins.redb";
const KEYS: &str = "keys";

/// The longest file of keys, in bytes: more than a thousand of them.
const MOST_KEYS: u64 = 64 * 1024;

/// The beginning of the line with the version of a file of keys. Version 0 had no such line.
const HEADER: &str = "# keys of entra-oauth-proxy, format ";

impl EntraOAuthProxyBuilder {
    /// Sets store and keys by what is in the directory, if one is set. What is wrong is added to the
    /// problems.
    pub(crate) fn open_data_directory(&mut self, problems: &mut Vec<(String, String)>) {
        let Some(directory) = self.data_directory.clone() else {
            return;
        };
        let mut problem = |text: String| problems.push((SETTING.to_owned(), text));
        if self.has_store {
            problem("there is a store(..) as well; set one of them".to_owned());
            return;
        }
        // The store first: whoever has it is alone here.
        let clock = Arc::clone(&self.clock);
        let sign_ins = directory.join(SIGN_INS);
        let opened = DiskStore::options().clock(move || clock()).open(&sign_ins);
        let store = match opened {
            Ok(store) => store,
            Err(error) => return problem(error.to_string()),
        };
        warn_if_others_may_read(&sign_ins);
        if self.keys.is_none() {
            match kept_keys(&directory, &store) {
                Ok(keys) => {
                    warn_if_others_may_read(&directory.join(KEYS));
                    self.keys = Some(keys);
                    self.has_kept_keys = true;
                }
                Err(text) => return problem(text),
            }
        }
        self.store = Arc::new(store);
    }
}

/// The keys in the directory. They are made if nothing was ever made under any.
fn kept_keys(directory: &Path, store: &DiskStore) -> Result<ProxyKeys, String> {
    let path = directory.join(KEYS);
    let shown = path.display();
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "{shown} may not be read and written by this process: make its user the owner of the file \
             and of its directory (chown)"
        ),
        _ => format!("{shown} cannot be read or written: {error}"),
    };
    match read(&path) {
        Ok(text) if version(&text).is_none_or(|version| version > format::KEYS_FILE) => Err(format!(
            "{shown} was written by a later version of this server (this one reads up to format {}): \
             start that version again, or give another directory",
            format::KEYS_FILE
        )),
        Ok(text) => ProxyKeys::from_base64(&text).map_err(|error| {
            format!(
                "{shown} has not the keys that were kept in it ({error}): put back what was in it. \
                 Without them nothing that was made before can be read; to begin anew, take away this \
                 file and {SIGN_INS} beside it, and everybody registers and signs in again"
            )
        }),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(format!(
            "{shown} is no text: put back what was in it"
        )),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        Err(_) => {
            if !store.is_empty().map_err(|error| error.to_string())? {
                return Err(format!(
                    "{shown} is missing, and {SIGN_INS} beside it has sign-ins that cannot be read \
                     without it: put it back, or set keys(..) if they are elsewhere; to begin anew, \
                     delete {SIGN_INS}, and everybody signs in again"
                ));
            }
            let keys = ProxyKeys::generate().kept();
            keep(directory, &keys).map_err(failed)?;
            Ok(keys)
        }
    }
}

/// Reads the whole file, which must be one of some length: a link to a device has no end, and a pipe waits
/// for somebody to write into it.
fn read(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        let text = "it is no regular file; put the file with the keys in its place";
        return Err(io::Error::other(text));
    }
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(MOST_KEYS + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_KEYS {
        let text =
            format!("it is longer than {MOST_KEYS} bytes; put the file with the keys in its place");
        return Err(io::Error::other(text));
    }
    String::from_utf8(content).map_err(|_| ErrorKind::InvalidData.into())
}

/// Parses the version of a file of keys; `None` if it is no number.
fn version(text: &str) -> Option<u64> {
    // Keys may have been written above it.
    let mut lines = text.lines();
    match lines.find_map(|line| line.strip_prefix(HEADER)) {
        Some(version) => version.trim().parse().ok(),
        None => Some(0),
    }
}

/// No refusal: what is mounted may be readable by a group, and not this process's to change.
fn warn_if_others_may_read(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(
                "{path} is open to others than its owner (mode {:o}): chmod 600 {path}",
                mode & 0o777,
                path = path.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Writes the keys: under their name they are there whole, or not at all.
fn keep(directory: &Path, keys: &ProxyKeys) -> io::Result<()> {
    let unfinished = directory.join("keys.new");
    // Whoever put it there could read what is written into it, or have it written elsewhere.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(&unfinished)?;
    let text = format!("{HEADER}{}\n{}\n", format::KEYS_FILE, keys.to_base64());
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    // Nobody else is here who could have made one meanwhile: the store is locked.
    fs::rename(&unfinished, directory.join(KEYS))?;
    sync_directory(directory)
}
