//! The data directory of a single instance: its sign-ins and its keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::random;
use crate::keys::ProxyKeys;
use crate::store::{DiskStore, sync_directory};
use crate::time::Clock;

const SIGN_INS: &str = "sign-ins.redb";
const KEYS: &str = "keys";

/// Version of the key file that this server writes.
const VERSION: u64 = 1;

/// Maximum size of the key file in bytes, enough for more than a thousand keys.
const MAX_KEYS: u64 = 64 * 1024;

/// Start of the line with the version of the key file. Files of version 0 have no such line.
const HEADER: &str = "# keys of entra-oauth-proxy, format ";

/// Opens the store in the directory, and reads the keys there unless `has_keys` is true.
///
/// The error says what is wrong.
pub(super) fn open(
    directory: &Path,
    clock: &Clock,
    has_keys: bool,
) -> Result<(DiskStore, Option<ProxyKeys>), String> {
    // Open the store first: its lock ensures that no other process uses the directory.
    let clock = clock.clone();
    let sign_ins = directory.join(SIGN_INS);
    let store = DiskStore::options()
        .clock(move || clock.system_time())
        .open(&sign_ins)
        .map_err(|error| error.to_string())?;
    warn_if_others_may_read(&sign_ins);
    if has_keys {
        return Ok((store, None));
    }
    let keys = kept_keys(directory, &store)?;
    warn_if_others_may_read(&directory.join(KEYS));
    Ok((store, Some(keys)))
}

/// Returns the keys in the directory. Generates a key if there is none and the store is empty.
fn kept_keys(directory: &Path, store: &DiskStore) -> Result<ProxyKeys, String> {
    let path = directory.join(KEYS);
    let shown = path.display();
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "this process has no permission to read and write {shown}: make the user of this \
             process the owner of the file and of its directory (chown)"
        ),
        _ => format!("{shown} cannot be read or written: {error}"),
    };
    match read(&path) {
        Ok(text) if version(&text).is_none_or(|version| version > VERSION) => Err(format!(
            "{shown} was written by a later version of this server (this one reads up to format \
             {VERSION}): start that version again, or use another directory"
        )),
        Ok(text) => ProxyKeys::from_base64(&text).map_err(|error| {
            format!(
                "{shown} no longer has the keys that this server stored in it ({error}): restore \
                 the file. Without its keys, existing data cannot be read; to start again, delete \
                 this file and {SIGN_INS} beside it: every client then registers again, and every \
                 user signs in again"
            )
        }),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(format!("{shown} is not text: restore the file"))
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        Err(_) => {
            if !store.is_empty().map_err(|error| error.to_string())? {
                return Err(format!(
                    "{shown} is missing, but {SIGN_INS} beside it has sign-ins that cannot be read \
                     without it: restore the file, or set keys(..) if the keys are elsewhere; to \
                     start again, delete {SIGN_INS}: every user then signs in again"
                ));
            }
            let key = STANDARD.encode(random::<32>());
            keep(directory, &key, &Disk).map_err(failed)?;
            ProxyKeys::from_base64(&key).map_err(|error| error.to_string())
        }
    }
}

/// Reads the whole file, which must be a regular file of at most [`MAX_KEYS`] bytes.
///
/// A link to a device has no end, and a pipe blocks until another process writes into it.
fn read(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        let text = "it is not a regular file; replace it with the file that has the keys";
        return Err(io::Error::other(text));
    }
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_KEYS + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_KEYS {
        let text = format!(
            "it is longer than {MAX_KEYS} bytes; replace it with the file that has the keys"
        );
        return Err(io::Error::other(text));
    }
    String::from_utf8(content).map_err(|_| ErrorKind::InvalidData.into())
}

/// Parses the version of a key file. Returns `None` if the version is not a number.
fn version(text: &str) -> Option<u64> {
    // An operator may have added keys above this line.
    let mut lines = text.lines();
    match lines.find_map(|line| line.strip_prefix(HEADER)) {
        Some(version) => version.trim().parse().ok(),
        None => Some(0),
    }
}

/// Logs a warning if users other than the owner may access the file.
///
/// This is no error: the group may be able to read a mounted file, and this process may not change
/// that.
fn warn_if_others_may_read(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(
                "users other than its owner can access {path} (mode {:o}): run chmod 600 {path}",
                mode & 0o777,
                path = path.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Steps that make a file durable. A trait, so that tests can check their order.
trait Durable {
    fn sync(&self, file: &File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

struct Disk;

impl Durable for Disk {
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        sync_directory(directory)
    }
}

/// Writes the keys (in base64) so that the key file is either complete or missing.
fn keep(directory: &Path, keys: &str, disk: &impl Durable) -> io::Result<()> {
    let unfinished = directory.join("keys.new");
    // Another user who left this file could read the keys that are written into it, or use a link
    // to have them written elsewhere. So remove it first.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(&unfinished)?;
    let text = format!("{HEADER}{VERSION}\n{keys}\n");
    file.write_all(text.as_bytes())?;
    disk.sync(&file)?;
    drop(file);
    // The store is locked, so no other process can have created a key file meanwhile.
    disk.rename(&unfinished, &directory.join(KEYS))?;
    disk.sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;

    use super::*;

    /// A [`Durable`] that records each step, and the length of the file at that time.
    struct Watched {
        directory: PathBuf,
        done: RefCell<Vec<(&'static str, u64)>>,
        fails: Option<&'static str>,
    }

    impl Watched {
        fn of(directory: &Path, fails: Option<&'static str>) -> Self {
            Self {
                directory: directory.to_owned(),
                done: RefCell::default(),
                fails,
            }
        }

        fn does(&self, what: &'static str, file: &str) -> io::Result<()> {
            let length = fs::metadata(self.directory.join(file))?.len();
            self.done.borrow_mut().push((what, length));
            match self.fails == Some(what) {
                true => Err(io::Error::other("a bad moment")),
                false => Ok(()),
            }
        }
    }

    impl Durable for Watched {
        fn sync(&self, file: &File) -> io::Result<()> {
            assert_eq!(
                file.metadata()?.len(),
                fs::metadata(self.directory.join("keys.new"))?.len()
            );
            self.does("sync", "keys.new")
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.does("rename", "keys.new")?;
            Disk.rename(from, to)
        }

        fn sync_directory(&self, directory: &Path) -> io::Result<()> {
            assert_eq!(directory, self.directory);
            self.does("sync the directory", KEYS)
        }
    }

    fn directory(name: &str) -> PathBuf {
        let name = format!("entra-oauth-proxy {} {name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn keys_are_on_the_disk_before_they_have_their_name_and_before_anything_is_made_under_them() {
        let path = directory("keys that last");
        let watched = Watched::of(&path, None);
        let key = STANDARD.encode(random::<32>());
        keep(&path, &key, &watched).unwrap();
        let text = fs::read_to_string(path.join(KEYS)).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(text.contains(&key));
        assert!(ProxyKeys::from_base64(&text).is_ok());
        let whole = text.len() as u64;
        let expected = ["sync", "rename", "sync the directory"].map(|step| (step, whole));
        assert_eq!(watched.done.into_inner(), expected);
    }

    #[test]
    fn keys_of_which_it_is_not_known_that_they_last_are_not_used() {
        for step in ["sync", "rename", "sync the directory"] {
            let path = directory("keys that do not last");
            let watched = Watched::of(&path, Some(step));
            let kept = keep(&path, "a key", &watched);
            let has_keys = path.join(KEYS).exists();
            fs::remove_dir_all(&path).unwrap();
            assert!(kept.is_err(), "{step}");
            assert_eq!(has_keys, step == "sync the directory");
        }
    }
}
