//! Tests of the directory in which a single instance keeps its sign-ins and keys.

use std::path::Path;

use entra_oauth_proxy::{BuildError, EntraOAuthProxyBuilder, ProxyKeys, store::MemoryStore};
use http::StatusCode;

use crate::disk::Directory;
use crate::logbook::Logbook;
use crate::support::{Stage, settings, tenant};

/// Returns the text of the only problem, which must be about `data_directory`.
async fn problem(change: impl FnOnce(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder) -> String {
    let tenant = tenant().start().await.unwrap();
    let error: BuildError = change(settings(&tenant)).build().unwrap_err();
    let problems: Vec<_> = error.problems().collect();
    assert_eq!(problems.len(), 1, "{error}");
    assert_eq!(problems[0].setting(), "data_directory");
    problems[0].text().to_owned()
}

fn in_directory(path: &Path) -> impl Fn(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder {
    move |settings| settings.data_directory(path)
}

#[tokio::test]
async fn a_client_and_its_user_stay_signed_in_over_a_restart() {
    let directory = Directory::new("over a restart");
    let mut stage = Stage::with(in_directory(directory.path())).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let Stage { tenant, proxy } = stage;
    drop(proxy);
    let proxy = settings(&tenant)
        .data_directory(directory.path())
        .build()
        .unwrap();
    stage = Stage { tenant, proxy };
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    // The client's registration is valid, too.
    stage.sign_in(&client, "grace").await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_owner_alone_can_read_the_keys() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("mode of keys");
    let _stage = Stage::with(in_directory(directory.path())).await;
    let keys = directory.path().join("keys");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(keys).unwrap();
    assert!(ProxyKeys::from_base64(&text).is_ok());
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["keys", "sign-ins.redb"]);
}

#[cfg(unix)]
#[tokio::test]
async fn whatever_lay_in_the_place_of_unfinished_keys_is_not_written_into() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    for is_link in [false, true] {
        let directory = Directory::new("unfinished keys");
        let planted = directory.path().join("keys.new");
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "theirs").unwrap();
        if is_link {
            symlink(&elsewhere, &planted).unwrap();
        } else {
            std::fs::write(&planted, "").unwrap();
            let open = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(&planted, open).unwrap();
        }
        let _stage = Stage::with(in_directory(directory.path())).await;
        let keys = std::fs::symlink_metadata(directory.path().join("keys")).unwrap();
        assert!(keys.is_file());
        assert_eq!(keys.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"theirs");
        assert!(!planted.exists());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_others_may_read_are_named_with_the_remedy_and_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("open to others");
    let files = ["keys", "sign-ins.redb"].map(|name| directory.path().join(name));
    let logbook = Logbook::begin();
    let warned = |logbook: &Logbook| {
        let lines = logbook.lines("WARN");
        let lines = lines.into_iter().filter(|line| line.contains("chmod"));
        lines.collect::<Vec<_>>()
    };
    drop(Stage::with(in_directory(directory.path())).await);
    assert_eq!(warned(&logbook), [""; 0]);
    for (file, mode) in files.iter().zip([0o640, 0o604]) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    drop(Stage::with(in_directory(directory.path())).await);
    let warned = warned(&logbook);
    assert_eq!(warned.len(), 2, "{warned:?}");
    for file in &files {
        let remedy = format!("chmod 600 {}", file.display());
        assert!(
            warned.iter().any(|line| line.ends_with(&remedy)),
            "{warned:?}"
        );
    }
}

#[tokio::test]
async fn keys_that_are_set_are_used_and_none_are_made() {
    let directory = Directory::new("keys set");
    let keys = ProxyKeys::from_base64("7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=").unwrap();
    let change =
        |settings: EntraOAuthProxyBuilder| settings.keys(keys).data_directory(directory.path());
    let _stage = Stage::with(change).await;
    assert!(!directory.path().join("keys").exists());
}

#[tokio::test]
async fn a_second_process_is_kept_out_before_it_makes_keys() {
    let directory = Directory::new("second process");
    let _stage = Stage::with(in_directory(directory.path())).await;
    std::fs::remove_file(directory.path().join("keys")).unwrap();
    let text = problem(in_directory(directory.path())).await;
    assert!(text.contains("is already open"), "{text}");
    assert!(!directory.path().join("keys").exists());
}

#[tokio::test]
async fn a_directory_that_is_missing_is_a_problem_of_the_setting() {
    let directory = Directory::new("no directory");
    let text = problem(in_directory(&directory.path().join("missing"))).await;
    assert!(text.contains("missing does not exist: create it"), "{text}");
}

#[tokio::test]
async fn another_store_beside_the_directory_is_a_problem_and_nothing_is_made() {
    let directory = Directory::new("two stores");
    let path = directory.path();
    let both =
        |settings: EntraOAuthProxyBuilder| settings.store(MemoryStore::new()).data_directory(path);
    let text = problem(both).await;
    assert!(text.contains("store(..)"), "{text}");
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_never_replaced() {
    let directory = Directory::new("malformed keys");
    let keys = directory.path().join("keys");
    for content in [&b""[..], b"secret\n", &[0xff; 44]] {
        std::fs::write(&keys, content).unwrap();
        let text = problem(in_directory(directory.path())).await;
        assert!(text.contains("restore the file"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(std::fs::read(&keys).unwrap(), content);
    }
    std::fs::remove_file(&keys).unwrap();
    std::fs::create_dir(&keys).unwrap();
    let text = problem(in_directory(directory.path())).await;
    assert!(text.contains("keys cannot be read"), "{text}");
}

#[cfg(unix)]
#[tokio::test]
async fn keys_that_have_no_end_are_not_read() {
    let directory = Directory::new("keys without end");
    let keys = directory.path().join("keys");
    std::os::unix::fs::symlink("/dev/zero", &keys).unwrap();
    let text = problem(in_directory(directory.path())).await;
    assert!(text.contains("not a regular file"), "{text}");
    assert!(
        text.contains("replace it with the file that has the keys"),
        "{text}"
    );
    std::fs::remove_file(&keys).unwrap();
    // No process writes into this pipe.
    let made = std::process::Command::new("mkfifo").arg(&keys).status();
    assert!(made.unwrap().success());
    let text = problem(in_directory(directory.path())).await;
    assert!(text.contains("not a regular file"), "{text}");
    std::fs::remove_file(&keys).unwrap();
    let line = "7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=\n";
    std::fs::write(&keys, line.repeat(64 * 1024 / line.len() + 1)).unwrap();
    let text = problem(in_directory(directory.path())).await;
    assert!(text.contains("longer than 65536 bytes"), "{text}");
    std::fs::write(&keys, line.repeat(64 * 1024 / line.len())).unwrap();
    Stage::with(in_directory(directory.path())).await;
}

#[tokio::test]
async fn sign_ins_without_their_keys_are_a_problem_and_no_keys_are_made() {
    let directory = Directory::new("lost keys");
    let stage = Stage::with(in_directory(directory.path())).await;
    let client = stage.client().await;
    stage.sign_in(&client, "ada").await;
    let Stage { tenant, proxy } = stage;
    drop(proxy);
    let keys = directory.path().join("keys");
    std::fs::remove_file(&keys).unwrap();
    let again = || settings(&tenant).data_directory(directory.path()).build();
    let text = again().unwrap_err().to_string();
    assert!(text.contains("keys is missing"), "{text}");
    assert!(text.contains("delete sign-ins.redb"), "{text}");
    assert!(!keys.exists());
    // The message says to delete this file.
    std::fs::remove_file(directory.file()).unwrap();
    assert!(again().is_ok());
    assert!(keys.exists());
}

#[tokio::test]
async fn it_is_said_where_everything_is_kept() {
    let directory = Directory::new("said");
    let logbook = Logbook::begin();
    let _stage = Stage::with(in_directory(directory.path())).await;
    let said = logbook.text();
    let file = |name: &str| directory.path().join(name).display().to_string();
    assert!(said.contains(&file("sign-ins.redb")), "{said}");
    assert!(said.contains(&file("keys")), "{said}");
    assert!(!said.contains("no keys are set"), "{said}");
    let keys = std::fs::read_to_string(file("keys")).unwrap();
    assert!(!said.contains(keys.trim()));
}
