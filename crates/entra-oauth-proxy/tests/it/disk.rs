//! Tests of the store on disk: its records, and its errors if the file cannot be opened.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use entra_oauth_proxy::{
    store::{DiskStore, OpenStoreError, OpenStoreErrorKind, Store},
    testing,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A temporary directory for one test, deleted when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("entra-oauth-proxy {} {test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("sign-ins.redb")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn refused(path: &Path) -> OpenStoreError {
    DiskStore::open(path).expect_err("it was opened")
}

#[tokio::test]
async fn the_store_on_disk_conforms() {
    let directory = Directory::new("conforms");
    let clock = Arc::new(AtomicU64::new(1_000));
    let of_store = Arc::clone(&clock);
    let store = DiskStore::options()
        .clock(move || UNIX_EPOCH + Duration::from_secs(of_store.load(Ordering::SeqCst)))
        .open(directory.file())
        .unwrap();
    let pass = |span: Duration| {
        clock.fetch_add(span.as_secs(), Ordering::SeqCst);
        std::future::ready(())
    };
    testing::check_store(&store, pass).await;
}

/// Opens a store with this capacity, and returns it with its clock in seconds.
fn bounded(directory: &Directory, capacity: u64) -> (DiskStore, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000));
    let of_store = Arc::clone(&clock);
    let store = DiskStore::options()
        .clock(move || UNIX_EPOCH + Duration::from_secs(of_store.load(Ordering::SeqCst)))
        .capacity(capacity)
        .open(directory.file());
    (store.unwrap(), clock)
}

#[tokio::test]
async fn the_store_on_disk_conforms_when_it_is_full() {
    let directory = Directory::new("conforms when full");
    let (store, _) = bounded(&directory, 20);
    testing::check_full_store(&store).await;
    // The same holds after a restart, and if the store has more records than its new capacity.
    drop(store);
    let (store, _) = bounded(&directory, 10);
    assert!(!store.has_room());
    let error = store.put("grant/new", "1".into(), HOUR).await.unwrap_err();
    assert!(error.is_full(), "{error}");
    let text = error.to_string();
    assert!(text.contains("DiskStoreOptions::capacity"), "{text}");
    store.put("full/5", "2".into(), HOUR).await.unwrap();
    assert_eq!(store.get("full/5").await.unwrap(), Some("2".into()));
}

#[tokio::test]
async fn a_store_on_disk_has_no_room_for_new_sign_ins_a_sixteenth_before_it_is_full() {
    let directory = Directory::new("room");
    let (store, clock) = bounded(&directory, 32);
    for number in 0..30 {
        assert!(store.has_room(), "{number}");
        let ttl = if number == 0 { HOUR / 2 } else { HOUR };
        let key = format!("grant/{number}");
        store.put(&key, "1".into(), ttl).await.unwrap();
    }
    assert!(!store.has_room());
    store.take("grant/29").await.unwrap();
    assert!(store.has_room());
    for number in 29..32 {
        let key = format!("grant/{number}");
        store.put(&key, "1".into(), HOUR).await.unwrap();
    }
    assert!(!store.has_room());
    assert!(store.put("grant/32", "1".into(), HOUR).await.is_err());
    // An expired record stays for a day, unless its place is needed.
    clock.fetch_add(1_800, Ordering::SeqCst);
    store.put("grant/32", "1".into(), HOUR).await.unwrap();
    assert!(store.put("grant/33", "1".into(), HOUR).await.is_err());
    assert!(!store.has_room());
}

#[tokio::test]
async fn what_is_over_makes_no_room_for_new_sign_ins_in_the_part_for_those_under_way() {
    let directory = Directory::new("reserve");
    let (store, clock) = bounded(&directory, 32);
    for (number, ttl) in (0..31).map(|number| (number, if number < 2 { HOUR / 2 } else { HOUR })) {
        let key = format!("grant/{number}");
        store.put(&key, "1".into(), ttl).await.unwrap();
    }
    assert!(!store.has_room());
    clock.fetch_add(1_800, Ordering::SeqCst);
    // Each write removes expired records: 29 are left, and there is room for new sign-ins below 30.
    store.put("grant/2", "2".into(), HOUR).await.unwrap();
    assert!(store.has_room());
    store.put("grant/31", "1".into(), HOUR / 2).await.unwrap();
    assert!(!store.has_room());
    clock.fetch_add(1_800, Ordering::SeqCst);
    assert_eq!(store.get("grant/2").await.unwrap(), Some("2".into()));
}

#[tokio::test]
async fn a_store_with_more_records_than_it_may_have_takes_new_ones_once_enough_are_over() {
    let directory = Directory::new("more than it may have");
    let (store, _) = bounded(&directory, 40);
    for number in 0..40 {
        let ttl = if number < 20 { HOUR / 2 } else { HOUR };
        let key = format!("grant/{number}");
        store.put(&key, "1".into(), ttl).await.unwrap();
    }
    drop(store);
    let (store, clock) = bounded(&directory, 32);
    assert!(store.put("grant/40", "1".into(), HOUR).await.is_err());
    clock.fetch_add(1_800, Ordering::SeqCst);
    store.put("grant/39", "2".into(), HOUR).await.unwrap();
    assert!(store.has_room());
    store.put("grant/40", "1".into(), HOUR).await.unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_is_none_is_named_with_the_remedy() {
    for device in ["/dev/zero", "/dev/null"] {
        let directory = Directory::new("device");
        std::os::unix::fs::symlink(device, directory.file()).unwrap();
        let error = refused(&directory.file());
        assert!(error.kind() == OpenStoreErrorKind::NotAStore, "{error}");
        let text = error.to_string();
        assert!(text.contains("not a regular file"), "{text}");
        assert!(text.contains("use another file"), "{text}");
    }
}

#[tokio::test]
async fn records_are_there_after_a_restart_and_end_by_the_wall_clock() {
    let directory = Directory::new("restart");
    let at = |seconds: u64| {
        DiskStore::options()
            .clock(move || UNIX_EPOCH + Duration::from_secs(seconds))
            .open(directory.file())
            .unwrap()
    };
    let store = at(1_000);
    store.put("grant/a", "1".into(), HOUR).await.unwrap();
    drop(store);
    let store = at(1_000 + 3_599);
    assert_eq!(store.get("grant/a").await.unwrap(), Some("1".into()));
    drop(store);
    let store = at(1_000 + 3_600);
    assert_eq!(store.get("grant/a").await.unwrap(), None);
    drop(store);
}

#[tokio::test]
async fn what_was_accepted_is_done_though_nobody_waits_for_the_answer() {
    let directory = Directory::new("dropped");
    let store = DiskStore::open(directory.file()).unwrap();
    for number in 0..50 {
        let key = format!("grant/{number}");
        let mut put = store.put(&key, "1".into(), HOUR);
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(put.as_mut().poll(context).is_ready())
        });
        // The writer has the record now, and the client hangs up.
        polled.await;
    }
    // Dropping the last handle waits for the writer.
    drop(store);
    let store = DiskStore::open(directory.file()).unwrap();
    for number in 0..50 {
        let found = store.get(&format!("grant/{number}")).await.unwrap();
        assert_eq!(found, Some("1".into()), "{number}");
    }
}

#[test]
fn a_directory_that_is_missing_is_named_with_the_remedy() {
    let directory = Directory::new("missing");
    let error = refused(&directory.path().join("var/sign-ins.redb"));
    assert!(error.kind() == OpenStoreErrorKind::NoDirectory);
    let text = error.to_string();
    assert!(text.contains("var does not exist: create it"), "{text}");
}

#[test]
fn a_directory_in_place_of_the_file_is_named_with_the_remedy() {
    let directory = Directory::new("is a directory");
    let error = refused(directory.path());
    assert!(error.kind() == OpenStoreErrorKind::IsDirectory);
    assert!(error.to_string().contains("sign-ins.redb"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_named_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("permission");
    drop(DiskStore::open(directory.file()).unwrap());
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(directory.file(), closed).unwrap();
    // Root may open any file.
    if std::fs::File::open(directory.file()).is_ok() {
        return;
    }
    let error = refused(&directory.file());
    assert!(error.kind() == OpenStoreErrorKind::NotPermitted);
    assert!(error.to_string().contains("chown"), "{error}");
}

#[cfg(unix)]
#[test]
fn the_owner_alone_can_read_a_new_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("mode");
    drop(DiskStore::open(directory.file()).unwrap());
    let mode = std::fs::metadata(directory.file()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_something_else_is_left_alone() {
    let directory = Directory::new("something else");
    let mut image = vec![0; 4_000_000];
    image[32_768..].fill(b'C');
    let mut page = vec![0; 73_728];
    page[70_000] = 1;
    let zeros = [0; 70_000];
    let contents = [&b"x"[..], &[b'#'; 40], &[7; 100_000], &zeros, &image, &page];
    for content in contents {
        std::fs::write(directory.file(), content).unwrap();
        let error = refused(&directory.file());
        assert!(error.kind() == OpenStoreErrorKind::NotAStore, "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
        assert_eq!(std::fs::read(directory.file()).unwrap(), content);
    }
    // An empty file is accepted as a new store.
    std::fs::write(directory.file(), b"").unwrap();
    drop(DiskStore::open(directory.file()).unwrap());
}

#[tokio::test]
async fn a_store_that_lost_its_beginning_is_left_alone() {
    let directory = Directory::new("no beginning");
    let store = DiskStore::open(directory.file()).unwrap();
    store.put("grant/a", "1".into(), HOUR).await.unwrap();
    drop(store);
    let mut content = std::fs::read(directory.file()).unwrap();
    content[..512].fill(0);
    std::fs::write(directory.file(), &content).unwrap();
    let error = refused(&directory.file());
    assert!(error.kind() == OpenStoreErrorKind::NotAStore, "{error}");
    assert_eq!(std::fs::read(directory.file()).unwrap(), content);
}

#[test]
fn a_database_of_another_application_is_left_alone() {
    let directory = Directory::new("another application");
    let theirs = redb::Database::create(directory.file()).unwrap();
    let transaction = theirs.begin_write().unwrap();
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("theirs");
    transaction.open_table(table).unwrap();
    transaction.commit().unwrap();
    drop(theirs);
    let error = refused(&directory.file());
    assert!(error.to_string().contains("another program"), "{error}");
}

#[test]
fn a_second_handle_on_the_file_is_refused_until_the_first_is_gone() {
    let directory = Directory::new("second");
    let store = DiskStore::open(directory.file()).unwrap();
    let clone = store.clone();
    drop(store);
    let error = refused(&directory.file());
    assert!(error.kind() == OpenStoreErrorKind::InUse);
    assert!(error.to_string().contains("is already open"), "{error}");
    drop(clone);
    drop(DiskStore::open(directory.file()).unwrap());
}

const FILE: &str = "ENTRA_OAUTH_PROXY_TEST_FILE";

fn child(file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "disk::child_that_writes_until_it_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn what_was_answered_is_there_after_kill_9() {
    const ROUNDS: usize = 6;
    let directory = Directory::new("kill");
    let mut answered = Vec::new();
    for round in 1..=ROUNDS {
        let mut child = child(&directory.file()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // The test kills the child at a different moment each time.
        while seen < 37 * round {
            let line = lines.next().expect("the child goes on").unwrap();
            if let Some(number) = line.strip_prefix("answered ") {
                answered.push(number.to_owned());
                seen += 1;
            }
        }
        if round == 1 {
            let error = refused(&directory.file());
            assert!(error.kind() == OpenStoreErrorKind::InUse, "{error}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The lines that the child printed before it died.
        for line in lines {
            // The last line may be cut off.
            let line = line.unwrap();
            let number = line.strip_prefix("answered ");
            answered.extend(
                number
                    .filter(|number| number.ends_with('.'))
                    .map(str::to_owned),
            );
        }
        let store = DiskStore::open(directory.file()).unwrap();
        for number in &answered {
            let number = number.trim_end_matches('.');
            let found = store.get(&format!("grant/{number}")).await.unwrap();
            assert_eq!(found, Some(content(number)), "round {round}");
        }
    }
}

/// Returns the value for a number.
///
/// It is long, so that the test notices if only a part of it was written.
fn content(number: &str) -> Bytes {
    Bytes::from(number.repeat(700))
}

#[ignore = "the child of another test"]
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let file = std::env::var_os(FILE).expect("the file");
    let store = DiskStore::open(Path::new(&file)).unwrap();
    let tasks = (0..8).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for index in 0.. {
                let number = format!("{}-{task}-{index}", std::process::id());
                let key = format!("grant/{number}");
                let value = content(&number);
                store.put(&key, value, HOUR).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "answered {number}.").unwrap();
                out.flush().unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}
