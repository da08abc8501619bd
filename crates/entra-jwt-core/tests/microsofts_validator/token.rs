//! Cases about forms and kinds of tokens.

use entra_dev_tenant::{DevTenant, Flaw};
use entra_jwt_core::{KeySet, token::Unverified};

use crate::support::{API, CLIENT, start, tenant};
use crate::{ACCEPTED, Accepts, Refuses, Row, by, keys, now, rules, user, verdict};

const TWICE: &str = "another reader may take the other one";
const NOT_UNDERSTOOD: &str = "Entra uses it for no token of others, and to ignore it would be to \
                              read the token otherwise than it says";
const A_NUMBER: &str = "a lenient reading has been the root of tokens that never expire";
const ID_TOKEN: &str = "an id token is for its client, and can carry roles";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = forms();
    rows.extend(types());
    rows.extend(kinds());
    rows.extend(permissions());
    rows
}

fn forms() -> Vec<Row> {
    vec![
        Row::differs(
            "a token of 20 KiB",
            Accepts,
            "token_too_large",
            "Entra's largest have 12 KB; the limit can be set",
            || by(rules(), user().claim("filler", "x".repeat(15 * 1_024))),
        ),
        Row::same(
            "a token of 20 KiB, where the limit is 250 KiB",
            Accepts,
            ACCEPTED,
            || {
                let token = user().claim("filler", "x".repeat(15 * 1_024)).mint();
                let unverified = Unverified::parse_up_to(&token, 250 * 1_024).unwrap();
                let keys = keys();
                let key = keys.key(unverified.key_ref().key_id);
                let validator = rules().build().unwrap();
                let result = validator.verify(unverified, key, now());
                result.map_or_else(|rejection| rejection.code(), |_| ACCEPTED)
            },
        ),
        Row::differs(
            "a claim that stands twice: the last counts",
            Accepts,
            "duplicate_member",
            TWICE,
            || by(rules(), user().flaw(Flaw::DuplicateClaim)),
        ),
        Row::differs(
            "a header member that stands twice: the last counts",
            Accepts,
            "duplicate_member",
            TWICE,
            || by(rules(), user().flaw(Flaw::DuplicateHeader)),
        ),
        Row::differs(
            "crit",
            Accepts,
            "unsupported_header",
            NOT_UNDERSTOOD,
            || by(rules(), user().flaw(Flaw::Crit)),
        ),
        Row::differs("b64", Accepts, "unsupported_header", NOT_UNDERSTOOD, || {
            by(rules(), user().header("b64", false))
        }),
        Row::differs("zip", Accepts, "unsupported_header", NOT_UNDERSTOOD, || {
            by(rules(), user().header("zip", "DEF"))
        }),
        Row::same(
            "an encrypted token (JWE), without a key to decrypt it",
            Refuses("it cannot be decrypted"),
            "encrypted_token",
            || by(rules(), user().flaw(Flaw::Jwe)),
        ),
        Row::same(
            "four segments",
            Refuses("neither three segments nor five"),
            "not_a_token",
            || by(rules(), user().flaw(Flaw::FourSegments)),
        ),
    ]
}

fn types() -> Vec<Row> {
    vec![
        Row::differs("exp is a string", Accepts, "wrong_type", A_NUMBER, || {
            by(rules(), user().flaw(Flaw::ExpString))
        }),
        Row::differs("nbf is a string", Accepts, "wrong_type", A_NUMBER, || {
            by(rules(), user().flaw(Flaw::NbfString))
        }),
        Row::differs("iat is a string", Accepts, "wrong_type", A_NUMBER, || {
            by(rules(), user().claim("iat", "1700000000"))
        }),
        Row::same("exp with a fraction", Accepts, ACCEPTED, || {
            by(rules(), user().flaw(Flaw::ExpFloat))
        }),
        Row::differs(
            "scp is a list",
            Accepts,
            "wrong_type",
            "Entra writes a string",
            || by(rules(), user().flaw(Flaw::ScpArray)),
        ),
        Row::differs(
            "roles is a string",
            Accepts,
            "wrong_type",
            "Entra writes a list",
            || by(rules(), user().flaw(Flaw::RolesString)),
        ),
    ]
}

fn kinds() -> Vec<Row> {
    vec![
        Row::differs(
            "an id token with a role, for this API",
            Accepts,
            "id_token",
            ID_TOKEN,
            || by(rules(), tenant().id_token("ada").role("Admin").for_api(API)),
        ),
        Row::differs(
            "an id token with a scope, for this API",
            Accepts,
            "id_token",
            ID_TOKEN,
            || by(rules(), user().claim("nonce", "n-0S6_WzA2Mj")),
        ),
        Row::differs(
            "a token without a client",
            Accepts,
            "id_token",
            ID_TOKEN,
            || by(rules(), user().flaw(Flaw::NoClient)),
        ),
        Row::differs(
            "a proof-of-possession token (cnf) sent as a bearer token",
            Accepts,
            "proof_of_possession",
            "the binding would be lost",
            || by(rules(), user().proof_of_possession()),
        ),
        Row::same(
            "a token for Microsoft Graph",
            Refuses("the signature is invalid"),
            "graph_token",
            || by(rules(), tenant().graph_token("ada")),
        ),
        Row::same(
            "a token of another tenant's key",
            Refuses("the signature is invalid"),
            "unknown_key",
            || {
                let stranger = start(DevTenant::builder());
                let own = KeySet::from_jwks(tenant().signing_keys().document().as_bytes()).unwrap();
                let token = stranger.user("ada").scope("read").for_api(API).mint();
                verdict(rules(), &own, &token, now())
            },
        ),
    ]
}

fn permissions() -> Vec<Row> {
    vec![
        Row::same(
            "neither scope nor role",
            Refuses("IDW10201, 401"),
            "no_permission",
            || by(rules(), user().flaw(Flaw::NoScopeNoRole)),
        ),
        Row::same(
            "neither scope nor role, of a client that access control lists exempt",
            Accepts,
            ACCEPTED,
            || {
                let rules = rules().allow_roleless_clients([CLIENT.parse().unwrap()]);
                by(rules, tenant().app(CLIENT).for_api(API))
            },
        ),
        Row::differs(
            "an empty scp",
            Accepts,
            "no_permission",
            "it permits nothing; tokens of agents have it",
            || by(rules(), user().flaw(Flaw::ScpEmpty)),
        ),
        Row::differs(
            "a scp of /",
            Accepts,
            "no_permission",
            "it permits nothing; tokens of agents have it",
            || by(rules(), user().flaw(Flaw::ScpSlash)),
        ),
    ]
}
