//! A sign-in as Swagger UI does it, and calls of the API before and after it.

use std::error::Error;

use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, LOCATION, ORIGIN,
};
use reqwest::{Client, Method, Response, Url};
use serde_json::Value;

use crate::SWAGGER_UI;

/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Signs in for the API at this URL, and calls it. Prints a line for each response, and fails at the first that is
/// not the expected one.
pub(crate) async fn sign_in_and_call(url: &str) -> Result<(), Box<dyn Error>> {
    let client = local_client()?;
    let reports = format!("{url}/reports");

    // The document and the page are open.
    let document = client.get(format!("{url}/openapi.json")).send().await?;
    expect_status("GET /openapi.json", &document, 200)?;
    let document: Value = document.json().await?;
    let scheme = &document["components"]["securitySchemes"]["entra"];
    let flow = &scheme["flows"]["authorizationCode"];
    let (authorize, token) = (text(&flow["authorizationUrl"])?, text(&flow["tokenUrl"])?);
    let required = &document["paths"]["/reports"]["get"]["security"][0]["entra"][0];
    let scope = text(required)?;
    expect(scheme["type"] == "oauth2" && flow["scopes"][scope] == "Read reports")?;
    let page = client.get(format!("{url}/swagger-ui/")).send().await?;
    expect_status("GET /swagger-ui/", &page, 200)?;
    let settings = format!("{url}/swagger-ui/swagger-initializer.js");
    let settings = client.get(settings).send().await?;
    expect_status("its settings", &settings, 200)?;
    let settings = settings.text().await?;
    expect(settings.contains("\"usePkceWithAuthorizationCodeGrant\": true"))?;

    // The API is not.
    let refused = client.get(&reports).send().await?;
    expect_status("GET /reports without a token", &refused, 401)?;

    // Swagger UI opens a window for the sign-in, which leads back to it.
    let redirect_uri = format!("{url}/swagger-ui/oauth2-redirect.html");
    let request = [
        ("response_type", "code"),
        ("client_id", SWAGGER_UI),
        ("redirect_uri", &redirect_uri),
        ("scope", scope),
        ("state", "a state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let request = Url::parse_with_params(authorize, request)?;
    let signed_in = client.post(request).form(&[("user", "ada")]).send().await?;
    expect_status("sign-in of ada, with PKCE", &signed_in, 302)?;
    let back = Url::parse(header(&signed_in, LOCATION.as_str())?)?;
    expect(back.as_str().starts_with(&redirect_uri) && parameter(&back, "state")? == "a state")?;

    // The script redeems the code at another origin than its own, for which the browser asks first.
    let may_ask = client
        .request(Method::OPTIONS, token)
        .header(ORIGIN, url)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(ACCESS_CONTROL_REQUEST_HEADERS, "x-requested-with");
    let may_ask = may_ask.send().await?;
    expect_status("preflight at the token endpoint", &may_ask, 200)?;
    expect(header(&may_ask, ACCESS_CONTROL_ALLOW_ORIGIN.as_str())? == "*")?;
    expect(header(&may_ask, ACCESS_CONTROL_ALLOW_HEADERS.as_str())? == "x-requested-with")?;
    let code = parameter(&back, "code")?;
    let redemption = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("client_id", SWAGGER_UI),
        ("client_secret", ""),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    let tokens = client
        .post(token)
        .header(ORIGIN, url)
        .header("x-requested-with", "XMLHttpRequest")
        .form(&redemption);
    let tokens = tokens.send().await?;
    expect_status("code redeemed by a script", &tokens, 200)?;
    expect(header(&tokens, ACCESS_CONTROL_ALLOW_ORIGIN.as_str())? == "*")?;
    let tokens: Value = tokens.json().await?;
    let token = text(&tokens["access_token"])?;

    let read = client.get(&reports).bearer_auth(token).send().await?;
    expect_status("GET /reports, Reports.Read", &read, 200)?;
    let new = serde_json::json!({ "title": "Sales in November" });
    let written = client.post(&reports).bearer_auth(token).json(&new);
    expect_status("POST /reports, Reports.Read", &written.send().await?, 403)
}

/// Prints the status of a response, and fails if it is another one.
fn expect_status(what: &str, answer: &Response, status: u16) -> Result<(), Box<dyn Error>> {
    println!("{what:<31} {}", answer.status().as_u16());
    match answer.status().as_u16() == status {
        true => Ok(()),
        false => Err(format!("{what}: expected {status}").into()),
    }
}

fn expect(is_so: bool) -> Result<(), Box<dyn Error>> {
    match is_so {
        true => Ok(()),
        false => Err("an response is not the expected one".into()),
    }
}

fn text(value: &Value) -> Result<&str, Box<dyn Error>> {
    Ok(value.as_str().ok_or("no text where one is expected")?)
}

fn header<'a>(answer: &'a Response, name: &str) -> Result<&'a str, Box<dyn Error>> {
    let value = answer.headers().get(name);
    let value = value.ok_or_else(|| format!("a response without {name}"))?;
    Ok(value.to_str()?)
}

fn parameter(url: &Url, name: &str) -> Result<String, Box<dyn Error>> {
    let found = url.query_pairs().find(|(other, _)| other == name);
    Ok(found.ok_or_else(|| format!("no {name}"))?.1.into_owned())
}

/// Builds an HTTP client for loopback, which uses no proxy and no certificates of this machine and follows no
/// redirects.
fn local_client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
}
