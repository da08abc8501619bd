//! Tests that no mutation of a valid token is accepted.
//!
//! A mutation that the right key has signed is accepted exactly if an independent implementation of
//! the rules accepts it.

#[path = "../support/change.rs"]
mod change;
mod json;
mod judge;
#[path = "../support/kind.rs"]
mod kind;
#[path = "../support/read.rs"]
mod read;
#[path = "../support/runner.rs"]
mod runner;
mod signer;
#[path = "../support/mod.rs"]
mod support;
mod text;

use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_jwt_core::{
    AccessToken, InvalidToken, KeySet, Tenancy, TenantId, Validator,
    explain::{ExplainOptions, Verdict},
    ids::Audience,
};
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use proptest::{prop_assert, prop_oneof};
use serde_json::{Map, Value};

use crate::change::Change;
use crate::json::{Duplicate, Spelling};
use crate::judge::{Admitted, Judge};
use crate::kind::Kind;
use crate::read::{members, texts};
use crate::runner::runner;
use crate::signer::Signer;
use crate::support::{API, tenant};
use crate::text::{Base64Variant, TextMutation};

/// Kinds of tokens that the rules below accept.
const VALID: [Kind; 11] = [
    Kind::User,
    Kind::App,
    Kind::AppWithoutServicePrincipal,
    Kind::UserV1,
    Kind::AppV1,
    Kind::Personal,
    Kind::Guest,
    Kind::OfAnotherTenant,
    Kind::Agent,
    Kind::AgentForUser,
    Kind::AgentUser,
];

/// The most permissive rules, with every key that Entra publishes.
struct Valid {
    validator: Validator,
    keys: KeySet,
    tokens: Vec<String>,
    now: SystemTime,
}

impl Valid {
    fn new() -> Self {
        let valid = Self {
            validator: rules(Tenancy::common(), true),
            keys: KeySet::from_jwks(tenant().signing_keys().document_of("common").as_bytes())
                .unwrap(),
            tokens: VALID.map(|kind| kind.token(tenant()).mint()).to_vec(),
            now: tenant().clock()(),
        };
        for token in &valid.tokens {
            assert!(valid.accepts(token), "{token}");
        }
        valid
    }

    /// Returns whether `validate` or `explain` accepts the token.
    fn accepts(&self, token: &str) -> bool {
        let report = ExplainOptions::at(self.now).keys(&self.keys);
        let report = self.validator.explain(token, &report);
        let is_reported_valid = matches!(
            report.verdict(),
            Verdict::Accepted | Verdict::PermissionDenied(_)
        );
        let result = self.validator.validate(token, &self.keys, self.now);
        result.is_ok() || is_reported_valid
    }
}

fn rules(tenancy: Tenancy, accepts_v1: bool) -> Validator {
    let rules = Validator::entra(tenancy, API.parse().unwrap())
        .audience(Audience::new("https://orders.contoso.com").unwrap());
    let rules = if accepts_v1 {
        rules.accept_v1_tokens()
    } else {
        rules
    };
    rules.build().unwrap()
}

/// Generates positions in the list of valid tokens.
fn which() -> impl Strategy<Value = usize> {
    0..VALID.len()
}

#[test]
fn no_mutation_of_the_text_of_a_valid_token_is_accepted() {
    let valid = Valid::new();
    let still_valid: HashSet<&String> = valid.tokens.iter().collect();
    let mutations = proptest::collection::vec(TextMutation::any(), 1..3);
    runner(3_000)
        .run(&(which(), mutations), |(which, mutations)| {
            let mut token = valid.tokens[which].clone();
            for mutation in &mutations {
                // A text that no longer has the form of a token needs no further mutation.
                if token.split('.').count() != 3 || !token.is_ascii() {
                    break;
                }
                token = mutation.apply(&token, &valid.tokens);
            }
            prop_assert!(
                still_valid.contains(&token) || !valid.accepts(&token),
                "{token}"
            );
            Ok(())
        })
        .unwrap();
}

/// A change to the text of the header or the payload that keeps the old signature.
#[derive(Clone, Debug)]
enum JsonMutation {
    Duplicate(Duplicate),
    Spelling(Spelling),
}

impl JsonMutation {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Duplicate::any().prop_map(Self::Duplicate),
            Spelling::any().prop_map(Self::Spelling),
        ]
    }

    fn apply(&self, text: &str) -> String {
        match self {
            Self::Duplicate(duplicate) => duplicate.apply(text),
            Self::Spelling(spelling) => spelling.apply(text),
        }
    }
}

#[test]
fn no_other_text_of_header_or_payload_is_accepted_under_the_old_signature() {
    let valid = Valid::new();
    let mutated = (which(), any::<bool>(), JsonMutation::any());
    runner(1_500)
        .run(&mutated, |(which, in_header, mutation)| {
            let original = &valid.tokens[which];
            let mut texts = texts(original);
            let text = &mut texts[usize::from(!in_header)];
            *text = mutation.apply(text);
            let [header, payload] = texts.map(|text| URL_SAFE_NO_PAD.encode(text));
            let (_, signature) = original.rsplit_once('.').unwrap();
            let token = format!("{header}.{payload}.{signature}");
            prop_assert!(token == *original || !valid.accepts(&token), "{token}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_member_that_stands_twice_is_refused_even_if_the_right_key_has_signed_it() {
    let valid = Valid::new();
    // The test uses only kinds that the tenant's own key signs: duplicates of unknown members are
    // found only after the signature is verified.
    let kinds: Vec<usize> = (0..VALID.len())
        .filter(|which| VALID[*which] != Kind::Personal)
        .collect();
    let duplicated = (select(kinds), any::<bool>(), Duplicate::any());
    runner(300)
        .run(&duplicated, |(which, in_header, duplicate)| {
            let mut texts = texts(&valid.tokens[which]);
            let text = &mut texts[usize::from(!in_header)];
            *text = duplicate.apply(text);
            let token = tenant().sign(&texts[0], &texts[1]);
            let result = valid.validator.validate(&token, &valid.keys, valid.now);
            let code = result.map_or_else(|rejection| rejection.code(), |_| "accepted");
            // A duplicate with another value may be refused for its type, if that value is read
            // first.
            let is_refused_as_such = match code {
                "duplicate_member" => true,
                "wrong_type" => duplicate.has_another_value(),
                _ => false,
            };
            prop_assert!(is_refused_as_such, "{code}: {texts:?}");
            Ok(())
        })
        .unwrap();
}

/// Returns the values that a service reads from a token.
fn learned(token: &AccessToken) -> impl PartialEq + std::fmt::Debug {
    let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    (
        (token.tenant_id(), token.id().to_string(), token.client_id()),
        (token.kind(), token.is_guest(), token.version()),
        texts(token.scopes().collect()),
        texts(token.roles().collect()),
        (token.expires_at(), token.not_before(), token.issued_at()),
        token.audience().to_owned(),
        token.name().map(str::to_owned),
    )
}

#[test]
fn another_spelling_of_the_same_json_means_the_same_if_it_is_signed() {
    let valid = Valid::new();
    // The test uses only kinds that the tenant's own key signs.
    let kinds: Vec<usize> = (0..VALID.len())
        .filter(|which| VALID[*which] != Kind::Personal)
        .collect();
    let spelt = (select(kinds), Spelling::any(), Spelling::any());
    runner(400)
        .run(&spelt, |(which, of_header, of_payload)| {
            let original = &valid.tokens[which];
            let [header, payload] = texts(original);
            let token = tenant().sign(&of_header.apply(&header), &of_payload.apply(&payload));
            let read = |token: &str| valid.validator.validate(token, &valid.keys, valid.now);
            let (expected, found) = (read(original).unwrap(), read(&token).unwrap());
            prop_assert!(learned(&expected) == learned(&found), "{:?}", texts(&token));
            Ok(())
        })
        .unwrap();
}

#[test]
fn other_base64_is_refused_even_if_the_right_key_has_signed_it() {
    let valid = Valid::new();
    let signer = Signer::new();
    let keys = signer.keys();
    let header = format!(
        r#"{{"typ":"JWT","alg":"RS256","kid":"{}"}}"#,
        Signer::KEY_ID
    );
    let header = URL_SAFE_NO_PAD.encode(header);
    let payloads: Vec<&str> = valid
        .tokens
        .iter()
        .map(|token| token.split('.').nth(1).unwrap())
        .collect();
    let refused = Cell::new(0);
    let validate = |token: &str| -> Result<AccessToken, InvalidToken> {
        valid.validator.validate(token, &keys, valid.now)
    };
    let variants = (which(), 0..3_usize, Base64Variant::any());
    runner(400)
        .run(&variants, |(which, position, variant)| {
            let original = signer.sign(&header, payloads[which]);
            // This signer also signs the tokens of personal accounts, so they are valid like the
            // others.
            assert!(validate(&original).is_ok());
            let mut segments: Vec<String> = original.split('.').map(str::to_owned).collect();
            segments[position] = variant.apply(&segments[position]);
            let token = match position {
                2 => segments.join("."),
                _ => signer.sign(&segments[0], &segments[1]),
            };
            if token != original {
                assert_eq!(validate(&token).unwrap_err().code(), "invalid_base64");
                refused.set(refused.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    assert!(refused.get() > 200, "{}", refused.get());
}

/// The inputs of our validator and of the judge, which must agree.
struct Opinions {
    keys: KeySet,
    /// JSON form of the same keys.
    keys_as_json: Value,
    /// Time in seconds since 1970.
    now: u32,
}

impl Opinions {
    fn under(document: &str) -> Self {
        let now = tenant().clock()().duration_since(UNIX_EPOCH).unwrap();
        Self {
            keys: KeySet::from_jwks(document.as_bytes()).unwrap(),
            keys_as_json: serde_json::from_str(document).unwrap(),
            now: now.as_secs().try_into().unwrap(),
        }
    }

    /// Returns whether both accept the token, and fails if they differ.
    fn agree(
        &self,
        token: &str,
        admitted: Admitted,
        accepts_v1: bool,
    ) -> Result<bool, TestCaseError> {
        let [header, claims] = members(token).map(Option::unwrap_or_default);
        let judge = Judge {
            home: tenant().id(),
            admitted,
            accepts_v1,
            audiences: &[
                API,
                "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
                "https://orders.contoso.com",
            ],
            keys: &self.keys_as_json,
            now: self.now.into(),
        };
        let home: TenantId = tenant().id().parse().unwrap();
        let tenancy = match admitted {
            Admitted::Home => Tenancy::tenant(home),
            Admitted::Organizations => Tenancy::organizations(),
            Admitted::Common => Tenancy::common(),
        };
        let validator = rules(tenancy, accepts_v1);
        let now = UNIX_EPOCH + Duration::from_secs(self.now.into());
        let ours = validator.validate(token, &self.keys, now);
        let theirs = judge.judge(&header, &claims);
        prop_assert!(
            ours.is_ok() == theirs.is_ok(),
            "we: {ours:?}\njudge: {theirs:?}\n{header:?}\n{claims:?}"
        );
        if let Ok(token) = &ours {
            agree_on_the_caller(&validator, token, &claims)?;
        }
        Ok(ours.is_ok())
    }
}

fn agree_on_the_caller(
    validator: &Validator,
    token: &AccessToken,
    claims: &Map<String, Value>,
) -> TestCaseResult {
    let is_app_only = token.is_app_only();
    prop_assert!(!is_app_only || judge::may_be_app_only(claims), "{claims:?}");
    prop_assert!(!is_app_only || !token.is_delegated(), "{claims:?}");
    let is_permitted = validator.default_permission(token).is_ok();
    prop_assert!(
        is_permitted == judge::has_scope_or_role(claims),
        "{claims:?}"
    );
    Ok(())
}

#[test]
fn a_signed_token_is_accepted_where_an_independent_judge_accepts_it() {
    let document = tenant().signing_keys().document_of("common");
    // In the second document the keys have no restriction, so only the other rules decide.
    let without_issuers = document.replace("\"issuer\":", "\"restricts_nothing\":");
    let opinions = [document, without_issuers].map(|document| Opinions::under(&document));
    let kinds = Kind::ALL.map(|kind| {
        let good = members(&kind.token(tenant()).mint());
        (kind, good.map(Option::unwrap))
    });
    let admitted = [Admitted::Home, Admitted::Organizations, Admitted::Common];
    let cases = (
        0..kinds.len(),
        proptest::collection::vec(Change::any(), 0..3),
        select(admitted.to_vec()),
        any::<bool>(),
        any::<bool>(),
    );
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    runner(3_000)
        .run(
            &cases,
            |(which, changes, admitted, accepts_v1, without_issuers)| {
                let opinions = &opinions[usize::from(without_issuers)];
                let (kind, good) = kinds[which].clone();
                let token = kind.token(tenant());
                let token = Change::all(&changes, token, good, opinions.now.into());
                let is_accepted = opinions.agree(&token.mint(), admitted, accepts_v1)?;
                let count = if is_accepted { &accepted } else { &refused };
                count.set(count.get() + 1);
                Ok(())
            },
        )
        .unwrap();
    let (accepted, refused) = (accepted.get(), refused.get());
    assert!(accepted > 300 && refused > 300, "{accepted} {refused}");
}
