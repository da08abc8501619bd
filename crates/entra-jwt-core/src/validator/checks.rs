//! The only list of all checks of a token, in their order.
//!
//! Each check is a function from [`CheckContext`] to a fault. The header's checks need only the
//! token. The claims' checks may also use the key, if it is already known: the same functions check
//! the unverified claims before a key is fetched, and the verified claims afterwards. The admission
//! checks run on verified claims only. Otherwise an attacker could send made-up tokens and learn
//! from the response who is admitted. `explain` runs all checks to their end.

use super::{Check, CheckContext, CheckName, Profile};
use crate::authority::{Audience, TokenVersion};
use crate::identifier::TenantId;
use crate::json::JsonStr;
use crate::keys::Key;
use crate::refusal::{GraphMark, TokenFault};
use crate::shown::Escaped;

const fn check(
    name: CheckName,
    run: fn(&CheckContext<'_>) -> Result<(), TokenFault>,
    needs: &'static [CheckName],
) -> Check {
    Check { name, run, needs }
}

/// The header's checks, which run before any key is looked up.
pub(super) static HEADER: [Check; 3] = [
    check(CheckName::Nonce, nonce, &[]),
    check(CheckName::Algorithm, algorithm, &[]),
    check(CheckName::Type, token_type, &[]),
];

/// The checks of the key and the signature, and a more expensive check that runs only once the
/// signature is verified.
pub(super) static SIGNATURE: [Check; 3] = [
    check(CheckName::Key, known_key, &[]),
    check(CheckName::Signature, signature, &[CheckName::Key]),
    check(CheckName::Names, names, &[CheckName::Signature]),
];

/// The claims' checks, which compare a token with facts about this API, or with itself.
///
/// They run on verified claims, and on unverified claims before a key is fetched.
pub(super) static CLAIMS: [Check; 9] = [
    check(CheckName::Claims, types, &[]),
    check(CheckName::Lifetime, lifetime, &[CheckName::Claims]),
    check(CheckName::Issuer, issuer, &[]),
    check(CheckName::Version, version, &[CheckName::Issuer]),
    check(
        CheckName::KeyIssuer,
        key_issuer,
        &[CheckName::Issuer, CheckName::Key],
    ),
    check(CheckName::KeyCloud, key_cloud, &[CheckName::Key]),
    check(CheckName::Audience, audience, &[CheckName::Claims]),
    check(CheckName::Binding, binding, &[CheckName::Claims]),
    check(CheckName::Kind, kind, &[CheckName::Claims]),
];

/// The admission checks.
///
/// They compare a token with other tenants and clients, so they run on verified claims only.
pub(super) static ADMISSION: [Check; 4] = [
    check(CheckName::Tenant, tenant, &[CheckName::Issuer]),
    check(
        CheckName::Client,
        client,
        &[CheckName::Claims, CheckName::Kind],
    ),
    check(
        CheckName::Guest,
        guest,
        &[CheckName::Claims, CheckName::Issuer],
    ),
    check(CheckName::Agent, agent, &[CheckName::Claims]),
];

/// All checks, in the order in which they run on a token with a known key.
pub(super) static ALL: [&[Check]; 4] = [&HEADER, &SIGNATURE, &CLAIMS, &ADMISSION];

/// Checks that the header has no `nonce`.
///
/// A `nonce` marks tokens for Microsoft Graph. Their signature was made over the hash of the nonce,
/// so the token as sent can never be verified. This check runs before the algorithm's, because its
/// fault explains more.
fn nonce(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    if context.token.has_nonce() {
        return Err(TokenFault::GraphToken {
            mark: GraphMark::Nonce,
            api: context.rules.audiences.client_id(),
        });
    }
    Ok(())
}

/// Checks that the algorithm is RS256, or ES256 in reissued tokens.
///
/// RS256 is the only algorithm that Entra's discovery documents announce.
fn algorithm(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let expected = context.rules.profile.algorithm();
    match context.token.algorithm() {
        Some(found) if found == *expected => Ok(()),
        found => Err(TokenFault::WrongAlgorithm {
            found: found.map(|found| Escaped::cut(&found.short())),
            expected,
            other_server: other_server(context),
        }),
    }
}

/// Returns the issuer of a token that another authorization server issued by RFC 9068 (`at+jwt`).
///
/// `entra-oauth-proxy` issues such tokens, Entra does not.
fn other_server(context: &CheckContext<'_>) -> Option<String> {
    let token_type = context.token.token_type()?.short();
    let issuer = context.token.issuer()?;
    token_type
        .eq_ignore_ascii_case("at+jwt")
        .then(|| Escaped::cut(issuer))
}

/// Checks that `typ` is `JWT`, in upper or lower case, or absent.
///
/// Entra never writes `at+jwt`. A reissued token must have `at+jwt`, and never lacks `typ` (RFC
/// 9068 §4).
fn token_type(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let (expected, may_lack) = match context.rules.profile {
        Profile::Entra => ("JWT", true),
        Profile::Reissued { .. } => ("at+jwt", false),
    };
    match context.token.token_type().map(JsonStr::short) {
        None if may_lack => Ok(()),
        Some(found) if found.eq_ignore_ascii_case(expected) => Ok(()),
        found => Err(TokenFault::WrongTokenType {
            found: Escaped::cut(found.as_deref().unwrap_or("no typ")),
            expected,
        }),
    }
}

/// Checks that the key with the token's `kid` is known.
fn known_key(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    if context.key_is_known() {
        Ok(())
    } else {
        Err(context.rules.unknown_key(context.token.key_id().clone()))
    }
}

/// Verifies the signature with the key.
///
/// The key's algorithm must be the one that this issuer uses. The header's `alg` was compared with
/// that algorithm, too.
fn signature(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let token = context.token;
    let verifies = |key: &Key| {
        key.algorithm() == context.rules.profile.algorithm()
            && key.verifies(token.signing_input(), token.signature())
    };
    if context.key.is_some_and(verifies) {
        Ok(())
    } else {
        Err(TokenFault::BadSignature {
            key_id: context.token.key_id().clone(),
        })
    }
}

/// Checks that no member of header or payload occurs twice.
///
/// The parser checks the members that decide something. All others are checked here: there can be
/// thousands of them, and no lookup and no fetch depends on them.
fn names(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    context.token.check_names()
}

/// Checks that the key may sign for the token's issuer.
///
/// A key that names an issuer may sign for no other issuer. Without this check, a key of personal
/// accounts could sign for any tenant. A key that names no issuer may sign for any.
fn key_issuer(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let Some(key_issuer) = context.key.and_then(Key::issuer) else {
        return Ok(());
    };
    let (_, version) = context.issued_by()?;
    let tid = context.token.tenant().unwrap_or_default();
    let issuer = context.token.issuer().unwrap_or_default();
    let authority = &context.rules.authority;
    if authority.key_may_sign(key_issuer, issuer, &tid, version) {
        Ok(())
    } else {
        Err(TokenFault::KeyIssuerMismatch {
            found: Escaped::cut(issuer),
            key_issuer: key_issuer.to_owned(),
        })
    }
}

/// Checks that the key belongs to this cloud, because real key sets contain keys of other clouds.
///
/// The key's cloud is compared with the cloud's constant. External ID has no such constant: there
/// it is compared with the cloud of the discovery document that led to the key. Microsoft's
/// validator has the same check, `EnableEntraIdSigningKeyCloudInstanceValidation`, which is off
/// there.
fn key_cloud(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    if context.rules.accepts_keys_of_other_clouds {
        return Ok(());
    }
    let Some(key) = context.key else {
        return Ok(());
    };
    let expected = context
        .rules
        .authority
        .cloud_instance_name()
        .or(key.discovered_cloud());
    match (key.cloud_instance_name(), expected) {
        (Some(found), Some(expected)) if found != expected => Err(TokenFault::KeyCloudMismatch {
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Checks that every claim that decides something has the type that Entra writes.
///
/// Tokens of other issuers often have other types, so a fault of the issuer is returned first.
fn types(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    match &context.token.type_error {
        None => Ok(()),
        Some(error) => Err(context.issued_by().err().unwrap_or_else(|| error.clone())),
    }
}

/// Checks `exp`, which is required, and `nbf`; `iat` decides nothing.
///
/// A token still passes at exactly the clock skew, as with Microsoft's validator.
fn lifetime(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let (expires_at, not_before) = context.token.lifetime();
    context
        .rules
        .check_lifetime(expires_at, not_before, context.now)
}

/// Checks that the issuer is the one that belongs to the token's own `tid` in this cloud, byte for
/// byte.
fn issuer(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    context.issued_by().map(|_| ())
}

/// Checks that the token is v2, or v1 if v1 tokens are accepted.
///
/// The issuer decides the version, never the claim `ver`.
fn version(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    match context.issued_by()? {
        (tenant, TokenVersion::V1) if !context.rules.accepts_v1 => Err(TokenFault::V1Token {
            found: Escaped::cut(context.token.issuer().unwrap_or_default()),
            expected: context.rules.authority.v2_issuer(tenant),
        }),
        _ => Ok(()),
    }
}

/// Checks that `aud` is one string and an accepted audience.
fn audience(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let audiences = &context.rules.audiences;
    let found = context
        .token
        .audience()
        .ok_or(TokenFault::MissingClaim { claim: "aud" })?;
    let found = &*found;
    if audiences.accept(found) {
        return Ok(());
    }
    let api = audiences.client_id();
    Err(if Audience::is_graph(found) {
        TokenFault::GraphToken {
            mark: GraphMark::Audience,
            api,
        }
    } else if let Some(api_name) = Audience::microsoft_api_of(found) {
        TokenFault::MicrosoftApiToken {
            found: Escaped::cut(found),
            api_name,
            api,
        }
    } else {
        let mut tenants = context.rules.authority.tenancy().tenant_ids();
        TokenFault::WrongAudience {
            found: Escaped::cut(found),
            accepted: audiences.iter().map(ToString::to_string).collect(),
            is_the_tenant: tenants.any(|tenant| found.parse() == Ok(tenant)),
        }
    })
}

/// Checks that the token is not bound to a key of its holder.
///
/// A bound token must not be accepted as a bearer token (RFC 7800).
fn binding(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    if context.token.is_bound() {
        Err(TokenFault::ProofOfPossession)
    } else {
        Ok(())
    }
}

/// Checks that the token is no id token.
///
/// Entra does not mark id tokens. They are recognised by claims that only they have, and by the
/// missing client: an access token always names its client (`azp`, `appid`). A reissued token must
/// also have the `client_id` and `sub` that RFC 9068 §2.2 requires, so that a service that
/// identifies its callers by them never confuses two callers.
fn kind(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let token = context.token;
    if token.has_mark_of_id_token() || token.client().is_none() {
        return Err(TokenFault::IdToken {
            api: context.rules.audiences.client_id(),
        });
    }
    if context.rules.profile.is_reissued() {
        let missing = |claim| TokenFault::MissingClaim { claim };
        token.registered_client().ok_or(missing("client_id"))?;
        let subject = token.subject().filter(|subject| *subject != *"");
        subject.ok_or(missing("sub"))?;
    }
    Ok(())
}

/// Checks that the tenant is allowed.
fn tenant(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let (found, _) = context.issued_by()?;
    let tenancy = context.rules.authority.tenancy();
    if tenancy.admits(found) {
        return Ok(());
    }
    let allowed = tenancy.to_string();
    Err(if found == TenantId::CONSUMERS {
        TokenFault::PersonalAccount {
            allowed,
            are_all_others_admitted: tenancy.tenant_ids().next().is_none(),
        }
    } else {
        TokenFault::TenantNotAllowed {
            found,
            allowed,
            by_tenant_rule: false,
            is_the_client_id: found.0 == context.rules.audiences.client_id().0,
        }
    })
}

/// Checks that the client application is on the list of allowed clients, if there is a list.
///
/// The list only restricts: being on it permits nothing.
fn client(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    let Some(allowed) = &context.rules.allowed_clients else {
        return Ok(());
    };
    match context.token.client() {
        Some(client) if allowed.contains(&client) => Ok(()),
        Some(found) => Err(TokenFault::ClientNotAllowed { found }),
        None => Err(TokenFault::MissingClaim { claim: "azp" }),
    }
}

/// Checks that the user is no guest, if guests are refused.
fn guest(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    if !context.rules.refuses_guests {
        return Ok(());
    }
    let (tenant, _) = context.issued_by()?;
    if context.token.is_of_guest(tenant) {
        Err(TokenFault::GuestNotAllowed { tenant })
    } else {
        Ok(())
    }
}

/// Checks that the caller is no agent, if agents are refused.
fn agent(context: &CheckContext<'_>) -> Result<(), TokenFault> {
    if context.rules.refuses_agents && context.token.is_of_agent() {
        Err(TokenFault::AgentNotAllowed)
    } else {
        Ok(())
    }
}
