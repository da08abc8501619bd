//! Shared fixtures: a tenant, a proxy in front of it, a client and a browser.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use entra_dev_tenant::{AppRegistration, DevTenant, DevTenantBuilder};
use entra_oauth_proxy::tower_entra_auth::layer::AnswerBody;
use entra_oauth_proxy::{EntraOAuthProxy, EntraOAuthProxyBuilder, Resource, Secret};
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_entra_auth::Caller;
use url::{Url, form_urlencoded};

pub(crate) const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const SECRET: &str = "the application's own secret";
pub(crate) const PUBLIC: &str = "https://mcp.example.com";
pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";
pub(crate) const REDIRECT: &str = "https://client.example/callback";
pub(crate) const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABCDEFG";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A proxy and the tenant behind it.
pub(crate) struct Stage {
    pub(crate) tenant: DevTenant,
    pub(crate) proxy: EntraOAuthProxy,
}

/// Returns the application's registration in the tenant.
pub(crate) fn application() -> AppRegistration {
    AppRegistration::new(APP)
        .secret(SECRET)
        .redirect_uri("https://mcp.example.com/callback")
        .scope("read")
        .scope("write")
}

pub(crate) fn tenant() -> DevTenantBuilder {
    DevTenant::builder().register(application())
}

/// Returns a resource at this URL, with the required scope `read` and the optional scope `write`.
pub(crate) fn resource_at(url: &str) -> Resource {
    Resource::at(url)
        .required_scopes(["read"])
        .optional_scopes(["write"])
}

/// Returns the settings of a proxy for the usual resource, with this tenant.
pub(crate) fn settings(tenant: &DevTenant) -> EntraOAuthProxyBuilder {
    settings_of(tenant, resource_at(RESOURCE))
}

/// Returns the settings of a proxy for a resource, with this tenant.
///
/// If the clock is paused, the proxy reaches the tenant through the in-memory network.
pub(crate) fn settings_of(tenant: &DevTenant, resource: Resource) -> EntraOAuthProxyBuilder {
    let settings = EntraOAuthProxy::builder()
        .tenant(tenant.id())
        .client_id(APP)
        .credential(Secret::new(SECRET))
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .public_url(PUBLIC)
        .resource(resource);
    if memory_network::is_clock_paused() {
        settings.http_client(tenant.http_client())
    } else {
        settings
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    pub(crate) async fn with(
        change: impl FnOnce(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder,
    ) -> Self {
        let tenant = tenant().start().await.unwrap();
        let proxy = change(settings(&tenant)).build().unwrap();
        Self { tenant, proxy }
    }

    pub(crate) async fn with_resource(change: impl FnOnce(Resource) -> Resource) -> Self {
        let tenant = tenant().start().await.unwrap();
        let settings = settings_of(&tenant, change(resource_at(RESOURCE)));
        let proxy = settings.build().unwrap();
        Self { tenant, proxy }
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        Reply::of(self.proxy.service().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path, &[], Bytes::new()))
            .await
    }

    pub(crate) async fn register(&self, metadata: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        let body = metadata.to_string().into();
        self.send(request(Method::POST, "/register", &headers, body))
            .await
    }

    /// Registers a client and returns it.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(json!({ "redirect_uris": [REDIRECT], "client_name": "Test client" }))
            .await
    }

    pub(crate) async fn client_with(&self, metadata: Value) -> Client {
        let registered = self.register(&metadata).await;
        assert_eq!(
            registered.status,
            StatusCode::CREATED,
            "{}",
            registered.text()
        );
        let registered = registered.json();
        Client {
            id: registered["client_id"].as_str().unwrap().to_owned(),
            secret: registered["client_secret"].as_str().map(str::to_owned),
            redirect_uri: metadata["redirect_uris"][0].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Reply {
        self.send(post("/token", form, &[])).await
    }

    pub(crate) async fn redeem(&self, client: &Client, code: &str) -> Reply {
        self.token(&client.redemption(code)).await
    }

    pub(crate) async fn refresh(&self, client: &Client, refresh_token: &Value) -> Reply {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.as_str().unwrap()),
            ("client_id", &client.id),
        ])
        .await
    }

    /// Signs a user in with a new browser and returns the token response.
    pub(crate) async fn sign_in(&self, client: &Client, user: &str) -> Value {
        let mut browser = Browser::new(self);
        let code = browser.code(client, user, &[]).await;
        let tokens = self.redeem(client, &code).await;
        assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
        tokens.json()
    }

    /// Verifies a token and returns its caller, or the code of the refusal.
    pub(crate) async fn verify(&self, token: &Value) -> Result<Caller, &'static str> {
        let token = token.as_str().unwrap();
        self.proxy
            .auth()
            .verify(token)
            .await
            .map_err(|refusal| refusal.code())
    }
}

/// A client of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    pub(crate) redirect_uri: String,
}

impl Client {
    /// Returns the parameters of the client's authorization request.
    pub(crate) fn request(&self) -> Vec<(String, String)> {
        [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", &challenge()),
            ("code_challenge_method", "S256"),
            ("state", "the client's state"),
            ("resource", RESOURCE),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Returns the URL of the authorization request with changed parameters.
    ///
    /// A parameter whose new value is empty is left out.
    pub(crate) fn authorize(&self, changes: &[(&str, &str)]) -> String {
        let mut parameters = self.request();
        for (name, value) in changes {
            parameters.retain(|(other, _)| other != name);
            if !value.is_empty() {
                parameters.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        format!("/authorize?{}", encoded(&parameters))
    }

    /// Returns the form that redeems a code.
    pub(crate) fn redemption<'c>(&'c self, code: &'c str) -> Vec<(&'c str, &'c str)> {
        vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", VERIFIER),
            ("client_id", &self.id),
            ("resource", RESOURCE),
        ]
    }
}

/// A browser that keeps cookies and sends them with each request.
pub(crate) struct Browser<'s> {
    stage: &'s Stage,
    /// Peer address that each request has, as a server would add it.
    peer: Option<SocketAddr>,
    pub(crate) cookies: Vec<(String, String)>,
}

impl<'s> Browser<'s> {
    pub(crate) fn new(stage: &'s Stage) -> Self {
        Self {
            stage,
            peer: None,
            cookies: Vec::new(),
        }
    }

    /// Creates a browser whose requests come from this address.
    pub(crate) fn at(stage: &'s Stage, peer: SocketAddr) -> Self {
        Self {
            peer: Some(peer),
            ..Self::new(stage)
        }
    }

    /// Returns the value of the `Cookie` header with all cookies.
    pub(crate) fn cookie(&self) -> String {
        let cookies = self.cookies.iter();
        let cookies = cookies.map(|(name, value)| format!("{name}={value}"));
        cookies.collect::<Vec<_>>().join("; ")
    }

    /// Returns what the cookies tell of each sign-in: `open`, or its end.
    pub(crate) fn told(&self) -> Vec<&str> {
        let words = self.cookies.iter().map(|(_, value)| {
            let (time, word) = value.split_once('.').unwrap();
            assert!(time.parse::<u64>().is_ok(), "{value}");
            if word.len() < 24 { word } else { "open" }
        });
        words.collect()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Reply {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send(Method::POST, path, &headers, encoded(form).into())
            .await
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Reply {
        let cookies = self.cookie();
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push((COOKIE.as_str(), &cookies));
        }
        let mut request = request(method, path, &headers, body);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let reply = self.stage.send(request).await;
        for cookie in reply.cookies() {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(other, _)| other != name);
            if !cookie.contains("Max-Age=0;") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        reply
    }

    /// Opens the client's authorization request, approves it, and returns the URL at Entra.
    pub(crate) async fn goes_to_entra(
        &mut self,
        client: &Client,
        changes: &[(&str, &str)],
    ) -> String {
        let page = self.get(&client.authorize(changes)).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        self.answer(&page, "approve").await.onward()
    }

    /// Submits a decision on a consent page.
    pub(crate) async fn answer(&mut self, page: &Reply, decision: &str) -> Reply {
        let consent = page.field("consent");
        self.post("/consent", &[("consent", &consent), ("decision", decision)])
            .await
    }

    /// Opens the callback URL to which Entra redirected the browser.
    pub(crate) async fn come_back(&mut self, callback: &str) -> Reply {
        let path = callback.strip_prefix(PUBLIC).expect("a URL of the proxy's");
        self.get(path).await
    }

    /// Signs a user in and returns the URL with which the proxy redirects to the client.
    pub(crate) async fn signed_in(
        &mut self,
        client: &Client,
        user: &str,
        changes: &[(&str, &str)],
    ) -> Url {
        let at_entra = self.goes_to_entra(client, changes).await;
        let callback = self.stage.tenant.people().sign_in(user, &at_entra);
        let answered = self.come_back(&callback).await;
        assert_eq!(
            answered.status,
            StatusCode::SEE_OTHER,
            "{}",
            answered.text()
        );
        answered.location().parse().unwrap()
    }

    pub(crate) async fn code(
        &mut self,
        client: &Client,
        user: &str,
        changes: &[(&str, &str)],
    ) -> String {
        let answered = self.signed_in(client, user, changes).await;
        parameter(&answered, "code").unwrap_or_else(|| panic!("{answered}"))
    }
}

/// A response of the proxy with its whole body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) async fn of(response: Response<AnswerBody>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> String {
        self.header(LOCATION.as_str()).to_owned()
    }

    /// Returns the URL to which a browser goes on from this page by itself.
    ///
    /// The page is the response to a decision on the consent page.
    #[track_caller]
    pub(crate) fn onward(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.location(), "");
        let refresh = "<meta http-equiv=\"refresh\" content=\"0; url=";
        let (_, rest) = self.text().split_once(refresh).expect("a refresh");
        let url = rest.split_once('"').unwrap().0;
        url.replace("&#39;", "'").replace("&amp;", "&")
    }

    pub(crate) fn cookies(&self) -> Vec<String> {
        let cookies = self.headers.get_all(SET_COOKIE).iter();
        cookies
            .map(|cookie| cookie.to_str().unwrap().to_owned())
            .collect()
    }

    /// Returns the status and the `error` of a JSON response.
    pub(crate) fn error(&self) -> (u16, String) {
        let error = self.json()["error"].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), error)
    }

    /// Returns the value of a hidden field of a page.
    pub(crate) fn field(&self, name: &str) -> String {
        let beginning = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.text().split_once(&beginning).expect("the field");
        rest.split_once('"').unwrap().0.to_owned()
    }
}

/// Returns the code challenge of `VERIFIER`.
pub(crate) fn challenge() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref())
}

/// Returns a parameter of a URL's query.
pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.into_owned())
}

/// Returns the claims of a JWT without verifying it.
pub(crate) fn claims(token: &Value) -> Value {
    part(token, 1)
}

pub(crate) fn part(token: &Value, index: usize) -> Value {
    let part = token.as_str().unwrap().split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) fn encoded<N: AsRef<str>, V: AsRef<str>>(parameters: &[(N, V)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        form.append_pair(name.as_ref(), value.as_ref());
    }
    form.finish()
}

pub(crate) fn post(
    path: &str,
    form: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Request<Full<Bytes>> {
    let mut headers = headers.to_vec();
    headers.push((CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded"));
    request(Method::POST, path, &headers, encoded(form).into())
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).unwrap()
}
