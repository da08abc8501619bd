//! Cases about the audience: the generic validator, then the defaults of `Microsoft.Identity.Web`
//! (`RegisterValidAudience`).

use entra_jwt_core::{ValidatorBuilder, ids::Audience};
use serde_json::{Value, json};

use crate::support::API;
use crate::{ACCEPTED, Accepts, NO_SUCH_SETTING, Refuses, Row, by, rules, user};

const API_URI: &str = "api://6e74172b-be56-4843-9ff4-e66a39bb12e3";
const URI: &str = "https://orders.contoso.com";

const EITHER: &str = "both name this API and no other; which of them a token has follows from its \
                      version and from what the client asked for, and the version is told by the \
                      issuer";
const A_STRING: &str = "Entra writes a string";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = generic();
    rows.extend(defaults());
    rows.extend(explicit());
    rows.extend(elsewhere());
    rows
}

fn with(uri: &str) -> ValidatorBuilder {
    rules().audience(Audience::new(uri).unwrap())
}

fn claim(aud: impl Into<Value>) -> &'static str {
    by(rules(), user().claim("aud", aud))
}

fn generic() -> Vec<Row> {
    vec![
        Row::same(
            "the audience is the configured one",
            Accepts,
            ACCEPTED,
            || claim(API),
        ),
        Row::same(
            "the audience in upper case",
            Refuses("IDX10214"),
            "wrong_audience",
            || claim(API.to_uppercase()),
        ),
        Row::same(
            "the audience with more behind it",
            Refuses("IDX10214"),
            "wrong_audience",
            || claim(format!("{API}-test")),
        ),
        Row::same(
            "the audience with more before it",
            Refuses("IDX10214"),
            "wrong_audience",
            || claim(format!("x{API}")),
        ),
        Row::differs(
            "a list of audiences, one of them the configured one",
            Accepts,
            "wrong_type",
            A_STRING,
            || claim(json!(["api://other", API])),
        ),
        Row::same(
            "one slash at the end of the token's",
            Accepts,
            ACCEPTED,
            || by(with(URI), user().audience(&format!("{URI}/"))),
        ),
        Row::same(
            "one slash at the end of the configured one",
            Accepts,
            ACCEPTED,
            || by(with("https://orders.contoso.com/"), user().audience(URI)),
        ),
        Row::same(
            "two slashes at the end",
            Refuses("IDX10214"),
            "wrong_audience",
            || by(with(URI), user().audience(&format!("{URI}//"))),
        ),
        Row::differs(
            "one slash at the end of a client id",
            Accepts,
            "wrong_audience",
            "a slash is the end of a URI; a client id is none",
            || claim(format!("{API}/")),
        ),
        Row::same(
            "a blank audience, which is passed over",
            Refuses("IDX10214"),
            "wrong_audience",
            || claim(" "),
        ),
        Row::same(
            "an empty audience, which is passed over",
            Refuses("IDX10214"),
            "wrong_audience",
            || claim(""),
        ),
        Row::same(
            "an empty list of audiences",
            Refuses("IDX10206"),
            "wrong_type",
            || claim(json!([])),
        ),
        Row::same(
            "an audience of null",
            Refuses("IDX10207"),
            "wrong_type",
            || claim(Value::Null),
        ),
        Row::same(
            "a blank one is configured, which is passed over",
            Refuses("IDX10208"),
            NO_SUCH_SETTING,
            || Audience::new(" ").map_or(NO_SUCH_SETTING, |_| ACCEPTED),
        ),
    ]
}

fn defaults() -> Vec<Row> {
    vec![
        Row::same("v2 token for {client id}", Accepts, ACCEPTED, || {
            by(rules(), user().audience(API))
        }),
        Row::differs(
            "v2 token for api://{client id}",
            Refuses("IDX10214"),
            ACCEPTED,
            EITHER,
            || by(rules(), user().audience(API_URI)),
        ),
        Row::same("v1 token for api://{client id}", Accepts, ACCEPTED, || {
            by(rules().accept_v1_tokens(), user().v1().audience(API_URI))
        }),
        Row::differs(
            "v1 token for {client id}",
            Refuses("IDX10214"),
            ACCEPTED,
            EITHER,
            || by(rules().accept_v1_tokens(), user().v1().audience(API)),
        ),
        Row::differs(
            "token whose ver is 3.0",
            Refuses("IDX10214"),
            ACCEPTED,
            EITHER,
            || by(rules(), user().claim("ver", "3.0")),
        ),
        Row::differs(
            "token without ver",
            Refuses("IDX10214"),
            ACCEPTED,
            EITHER,
            || by(rules(), user().without_claim("ver")),
        ),
        Row::same(
            "token for another App ID URI, which is not configured",
            Refuses("IDX10214"),
            "wrong_audience",
            || by(rules(), user().audience(URI)),
        ),
        Row::differs(
            "B2C token for {client id}",
            Accepts,
            "wrong_issuer",
            "Azure AD B2C is not supported",
            || {
                let policy = entra_dev_tenant::B2cPolicy::Default;
                by(
                    rules(),
                    crate::tenant().b2c_token("ada", policy).for_api(API),
                )
            },
        ),
    ]
}

fn explicit() -> Vec<Row> {
    vec![
        Row::same("the audience that is configured", Accepts, ACCEPTED, || {
            by(with(URI), user().audience(URI))
        }),
        Row::same(
            "one of several that are configured",
            Accepts,
            ACCEPTED,
            || {
                let rules = with(URI).audience(Audience::new("api://orders").unwrap());
                by(rules, user().audience("api://orders"))
            },
        ),
        Row::differs(
            "the client id, where only another audience is configured",
            Refuses("IDX10214"),
            ACCEPTED,
            "what is configured stands beside the client id: both name this API and no other",
            || by(with(URI), user()),
        ),
    ]
}

/// Returns cases about the behaviour of other libraries.
fn elsewhere() -> Vec<Row> {
    vec![
        Row::same(
            "spn:{client id}, which passport-azure-ad accepts",
            Refuses("IDX10214"),
            "wrong_audience",
            || claim(format!("spn:{API}")),
        ),
        Row::differs(
            "a list with a foreign one in it, which Spring refuses",
            Accepts,
            "wrong_type",
            A_STRING,
            || claim(json!([API, "api://other"])),
        ),
    ]
}
