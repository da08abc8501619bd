//! The parts of the user and of the client in a sign-in, over HTTP.

use std::collections::BTreeMap;

use entra_dev_tenant::{DevTenant, DevTenantBuilder};
use serde_json::Value;

use crate::support::{API, CLIENT};

pub(crate) const SECRET: &str = "s3cret";
pub(crate) const REDIRECT: &str = "https://app.example/callback?from=entra";
/// PKCE verifier of the example in RFC 7636, appendix B. `CHALLENGE` is its challenge.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// The scope of the access token, without the scopes of OpenID Connect.
pub(crate) const READ: &str = "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/read";
pub(crate) const SCOPES: &str =
    "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/read openid profile offline_access";

/// Parameters that differ from the usual ones. A parameter without a value is left out.
pub(crate) type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

/// The response to a form or to the request for a page.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

/// Returns settings of a tenant with a web application, which is only a client, and an API with two
/// scopes.
pub(crate) fn builder() -> DevTenantBuilder {
    DevTenant::builder()
        .web_client(CLIENT, SECRET, [REDIRECT])
        .api(API, ["read", "write"])
}

pub(crate) async fn tenant() -> DevTenant {
    builder().start().await.unwrap()
}

pub(crate) fn authorize_url(tenant: &DevTenant, changes: Changes<'_>) -> String {
    let usual = [
        ("client_id", CLIENT),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPES),
        ("state", "a state"),
        ("nonce", "a nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(changed(&usual, changes))
        .finish();
    let (url, id) = (tenant.url(), tenant.id());
    format!("{url}/{id}/oauth2/v2.0/authorize?{query}")
}

/// Signs `user` in with the usual request, and returns the URL to which the page redirects.
pub(crate) async fn sign_in(tenant: &DevTenant, user: &str, changes: Changes<'_>) -> String {
    let answer = submit(&authorize_url(tenant, changes), &[("user", user)]).await;
    assert_eq!(answer.status, 302, "{}", answer.body);
    answer.location()
}

/// Returns the code of the usual request, for ada.
pub(crate) async fn code(tenant: &DevTenant, changes: Changes<'_>) -> String {
    let location = sign_in(tenant, "ada", changes).await;
    parameters(&location)["code"].clone()
}

pub(crate) async fn open(url: &str) -> Answer {
    Answer::of(client().get(url)).await
}

pub(crate) async fn submit(url: &str, form: &[(&str, &str)]) -> Answer {
    Answer::of(client().post(url).form(form)).await
}

/// Exchanges this code for tokens at the token endpoint.
pub(crate) async fn redeem(tenant: &DevTenant, code: &str, changes: Changes<'_>) -> (u16, Value) {
    let usual = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("scope", SCOPES),
    ];
    ask(tenant, &changed(&usual, changes)).await
}

pub(crate) async fn refresh(
    tenant: &DevTenant,
    refresh_token: &str,
    changes: Changes<'_>,
) -> (u16, Value) {
    let usual = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        ("refresh_token", refresh_token),
        ("scope", SCOPES),
    ];
    ask(tenant, &changed(&usual, changes)).await
}

/// Returns the tokens of ada's usual sign-in.
pub(crate) async fn tokens(tenant: &DevTenant) -> Value {
    let code = code(tenant, &[]).await;
    let (status, tokens) = redeem(tenant, &code, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

pub(crate) async fn ask(tenant: &DevTenant, form: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let answer = Answer::of(client().post(url).form(form)).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Returns the status, `error` and AADSTS number of a response.
pub(crate) fn refusal((status, answer): &(u16, Value)) -> (u16, &str, u64) {
    let error = answer["error"].as_str().unwrap_or_default();
    let code = answer["error_codes"][0].as_u64().unwrap_or_default();
    (*status, error, code)
}

/// Returns `error` and the AADSTS number of a response by redirect.
pub(crate) fn redirected_refusal(location: &str) -> (String, u64) {
    let parameters = parameters(location);
    let description = &parameters["error_description"];
    let code = description.strip_prefix("AADSTS").unwrap();
    let (code, _) = code.split_once(':').unwrap();
    (parameters["error"].clone(), code.parse().unwrap())
}

/// Returns the parameters of a URL's query.
pub(crate) fn parameters(url: &str) -> BTreeMap<String, String> {
    let (_, query) = url.split_once('?').unwrap();
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.into_owned().collect()
}

pub(crate) fn changed<'a>(
    usual: &[(&'a str, &'a str)],
    changes: Changes<'a>,
) -> Vec<(&'a str, &'a str)> {
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = usual.iter().filter(|(name, _)| !is_changed(name)).copied();
    let set = changes
        .iter()
        .filter_map(|(name, value)| Some((*name, (*value)?)));
    kept.chain(set).collect()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn location(&self) -> String {
        self.header("location").unwrap().to_owned()
    }

    /// Returns the AADSTS number that a page shows to the user.
    pub(crate) fn shown_code(&self) -> u64 {
        assert_eq!(self.header("location"), None);
        let (_, rest) = self.body.split_once("AADSTS").unwrap();
        let (code, _) = rest.split_once(':').unwrap();
        code.parse().unwrap()
    }
}
