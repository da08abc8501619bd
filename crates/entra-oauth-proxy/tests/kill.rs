//! Tests of a proxy that is killed (SIGKILL) repeatedly while a hundred clients sign in and
//! refresh.
//!
//! No client that has tokens is signed out, and no code is accepted twice.

#![cfg(all(feature = "axum", feature = "disk-store"))]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::{EntraOAuthProxy, Rate, RateLimits, Resource, Secret};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::support::{
    APP, Client, PUBLIC, REDIRECT, RESOURCE, Reply, SECRET, encoded, parameter, post, request,
    tenant,
};

#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "it/support.rs"]
mod support;

const CLIENTS: usize = 100;
const REFRESHES: usize = 4;

/// Numbers of responses after which the test kills the proxy.
///
/// The first two numbers count all responses: at that time, clients register and consent. The other
/// numbers count responses with tokens: at that time, clients redeem codes and refresh tokens.
const KILLED_AFTER: [Count; 8] = [
    Count::new(150, 0),
    Count::new(390, 0),
    Count::new(0, 1),
    Count::new(0, 40),
    Count::new(0, 120),
    Count::new(0, 210),
    Count::new(0, 300),
    Count::new(0, 390),
];

/// Number of responses that the clients received.
#[derive(Clone, Copy, Default)]
struct Count {
    all: usize,
    with_tokens: usize,
}

impl Count {
    const fn new(all: usize, with_tokens: usize) -> Self {
        Self { all, with_tokens }
    }

    fn reaches(self, other: Self) -> bool {
        self.all >= other.all && self.with_tokens >= other.with_tokens
    }
}

const DIRECTORY: &str = "ENTRA_OAUTH_PROXY_TEST_DIRECTORY";
const TENANT: &str = "ENTRA_OAUTH_PROXY_TEST_TENANT";
const TENANT_URL: &str = "ENTRA_OAUTH_PROXY_TEST_TENANT_URL";

/// The proxy in a process of its own.
struct Server {
    process: Child,
    port: u16,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(directory: &Path, tenant: &DevTenant) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_serves_until_it_is_killed", "--exact"])
            .args(["--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(TENANT, tenant.id())
            .env(TENANT_URL, tenant.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, port)) = line.trim().split_once("port ") {
                break port.parse().unwrap();
            }
        };
        Self {
            process,
            port,
            _stdout: stdout,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // On Unix, this is SIGKILL.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[ignore = "the child of the other test"]
#[tokio::test]
async fn child_that_serves_until_it_is_killed() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let proxy = EntraOAuthProxy::builder()
        .tenant(variable(TENANT))
        .metadata_endpoint(variable(TENANT_URL))
        .client_id(APP)
        .credential(Secret::new(SECRET))
        .public_url(PUBLIC)
        .resource(Resource::at(RESOURCE).required_scopes(["read"]))
        .data_directory(variable(DIRECTORY))
        // All clients belong to two users. A client signs in again if a response was lost.
        .limits(
            RateLimits::default()
                .grants_per_user(300)
                .sign_ins_per_user(Rate::per_minute(1_000).burst(1_000)),
        )
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    let routes = Router::new().merge(proxy.routes());
    axum::serve(listener, routes).await.unwrap();
}

/// Number of restarts of the proxy, and its port.
type Address = (usize, u16);

/// State that all clients share.
struct World {
    tenant: DevTenant,
    http: reqwest::Client,
    address: watch::Receiver<Address>,
    answers: watch::Sender<Count>,
}

/// A request without a response, because the process ended first.
struct Lost;

impl World {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Lost> {
        let mut address = self.address.clone();
        let (start, port) = *address.borrow_and_update();
        let answer = self.exchange(request, port).await;
        match answer {
            Ok(reply) => {
                self.answers.send_modify(|answers| {
                    answers.all += 1;
                    answers.with_tokens += usize::from(reply.text().contains("access_token"));
                });
                Ok(reply)
            }
            Err(_) => {
                // The test killed the proxy and will start it again.
                address
                    .wait_for(|(other, _)| *other != start)
                    .await
                    .unwrap();
                Err(Lost)
            }
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        port: u16,
    ) -> Result<Reply, reqwest::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let url = format!("http://127.0.0.1:{port}{}", head.uri);
        let sent = self.http.request(head.method, url).headers(head.headers);
        let answer = sent.body(body).send().await?;
        let mut response = Response::builder().status(answer.status());
        *response.headers_mut().unwrap() = answer.headers().clone();
        let body = answer.bytes().await?;
        Ok(Reply::of(response.body(body.into()).unwrap()).await)
    }

    /// Sends a request until a response arrives.
    async fn insist(&self, request: impl Fn() -> Request<Full<Bytes>>) -> Reply {
        loop {
            if let Ok(reply) = self.send(request()).await {
                return reply;
            }
        }
    }

    async fn register(&self) -> Client {
        let metadata = json!({ "redirect_uris": [REDIRECT] }).to_string();
        let headers = [("content-type", "application/json")];
        let registered = self
            .insist(|| request(Method::POST, "/register", &headers, metadata.clone().into()))
            .await;
        assert_eq!(registered.status, 201, "{}", registered.text());
        Client {
            id: registered.json()["client_id"].as_str().unwrap().to_owned(),
            secret: None,
            redirect_uri: REDIRECT.to_owned(),
        }
    }

    /// Signs in up to the code. Returns `Lost` if the browser has to start again.
    async fn code(&self, client: &Client, user: &str) -> Result<String, Lost> {
        let authorize = client.authorize(&[]);
        let page = self
            .insist(|| request(Method::GET, &authorize, &[], Bytes::new()))
            .await;
        assert_eq!(page.status, 200, "{}", page.text());
        let form = [
            ("consent", &*page.field("consent")),
            ("decision", "approve"),
        ];
        let cookies = cookies(&page);
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
            ("cookie", &cookies),
        ];
        let agreed = self
            .insist(|| request(Method::POST, "/consent", &headers, encoded(&form).into()))
            .await;
        let callback = self.tenant.people().sign_in(user, &agreed.onward());
        let callback = callback.strip_prefix(PUBLIC).unwrap();
        let cookies = self::cookies(&agreed);
        // Entra's code works only once. Without a response, the browser cannot know whether it was
        // used.
        let answered = self
            .send(request(
                Method::GET,
                callback,
                &[("cookie", &cookies)],
                Bytes::new(),
            ))
            .await?;
        assert_eq!(answered.status, 303, "{}", answered.text());
        let url: Url = answered.location().parse().unwrap();
        Ok(parameter(&url, "code").unwrap_or_else(|| panic!("{url}")))
    }

    /// Signs in until the client has tokens, and returns them with their code.
    ///
    /// Each code is sent once. It is sent again only if the first request got no response.
    async fn sign_in(&self, client: &Client, user: &str) -> (Value, String) {
        loop {
            let Ok(code) = self.code(client, user).await else {
                continue;
            };
            let redeem = || post("/token", &client.redemption(&code), &[]);
            let first = self.send(redeem()).await;
            let is_first = first.is_ok();
            let reply = match first {
                Ok(reply) => reply,
                Err(Lost) => self.insist(redeem).await,
            };
            if reply.status == 200 {
                return (reply.json(), code);
            }
            // The proxy may have redeemed the code before the response was lost. Then it refuses
            // the code now, and ends the grant.
            assert!(!is_first, "{}", reply.text());
            assert_eq!(reply.error(), (400, "invalid_grant".to_owned()));
        }
    }

    async fn refresh(&self, client: &Client, refresh_token: &Value) -> Reply {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.as_str().unwrap()),
            ("client_id", &*client.id),
        ];
        self.insist(|| post("/token", &form, &[])).await
    }

    /// Runs one client until its last refresh, and returns its code and its last tokens.
    async fn lives(&self, number: usize) -> Held {
        let client = self.register().await;
        let user = ["ada", "grace"][number % 2];
        let (mut tokens, code) = self.sign_in(&client, user).await;
        for turn in 0..REFRESHES {
            let refreshed = self.refresh(&client, &tokens["refresh_token"]).await;
            let text = refreshed.text();
            assert_eq!(
                refreshed.status, 200,
                "client {number}, refresh {turn}: {text}"
            );
            tokens = refreshed.json();
        }
        Held {
            client,
            code,
            tokens,
        }
    }
}

/// A client with its code and its last tokens.
struct Held {
    client: Client,
    code: String,
    tokens: Value,
}

fn cookies(reply: &Reply) -> String {
    let cookies = reply.cookies();
    let pairs = cookies
        .iter()
        .map(|cookie| cookie.split(';').next().unwrap());
    pairs.collect::<Vec<_>>().join("; ")
}

/// A temporary directory, deleted when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("entra-oauth-proxy {} whole proxy", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn nobody_is_signed_out_and_no_code_is_accepted_twice_however_often_it_is_killed() {
    let directory = Directory::new();
    let tenant = tenant().start().await.unwrap();
    let mut server = Server::start(&directory.0, &tenant);
    let (moved, address) = watch::channel((0, server.port));
    let (answers, mut answered) = watch::channel(Count::default());
    let redirect = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().redirect(redirect).build();
    let world = Arc::new(World {
        tenant,
        http: http.unwrap(),
        address,
        answers,
    });
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let world = Arc::clone(&world);
        clients.spawn(async move { world.lives(number).await });
    }
    let mut held = Vec::new();
    for (start, after) in KILLED_AFTER.into_iter().enumerate() {
        while !answered.borrow_and_update().reaches(after) {
            tokio::select! {
                changed = answered.changed() => changed.unwrap(),
                // A client's panic fails the test.
                client = clients.join_next() => held.push(client.unwrap().unwrap()),
            }
        }
        drop(server);
        server = Server::start(&directory.0, &world.tenant);
        moved.send_replace((start + 1, server.port));
    }
    held.extend(clients.join_all().await);
    let all = CLIENTS * (1 + REFRESHES);
    let last = KILLED_AFTER[KILLED_AFTER.len() - 1].with_tokens;
    assert!(last + 100 < all && answered.borrow().with_tokens >= all);
    // The last refresh token of each client works in the last process.
    for held in &mut held {
        let refreshed = world
            .refresh(&held.client, &held.tokens["refresh_token"])
            .await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.text());
        held.tokens = refreshed.json();
    }
    // This is the last step, because a code that is used twice ends its grant.
    for held in &held {
        let redeem = || post("/token", &held.client.redemption(&held.code), &[]);
        let again = world.insist(redeem).await;
        assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
        let ended = world
            .refresh(&held.client, &held.tokens["refresh_token"])
            .await;
        assert_eq!(ended.error(), (400, "invalid_grant".to_owned()));
    }
}
