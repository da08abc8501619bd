//! Tests of the HTTP client: a custom one, proxies from the environment, and CA certificates.
//!
//! A client reads environment variables when it is built. Tests that depend on them therefore run
//! in a child process: this test program again, with the variables set.

use std::process::{Command, Output};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::service_fn;
use tower_entra_auth::EntraAuth;

use crate::support::{API, OTHER_TENANT, settings, tenant};

/// Runs one of the ignored tests below with the variables set.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().unwrap();
    let test = format!("http_clients::{test}");
    let mut command = Command::new(program);
    for name in [
        "ENTRA_CLOUD",
        "ENTRA_METADATA_ENDPOINT",
        "AZURE_AUTHORITY_HOST",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command
        .args([&*test, "--exact", "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn https_proxy_is_honoured_and_its_refusal_told_as_such() {
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let url = format!("http://{address}");
    let child = tokio::task::spawn_blocking(move || {
        child(
            "child_that_fetches_keys_from_entra",
            &[("HTTPS_PROXY", &url)],
        )
    });

    let (mut connection, _) = proxy.accept().await.unwrap();
    let mut request = vec![0; 1024];
    let length = connection.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    assert!(
        request.starts_with("CONNECT login.microsoftonline.com:443 "),
        "{request}"
    );
    connection
        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        .await
        .unwrap();
    drop(connection);

    let output = stdout(&child.await.unwrap());
    let said = format!(
        "failed with proxy: the HTTP proxy {address} for login.microsoftonline.com asks for a user \
         name and a password (407); put the user name and the password in HTTPS_PROXY: \
         http://user:password@host:port"
    );
    assert!(output.contains(&said), "{output}");
}

#[tokio::test]
async fn a_proxy_that_does_not_let_entra_through_and_one_that_is_not_there_are_told_apart() {
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let fetch = |url: String| {
        tokio::task::spawn_blocking(move || {
            child(
                "child_that_fetches_keys_from_entra",
                &[("HTTPS_PROXY", &url)],
            )
        })
    };
    let refused = fetch(format!("http://{address}"));
    let (mut connection, _) = proxy.accept().await.unwrap();
    assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
    connection
        .write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        .await
        .unwrap();
    drop(connection);
    let output = stdout(&refused.await.unwrap());
    let said = format!(
        "failed with proxy: the HTTP proxy {address} for login.microsoftonline.com refuses \
         to connect to it; have the proxy's administrator allow login.microsoftonline.com:443; if \
         this machine reaches it without a proxy, add login.microsoftonline.com to NO_PROXY"
    );
    assert!(output.contains(&said), "{output}");

    // The port is bound, so that no other program gets it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = socket.local_addr().unwrap();
    let output = stdout(&fetch(format!("http://user:s3cr3t@{nobody}")).await.unwrap());
    let said = format!(
        "failed with proxy: the HTTP proxy {nobody} for login.microsoftonline.com cannot be \
         reached; set HTTPS_PROXY to a proxy that this machine reaches; if it reaches \
         login.microsoftonline.com without a proxy, add login.microsoftonline.com to NO_PROXY"
    );
    assert!(
        output.contains(&said) && !output.contains("s3cr3t"),
        "{output}"
    );
}

#[test]
fn a_name_that_does_not_resolve_is_told_as_such() {
    let nowhere = [("ENTRA_METADATA_ENDPOINT", "https://entra.invalid")];
    let output = stdout(&child("child_that_fetches_keys_from_entra", &nowhere));
    assert!(output.contains("failed with dns"), "{output}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_as_such() {
    let tenant = tenant().await;
    let https = tenant.url().replace("http://", "https://");
    let child = tokio::task::spawn_blocking(move || {
        let plain = [("ENTRA_METADATA_ENDPOINT", &*https)];
        child("child_that_fetches_keys_from_entra", &plain)
    });
    let output = stdout(&child.await.unwrap());
    assert!(output.contains("failed with tls"), "{output}");
}

#[test]
#[ignore = "the child of four tests in this file"]
fn child_that_fetches_keys_from_entra() {
    let auth = EntraAuth::builder()
        .tenant(OTHER_TENANT)
        .client_id(API)
        .env()
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let failure = runtime.block_on(auth.ready()).unwrap_err();
    println!(
        "failed with {}: {failure}; {}",
        failure.code(),
        failure.remedy()
    );
}

// On other systems, no variable can make the certificates disappear.
#[cfg(target_os = "linux")]
#[test]
fn a_missing_ca_bundle_is_found_when_the_auth_is_built() {
    let nowhere = [
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let output = child("child_without_ca_certificates", &nowhere);
    let output = stdout(&output);
    assert!(
        output.contains("https: cannot protect this service:"),
        "{output}"
    );
    assert!(
        output.contains("apt-get install ca-certificates"),
        "{output}"
    );
    assert!(output.contains("http on loopback: built"), "{output}");
}

#[test]
#[ignore = "the child of a_missing_ca_bundle_is_found_when_the_auth_is_built"]
fn child_without_ca_certificates() {
    let builder = || EntraAuth::builder().tenant(OTHER_TENANT).client_id(API);
    println!("https: {}", builder().build().unwrap_err());
    let local = builder().metadata_endpoint("http://127.0.0.1:1").build();
    println!("http on loopback: {}", local.map_or("refused", |_| "built"));
}

#[tokio::test]
async fn any_tower_service_can_fetch_the_keys() {
    let tenant = tenant().await;
    let (url, jwks) = (tenant.url().to_owned(), tenant.signing_keys().document());
    let issuer = format!("https://login.microsoftonline.com/{}/v2.0", tenant.id());
    let client = service_fn(move |request: Request<Bytes>| {
        let body = if request.uri().path().ends_with("/openid-configuration") {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{url}/keys"}}"#)
        } else {
            jwks.clone()
        };
        async move { Ok::<_, std::io::Error>(Response::new(Full::new(Bytes::from(body)))) }
    });
    let auth = settings(&tenant).http_client(client).build().unwrap();
    auth.ready().await.unwrap();
    assert_eq!(tenant.discovery_endpoint().hits(), 0);

    let failing = service_fn(async |_: Request<Bytes>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("no network here"))
    });
    let auth = settings(&tenant).http_client(failing).build().unwrap();
    assert_eq!(auth.ready().await.unwrap_err().code(), "connect");
}
