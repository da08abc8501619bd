//! Tests of keys that come from a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tower_entra_auth::keys::JwksFile;
use tower_entra_auth::settings::KeyOptions;

use crate::support::{ACCEPTED, HOUR, SECOND, Scene, UNAVAILABLE, of_source, scene_with, tenant};

/// A directory for one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-entra-auth-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("jwks.json")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Replaces the file as an operator should: writes it under another name first.
fn publish(file: &Path, document: &str) {
    let part = file.with_extension("part");
    fs::write(&part, document).unwrap();
    fs::rename(part, file).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rotation_in_the_file_is_picked_up_by_the_first_token_that_needs_it() {
    let tenant = tenant().await;
    let directory = Directory::new();
    publish(&directory.file(), &tenant.signing_keys().document());
    let scene = scene_with(tenant, JwksFile::new(directory.file())).await;
    let old = scene.token();
    let (answer, took) = scene.timed(&old).await;
    assert_eq!((&*answer, took), (ACCEPTED, Duration::ZERO));
    assert_eq!(
        scene.issuer().source,
        directory.file().display().to_string()
    );

    scene.tenant.signing_keys().rotate();
    scene.tenant.signing_keys().withdraw_old();
    let new = scene.token();
    publish(&directory.file(), &scene.tenant.signing_keys().document());
    let (answer, took) = scene.timed(&new).await;
    assert_eq!((&*answer, took), (ACCEPTED, Duration::ZERO));
    assert_eq!(scene.answer(&old).await, ACCEPTED, "for a day more");
    assert_eq!(
        (
            scene.tenant.discovery_endpoint().hits(),
            scene.tenant.key_endpoint().hits()
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_file_is_read_every_minute_without_any_request() {
    let tenant = tenant().await;
    let directory = Directory::new();
    publish(&directory.file(), &tenant.signing_keys().document());
    let scene = scene_with(tenant, JwksFile::new(directory.file())).await;
    scene.auth.ready().await.unwrap();
    scene.tenant.signing_keys().rotate();
    publish(&directory.file(), &scene.tenant.signing_keys().document());
    sleep(61 * SECOND).await;
    assert_eq!(scene.issuer().keys.len(), 2);
    fs::remove_file(directory.file()).unwrap();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED, "held already");
}

/// Checks that held keys keep working while the file is broken, and that a corrected file is read
/// again.
async fn is_unavailable(code: &str, reason: &str, spoil: impl Fn(&Path)) {
    let tenant = tenant().await;
    let directory = Directory::new();
    let file = directory.file();
    publish(&file, &tenant.signing_keys().document());
    let scene = scene_with(tenant, JwksFile::new(&file)).await;
    let [remembered, unseen, later] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);

    spoil(&file);
    scene.tenant.signing_keys().rotate();
    let new = scene.token();
    assert_eq!(scene.answer(&new).await, UNAVAILABLE, "{reason}");
    assert_eq!(scene.last_failure(), code, "{reason}");
    assert_eq!(scene.answer(&remembered).await, ACCEPTED, "{reason}");
    assert_eq!(scene.answer(&unseen).await, ACCEPTED, "{reason}");

    // This service has never had keys.
    let fresh = of_source(&scene.tenant, JwksFile::new(&file))
        .build()
        .unwrap();
    let failure = fresh.ready().await.unwrap_err();
    assert_eq!(failure.code(), code, "{reason}");
    assert!(failure.to_string().contains(reason), "{failure}: {reason}");

    // The corrected file is read again without a request.
    if file.is_dir() {
        fs::remove_dir(&file).unwrap();
    }
    publish(&file, &scene.tenant.signing_keys().document());
    sleep(5 * SECOND).await;
    assert_eq!(scene.issuer().keys.len(), 2, "{reason}");
    for token in [&new, &later, &remembered] {
        assert_eq!(scene.answer(token).await, ACCEPTED, "{reason}");
    }
    fresh.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_no_key_document_is_unavailable_and_held_keys_go_on_serving() {
    is_unavailable("key_source", "", |file| fs::remove_file(file).unwrap()).await;
    is_unavailable("key_source", "not a regular file", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    })
    .await;
    is_unavailable("key_source", "longer than 524288 bytes", |file| {
        let mut document = fs::read_to_string(file).unwrap();
        let more = 512 * 1024 + 1 - document.len();
        document.push_str(&" ".repeat(more));
        publish(file, &document);
    })
    .await;
    for document in ["garbage", ""] {
        is_unavailable("key_source", "", |file| publish(file, document)).await;
    }
    is_unavailable("no_usable_key", "", |file| publish(file, r#"{"keys":[]}"#)).await;
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_link_to_what_has_no_end_or_no_writer_is_neither_read_nor_waited_for() {
    use std::os::unix::fs::symlink;

    let link_to = |target: &Path, file: &Path| {
        fs::remove_file(file).unwrap();
        symlink(target, file).unwrap();
    };
    is_unavailable("key_source", "not a regular file", |file| {
        link_to(Path::new("/dev/zero"), file);
    })
    .await;
    is_unavailable("key_source", "not a regular file", |file| {
        let pipe = file.with_extension("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        link_to(&pipe, file);
    })
    .await;
    // According to the file system, this file has a terabyte.
    is_unavailable("key_source", "longer than 524288 bytes", |file| {
        let long = file.with_extension("long");
        fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
        link_to(&long, file);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_file_of_exactly_512_kib_is_read() {
    let tenant = tenant().await;
    let directory = Directory::new();
    let mut document = tenant.signing_keys().document();
    let more = 512 * 1024 - document.len();
    document.push_str(&" ".repeat(more));
    publish(&directory.file(), &document);
    let scene = scene_with(tenant, JwksFile::new(directory.file())).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_file_that_is_gone_serve_for_max_staleness() {
    let tenant = tenant().await;
    let directory = Directory::new();
    publish(&directory.file(), &tenant.signing_keys().document());
    let auth = of_source(&tenant, JwksFile::new(directory.file()))
        .keys(KeyOptions::default().max_staleness(2 * HOUR))
        .build()
        .unwrap();
    let scene = Scene::of(tenant, auth).await;
    let [one, other] = scene.tokens();
    assert_eq!(scene.answer(&one).await, ACCEPTED);
    fs::remove_file(directory.file()).unwrap();
    sleep(2 * HOUR - SECOND).await;
    assert_eq!(scene.answer(&one).await, ACCEPTED);
    sleep(SECOND).await;
    assert_eq!(scene.answer(&one).await, UNAVAILABLE);
    assert_eq!(scene.answer(&other).await, UNAVAILABLE);
}
