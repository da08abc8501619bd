//! Tests that this crate refuses every token that `jsonwebtoken`, configured as strictly as
//! possible, refuses.
//!
//! The exceptions are listed with their reasons, and each must still occur.

#[path = "support/change.rs"]
mod change;
#[path = "support/kind.rs"]
mod kind;
#[path = "support/read.rs"]
mod read;
#[path = "support/runner.rs"]
mod runner;
mod support;

use std::cell::Cell;
use std::time::SystemTime;

use entra_dev_tenant::Flaw;
use entra_jwt_core::{KeySet, Tenancy, TenantId, Validator};
use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use proptest::prop_assert;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::change::{CONSUMERS, Change};
use crate::kind::Kind;
use crate::read::{members, texts};
use crate::runner::runner;
use crate::support::{API, tenant};

const API_URI: &str = "api://6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// The accepted tenants and token versions.
#[derive(Clone, Copy, Debug)]
struct Rules {
    admitted: Admitted,
    accepts_v1: bool,
}

#[derive(Clone, Copy, Debug)]
enum Admitted {
    One,
    Organizations,
    Common,
}

impl Rules {
    fn all() -> Vec<Self> {
        let each = [Admitted::One, Admitted::Organizations, Admitted::Common];
        let each = each.into_iter().flat_map(|admitted| {
            [false, true].map(|accepts_v1| Self {
                admitted,
                accepts_v1,
            })
        });
        each.collect()
    }

    fn ours(self) -> Validator {
        let home: TenantId = tenant().id().parse().unwrap();
        let tenancy = match self.admitted {
            Admitted::One => Tenancy::tenant(home),
            Admitted::Organizations => Tenancy::organizations(),
            Admitted::Common => Tenancy::common(),
        };
        let rules = Validator::entra(tenancy, API.parse().unwrap());
        let rules = if self.accepts_v1 {
            rules.accept_v1_tokens()
        } else {
            rules
        };
        rules.build().unwrap()
    }

    /// Returns the library's strictest settings, with the right issuers for the token's own tenant.
    fn theirs(self, tid: &str) -> Validation {
        let is_admitted = match self.admitted {
            Admitted::One => tid == tenant().id(),
            Admitted::Organizations => tid != CONSUMERS,
            Admitted::Common => true,
        };
        let mut issuers = Vec::new();
        if is_admitted {
            issuers.push(format!("https://login.microsoftonline.com/{tid}/v2.0"));
        }
        if is_admitted && self.accepts_v1 {
            issuers.push(format!("https://sts.windows.net/{tid}/"));
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = 300;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_audience(&[API, API_URI]);
        validation.set_issuer(&issuers);
        validation
    }
}

/// The only claim that the library does not require itself.
#[derive(serde::Deserialize)]
struct WithTenant {
    tid: String,
}

/// The keys in both libraries' types.
struct Keys {
    ours: KeySet,
    theirs: JwkSet,
}

impl Keys {
    fn new() -> Self {
        // The library does not check the issuer and the cloud that a key may sign for. The test
        // removes these members, because the check would hide cases in which our other rules are
        // laxer.
        let document = tenant()
            .signing_keys()
            .document_of("common")
            .replace("\"issuer\":", "\"restricts_nothing\":")
            .replace("\"cloud_instance_name\":", "\"nor_does_this\":");
        Self {
            ours: KeySet::from_jwks(document.as_bytes()).unwrap(),
            theirs: serde_json::from_str(&document).unwrap(),
        }
    }

    fn they_accept(&self, rules: Rules, token: &str) -> Result<(), Error> {
        let header = decode_header(token)?;
        let kid = header.kid.unwrap_or_default();
        let key = self.theirs.find(&kid).ok_or(ErrorKind::InvalidKeyFormat)?;
        let key = DecodingKey::from_jwk(key)?;
        let WithTenant { tid } = insecure_decode(token)?.claims;
        decode::<WithTenant>(token, &key, &rules.theirs(&tid)).map(|_| ())
    }

    /// Validates the token with both libraries.
    ///
    /// The other library's clock cannot be set, so a second may pass between the calls. We count as
    /// accepting the token only if we accept it both before and after the other library's result.
    fn ask(&self, rules: Rules, token: &str) -> Opinions {
        let validator = rules.ours();
        let accepts = |now| validator.validate(token, &self.ours, now).is_ok();
        let before = accepts(SystemTime::now());
        let theirs = self.they_accept(rules, token).map_err(Error::into_kind);
        Opinions {
            we_accept: before && accepts(SystemTime::now()),
            theirs,
        }
    }
}

struct Opinions {
    we_accept: bool,
    theirs: Result<(), ErrorKind>,
}

impl Opinions {
    /// Returns the library's reason to refuse a token that we accept.
    fn we_are_laxer(self) -> Option<ErrorKind> {
        self.theirs.err().filter(|_| self.we_accept)
    }
}

/// A deliberate case in which we accept a token that the library refuses.
struct Exception {
    name: &'static str,
    reason: &'static str,
    explains: fn(&ErrorKind, &Token) -> bool,
    example: fn() -> String,
}

/// The parts of a token that decide whether an exception applies.
struct Token {
    /// `None` if `serde_json` cannot hold it as a `Value`.
    header: Option<Map<String, Value>>,
    claims: Map<String, Value>,
}

impl Token {
    fn read(token: &str) -> Self {
        let [header, claims] = members(token);
        Self {
            header,
            claims: claims.unwrap_or_default(),
        }
    }
}

const EXCEPTIONS: [Exception; 5] = [
    Exception {
        name: "one slash at the end of an audience with a scheme",
        reason: "a v1 token has the App ID URI as the client asked for it, with a slash or without; \
                 Microsoft's validator tolerates one too",
        explains: |error, token| {
            let audience = token.claims["aud"].as_str().unwrap_or_default();
            matches!(error, ErrorKind::InvalidAudience)
                && audience.strip_suffix('/') == Some(API_URI)
        },
        example: || {
            user()
                .audience("api://6e74172b-be56-4843-9ff4-e66a39bb12e3/")
                .mint()
        },
    },
    Exception {
        name: "a header member that is nobody's business has another type than registered",
        reason: "keys and addresses that the sender brings are never looked at, so that their types \
                 do not matter",
        explains: |error, token| {
            let Some(header) = &token.header else {
                return false;
            };
            let mut without = header.clone();
            for ignored in ["cty", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "url"] {
                without.remove(ignored);
            }
            let parses = |header: &Map<String, Value>| {
                serde_json::from_value::<Header>(json!(header)).is_ok()
            };
            matches!(error, ErrorKind::Json(_)) && !parses(header) && parses(&without)
        },
        example: || user().header("x5c", "not a list").mint(),
    },
    Exception {
        name: "a header member that serde_json cannot hold",
        reason: "an unknown member is skipped, whatever it is; they keep it as a Value, which no \
                 number beyond f64 and no deep nesting fits into",
        explains: |error, token| matches!(error, ErrorKind::Json(_)) && token.header.is_none(),
        example: || {
            let [mut header, payload] = texts(&user().mint());
            header.replace_range(..1, r#"{"unheard_of":1e400,"#);
            tenant().sign(&header, &payload)
        },
    },
    Exception {
        name: "nbf before 1970",
        reason: "a number like any other, and it has passed; they read times as unsigned",
        explains: |error, token| {
            matches!(error, ErrorKind::InvalidClaimFormat(claim) if claim == "nbf")
                && token.claims["nbf"].as_f64().is_some_and(|nbf| nbf < 0.0)
        },
        example: || user().claim("nbf", -1).mint(),
    },
    Exception {
        name: "the fraction of a second in nbf",
        reason: "dropped, as Microsoft's validator does; they round it up",
        explains: |error, token| {
            let is_fraction = |nbf: f64| nbf.fract() >= 0.5;
            matches!(error, ErrorKind::ImmatureSignature)
                && token.claims["nbf"].as_f64().is_some_and(is_fraction)
        },
        example: || {
            // Computed on each call: some time later, 300.5 seconds would be less than 300.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            user()
                .claim("nbf", now.unwrap().as_secs() as f64 + 300.5)
                .mint()
        },
    },
];

fn user() -> entra_dev_tenant::TokenBuilder<'static> {
    Kind::User.token(tenant())
}

/// Returns the names of the exceptions that explain the error.
fn explained(error: &ErrorKind, token: &str) -> Vec<&'static str> {
    let token = Token::read(token);
    let exceptions = EXCEPTIONS.iter();
    exceptions
        .filter(|exception| (exception.explains)(error, &token))
        .map(|exception| exception.name)
        .collect()
}

/// Checks the examples in the documentation: the library accepts them if only issuer and audience
/// are set.
#[test]
fn what_they_accept_with_issuer_and_audience_alone_set_is_refused_here() {
    let keys = Keys::new();
    let rules = Rules::all()[0];
    let issuer = format!("https://login.microsoftonline.com/{}/v2.0", tenant().id());
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[API]);
    validation.set_issuer(&[&issuer]);
    let they_accept = |token: &str| {
        let kid = decode_header(token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(keys.theirs.find(&kid).unwrap()).unwrap();
        decode::<Value>(token, &key, &validation).is_ok()
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let next_year = now.unwrap().as_secs() + 365 * 24 * 60 * 60;
    let good = user().mint();
    assert!(they_accept(&good) && keys.ask(rules, &good).we_accept);
    for (name, token) in [
        ("no iss", user().without_claim("iss")),
        ("no aud", user().without_claim("aud")),
        (
            "one good iss among others",
            user().claim("iss", json!(["https://evil.example", issuer])),
        ),
        (
            "nbf of next year",
            user().claim("nbf", next_year).claim("exp", next_year + 60),
        ),
    ] {
        let token = token.mint();
        assert!(they_accept(&token), "{name}");
        assert!(!keys.ask(rules, &token).we_accept, "{name}");
    }
    // Both refuse a token with an extension in `crit`.
    let critical = user().header("crit", json!(["b64"])).mint();
    assert!(!they_accept(&critical) && !keys.ask(rules, &critical).we_accept);
}

#[test]
fn no_flaw_of_any_kind_of_token_is_accepted_that_they_refuse() {
    let keys = Keys::new();
    let (mut accepted, mut refused) = (0, 0);
    for kind in Kind::ALL {
        let good = kind.token(tenant()).mint();
        let flawed = Flaw::ALL
            .iter()
            .map(|flaw| kind.token(tenant()).flaw(*flaw).mint());
        for token in std::iter::once(good).chain(flawed) {
            for rules in Rules::all() {
                let opinions = keys.ask(rules, &token);
                *(if opinions.we_accept {
                    &mut accepted
                } else {
                    &mut refused
                }) += 1;
                let laxer = opinions.we_are_laxer();
                assert!(laxer.is_none(), "{laxer:?}: {kind:?}, {rules:?}, {token}");
            }
        }
    }
    // A validator that refuses everything is never laxer, so both counts must be high.
    assert!(accepted > 300 && refused > 3_000, "{accepted} {refused}");
}

#[test]
fn no_signed_change_of_claims_is_accepted_that_they_refuse_without_a_listed_reason() {
    let keys = Keys::new();
    let kinds = Kind::ALL.map(|kind| {
        let good = members(&kind.token(tenant()).mint());
        (kind, good.map(Option::unwrap))
    });
    let changes = proptest::collection::vec(Change::any(), 0..4);
    let cases = (0..kinds.len(), changes, select(Rules::all()));
    let (accepted, excepted) = (Cell::new(0), Cell::new(0));
    runner(2_000)
        .run(&cases, |(which, changes, rules)| {
            let (kind, good) = kinds[which].clone();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = i64::try_from(now.unwrap().as_secs()).unwrap();
            let token = Change::all(&changes, kind.token(tenant()), good, now).mint();
            let opinions = keys.ask(rules, &token);
            accepted.set(accepted.get() + u32::from(opinions.we_accept));
            if let Some(error) = opinions.we_are_laxer() {
                prop_assert!(!explained(&error, &token).is_empty(), "{error:?}: {token}");
                excepted.set(excepted.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    // Only few of the accepted tokens need an exception.
    let (accepted, excepted) = (accepted.get(), excepted.get());
    assert!(
        accepted > 200 && excepted < accepted / 4,
        "{accepted} {excepted}"
    );
}

#[test]
fn each_exception_still_occurs_and_is_the_only_reason() {
    let keys = Keys::new();
    let rules = Rules {
        admitted: Admitted::One,
        accepts_v1: false,
    };
    for exception in EXCEPTIONS {
        assert!(!exception.reason.is_empty());
        let token = (exception.example)();
        let laxer = keys.ask(rules, &token).we_are_laxer();
        let laxer = laxer.unwrap_or_else(|| panic!("no longer needed: {}", exception.name));
        assert_eq!(explained(&laxer, &token), [exception.name]);
    }
}
