//! Tests of certificates and federated assertions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use entra_confidential_client::{Certificate, Credential, FederatedAssertion, TokenErrorKind};
use serde_json::{Value, json};

use crate::support::{
    CLIENT, ENDPOINT, Issued, Logs, Script, TempDir, issued, json, refresh, tokens,
};

const NOW: u64 = 1_795_698_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Returns the assertions of `count` requests.
async fn assertions(credential: impl Into<Credential>, count: usize) -> Vec<String> {
    let script = Script::new((0..count).map(|_| json(200, &tokens())));
    let entra = script.settings(credential).clock(now).build().unwrap();
    for _ in 0..count {
        entra.send(refresh()).await.unwrap();
    }
    let sent = script.sent().into_iter();
    sent.map(|sent| {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(sent.form["client_assertion_type"], kind);
        assert!(!sent.form.contains_key("client_secret"));
        sent.form["client_assertion"].clone()
    })
    .collect()
}

/// Returns the header and the claims, after verifying the signature with the certificate's key.
fn verified(assertion: &str, by: &Issued) -> (Value, Value) {
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &by.public_key)
        .verify(signed.as_bytes(), &decode(signature))
        .unwrap();
    let json = |part| serde_json::from_slice(&decode(part)).unwrap();
    (json(header), json(claims))
}

fn thumbprint(certificate: &Issued) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate.der))
}

#[tokio::test]
async fn a_certificate_signs_a_fresh_assertion_for_each_request() {
    let issued = issued(0);
    let certificate = Certificate::from_pem(issued.pem()).unwrap();
    let assertions = assertions(certificate, 2).await;
    let mut ids = Vec::new();
    for assertion in &assertions {
        let (header, mut claims) = verified(assertion, issued);
        let expected = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint(issued)});
        assert_eq!(header, expected);
        ids.push(claims["jti"].take());
        let expected = json!({
            "aud": ENDPOINT, "iss": CLIENT, "sub": CLIENT, "jti": null,
            "iat": NOW, "nbf": NOW, "exp": NOW + 300,
        });
        assert_eq!(claims, expected);
    }
    assert!(ids[0].as_str().is_some_and(|id| id.len() == 36), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn an_assertion_is_signed_for_the_endpoint_that_it_is_sent_to() {
    let certificate = Certificate::from_pem(issued(0).pem()).unwrap();
    let script = Script::new((0..3).map(|_| json(200, &tokens())));
    let entra = script.settings(certificate).build().unwrap();
    for tenant in [Some("fabrikam.com"), None, Some("contoso.com")] {
        let request = match tenant {
            Some(tenant) => refresh().tenant(tenant),
            None => refresh(),
        };
        entra.send(request).await.unwrap();
        let sent = script.sent().pop().unwrap();
        let (_, claims) = verified(&sent.form["client_assertion"], issued(0));
        assert_eq!(claims["aud"], sent.uri);
        let at = |tenant| format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
        assert_eq!(sent.uri, tenant.map_or(ENDPOINT.to_owned(), at));
    }
}

#[test]
fn a_certificate_is_found_among_others_in_any_order_and_key_format() {
    let (issued, other) = (issued(0), issued(1));
    for pem in [
        format!("{}{}", issued.key_pem, issued.certificate_pem),
        format!(
            "{}{}{}",
            other.certificate_pem, issued.certificate_pem, issued.key_pem
        ),
        format!("{}{}", issued.certificate_pem, issued.pkcs1_pem()),
    ] {
        let certificate = Certificate::from_pem(pem).unwrap();
        assert!(format!("{certificate:?}").contains(&thumbprint(issued)));
    }
}

#[test]
fn a_certificate_that_cannot_sign_is_refused_with_the_reason() {
    let (issued, other) = (issued(0), issued(1));
    let (certificate, key) = (&issued.certificate_pem, &issued.key_pem);
    let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (pem, reason) in [
        (String::new(), "not PEM"),
        ("0\u{82}\u{9}".to_owned(), "convert a .pfx file"),
        (key.clone(), "no certificate"),
        (certificate.clone(), "no private key"),
        (
            format!("{certificate}{}", other.key_pem),
            "does not belong to the certificate",
        ),
        (
            format!("{certificate}{key}{}", other.key_pem),
            "more than one",
        ),
        (format!("{certificate}{elliptic}"), "not an RSA key"),
        (
            format!(
                "{certificate}{}",
                key.replace("PRIVATE", "ENCRYPTED PRIVATE")
            ),
            "encrypted",
        ),
        (
            format!("{certificate}{}", key.replace("PRIVATE", "EC PRIVATE")),
            "not RSA",
        ),
        (certificate.replace('M', "?"), "not PEM"),
    ] {
        let error = Certificate::from_pem(&pem).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(!error.contains("MII"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Certificate::from_pem_file("/nowhere/client.pem").unwrap_err();
    assert!(error.to_string().contains("/nowhere/client.pem"), "{error}");
    let error = Certificate::from_pem_file(std::env::temp_dir()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn a_renewed_file_is_used_and_a_broken_one_leaves_the_old_in_use() {
    let logs = Logs::capture();
    let folder = TempDir::new("renewed");
    let (certificate, key) = (folder.path("tls.crt"), folder.path("tls.key"));
    let write = |issued: &Issued| {
        std::fs::write(&certificate, &issued.certificate_pem).unwrap();
        std::fs::write(&key, &issued.key_pem).unwrap();
    };
    write(issued(0));
    let credential = Certificate::from_pem_files(&certificate, &key).unwrap();
    let script = Script::new((0..7).map(|_| json(200, &tokens())));
    let entra = script.settings(credential).clock(now).build().unwrap();
    let signed_by = async |issued: &Issued| {
        entra.send(refresh()).await.unwrap();
        let sent = script.sent().pop().unwrap();
        verified(&sent.form["client_assertion"], issued);
    };
    signed_by(issued(0)).await;

    // The key is written first: for a moment it does not belong to the certificate.
    std::fs::write(&key, &issued(1).key_pem).unwrap();
    signed_by(issued(0)).await;
    signed_by(issued(0)).await;
    assert_eq!(logs.count("WARN"), 1, "{}", logs.text());
    assert!(logs.text().contains("does not belong to the certificate"));

    write(issued(1));
    signed_by(issued(1)).await;
    assert_eq!(logs.count("INFO"), 1, "{}", logs.text());

    std::fs::remove_file(&key).unwrap();
    signed_by(issued(1)).await;
    signed_by(issued(1)).await;
    assert_eq!(logs.count("WARN"), 2, "{}", logs.text());
    write(issued(1));
    signed_by(issued(1)).await;
    assert_eq!((logs.count("WARN"), logs.count("INFO")), (2, 1));
}

#[tokio::test]
async fn an_expired_certificate_is_only_warned_of() {
    let logs = Logs::capture();
    let certificate = Certificate::from_pem(issued(0).pem()).unwrap();
    let script = Script::default();
    let at = |time: SystemTime| {
        let settings = script.settings(certificate.clone());
        settings.clock(move || time).build().unwrap();
    };
    at(now());
    assert_eq!(logs.count("WARN"), 0, "{}", logs.text());
    at(now() + Duration::from_secs(20 * 365 * 86_400));
    assert!(logs.text().contains("the client certificate has expired"));
}

#[tokio::test]
async fn a_federated_token_is_read_from_its_file_with_every_request() {
    let folder = TempDir::new("federated");
    let path = folder.path("token");
    let script = Script::new([json(200, &tokens()), json(200, &tokens())]);
    let credential = FederatedAssertion::from_file(&path);
    let entra = script.settings(credential).build().unwrap();

    for content in [None, Some(&b""[..]), Some(b" \n"), Some(b"\xff")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = entra.send(refresh()).await.unwrap_err();
        assert_eq!(error.kind(), TokenErrorKind::CredentialUnavailable);
        assert!(error.is_transient() && error.correlation_id().is_none());
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
    assert!(script.sent().is_empty());

    for token in ["first.token", "second.token"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        entra.send(refresh()).await.unwrap();
        let sent = script.sent().pop().unwrap();
        assert_eq!(sent.form["client_assertion"], token);
    }
}

#[tokio::test]
async fn a_file_that_is_no_credential_by_its_length_is_not_read_to_its_end() {
    let folder = TempDir::new("long");
    let path = folder.path("long");
    let pem = issued(0).pem();
    std::fs::write(&path, format!("{pem}{}", "\n".repeat(256 * 1024))).unwrap();
    let error = Certificate::from_pem_file(&path).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");

    let credential = FederatedAssertion::from_file(&path);
    let entra = Script::default().settings(credential).build().unwrap();
    let error = entra.send(refresh()).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_what_has_no_end_or_no_writer_is_neither_read_nor_waited_for() {
    let folder = TempDir::new("links");
    let (pipe, long) = (folder.path("pipe"), folder.path("long"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    // A sparse file: its file system reports a size of one terabyte.
    let file = std::fs::File::create(&long).unwrap();
    file.set_len(1 << 40).unwrap();
    for (target, reason) in [
        (PathBuf::from("/dev/zero"), "not a regular file"),
        (pipe, "not a regular file"),
        (long, "longer than 262144 bytes"),
    ] {
        let link = folder.path("link");
        std::os::unix::fs::symlink(target, &link).unwrap();
        let error = Certificate::from_pem_file(&link).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");

        let credential = FederatedAssertion::from_file(&link);
        let entra = Script::default().settings(credential).build().unwrap();
        let error = entra.send(refresh()).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains(link.to_str().unwrap()), "{error}");
        std::fs::remove_file(link).unwrap();
    }
}

#[tokio::test]
async fn a_federated_token_comes_from_a_function() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let credential = FederatedAssertion::from_fn(move || {
        let count = counter.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("token.{count}")) }
    });
    assert_eq!(assertions(credential, 2).await, ["token.0", "token.1"]);

    let credential = FederatedAssertion::from_fn(|| async { Err("IMDS\nis down".into()) });
    let script = Script::default();
    let entra = script.settings(credential).build().unwrap();
    let error = entra.send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::CredentialUnavailable);
    assert!(error.to_string().contains("IMDS\\nis down"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_hangs_is_within_the_time_limit() {
    let credential = FederatedAssertion::from_fn(std::future::pending);
    let entra = Script::default().settings(credential).build().unwrap();
    let error = entra.send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
}

#[test]
fn paths_are_taken_in_any_form() {
    let _ = FederatedAssertion::from_file(PathBuf::from("/token"));
    let _ = FederatedAssertion::from_file("/token");
}
