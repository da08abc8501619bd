//! Tests of refusals of every kind, including those that a token alone cannot cause.

use super::{
    InvalidToken, InvalidTokenKind, Lack, PermissionDenied, PermissionDeniedKind, Setting,
    TokenFault,
};
use crate::authority::Cloud;
use crate::identifier::KeyId;

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "b3a9d0a5-1c35-4a53-a3c0-5d1a9a3f3d63";
const OTHER_TENANT: &str = "9b1c7d4e-2f3a-4b5c-8d6e-7f8091a2b3c4";

/// Returns the names that another program gives to the settings.
fn named(setting: Setting) -> &'static str {
    match setting {
        Setting::AcceptV1Tokens => "our v1",
        Setting::AllowedClients => "our allowed clients",
        Setting::Audience => "our audience",
        Setting::ClientId => "our client id",
        Setting::Cloud => "our cloud",
        Setting::RolelessClients => "our roleless clients",
        Setting::ExternalId => "our external id",
        Setting::MaxTokenLength => "our length",
        Setting::MetadataEndpoint => "our metadata",
        Setting::RefuseAgents => "our agents",
        Setting::RefuseGuests => "our guests",
        Setting::Tenant => "our tenant",
        Setting::TenantRule => "our rule",
        Setting::CallerRule => "our rule about callers",
    }
}

#[test]
fn each_setting_has_the_name_that_the_program_gives_it() {
    let id = |text: &str| text.parse().unwrap();
    let text = str::to_owned;
    let of_tenant = |by_tenant_rule| TokenFault::TenantNotAllowed {
        found: id(OTHER_TENANT),
        allowed: text("another"),
        by_tenant_rule,
        is_the_client_id: false,
    };
    let wrong_audience = |found: &str| TokenFault::WrongAudience {
        found: text(found),
        accepted: vec![],
        is_the_tenant: false,
    };
    let examples = [
        (
            Setting::AcceptV1Tokens,
            TokenFault::V1Token {
                found: text("v1"),
                expected: text("v2"),
            },
        ),
        (
            Setting::AllowedClients,
            TokenFault::ClientNotAllowed {
                found: CLIENT.parse().unwrap(),
            },
        ),
        (Setting::Audience, wrong_audience("api://orders")),
        (Setting::ClientId, wrong_audience(CLIENT)),
        (
            Setting::Cloud,
            TokenFault::KeyCloudMismatch {
                found: text("one"),
                expected: text("another"),
            },
        ),
        (
            Setting::Cloud,
            TokenFault::WrongCloud {
                found: text("one"),
                cloud: Cloud::China,
                expected: text("another"),
            },
        ),
        (
            Setting::ExternalId,
            TokenFault::WrongIssuer {
                found: text("https://contoso.ciamlogin.com/contoso/v2.0"),
                expected: text("another"),
            },
        ),
        (
            Setting::MaxTokenLength,
            TokenFault::TooLarge {
                length: 2,
                limit: 1,
            },
        ),
        (
            Setting::MetadataEndpoint,
            TokenFault::UnknownKey {
                key_id: KeyId::new("k").unwrap(),
                api: API.parse().ok(),
            },
        ),
        (Setting::RefuseAgents, TokenFault::AgentNotAllowed),
        (
            Setting::RefuseGuests,
            TokenFault::GuestNotAllowed {
                tenant: id(OTHER_TENANT),
            },
        ),
        (Setting::Tenant, of_tenant(false)),
        (
            Setting::Tenant,
            TokenFault::PersonalAccount {
                allowed: text("others"),
                are_all_others_admitted: false,
            },
        ),
        (Setting::TenantRule, of_tenant(true)),
    ];
    // The remedy of a `PermissionDenied` names the first, and only the service around this crate
    // uses the second.
    let elsewhere = [Setting::RolelessClients, Setting::CallerRule];
    let is_named = |setting: Setting| {
        elsewhere.contains(&setting) || examples.iter().any(|(named, _)| *named == setting)
    };
    assert!(Setting::ALL.iter().copied().all(is_named));
    for (setting, fault) in examples {
        let rejection = InvalidToken::from(fault);
        let ours = rejection.remedy();
        assert!(ours.contains(setting.name()), "{ours}");
        let theirs = rejection.remedy_with(named);
        assert!(theirs.contains(named(setting)), "{theirs}");
        assert_eq!(theirs.replace(named(setting), setting.name()), ours);
    }

    let ours = PermissionDenied::from(Lack::NoPermission).remedy();
    let theirs = PermissionDenied::from(Lack::NoPermission).remedy_with(named, "api://orders");
    assert!(ours.contains(Setting::RolelessClients.name()), "{ours}");
    let theirs = theirs.replace("our roleless clients", Setting::RolelessClients.name());
    assert_eq!(theirs, ours);
}

#[test]
fn a_lifetime_is_told_in_seconds_beyond_the_skew() {
    let expired = InvalidToken::from(TokenFault::Expired {
        seconds_ago: 400,
        skew: 300,
    });
    assert_eq!(
        expired.to_string(),
        "expired 400 s ago, 100 s beyond the clock skew of 300 s"
    );
}

#[test]
fn what_would_have_passed_is_said_of_a_missing_permission() {
    let group = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
    for (lack, expected) in [
        (Lack::NoPermission, "a scope or a role"),
        (
            Lack::MissingScope {
                any_of: vec!["Reports.Read".to_owned(), "Reports.All".to_owned()],
                found: vec![],
                is_reissued: false,
            },
            "Reports.Read or Reports.All",
        ),
        (Lack::UserRequired, "a user"),
        (
            Lack::AppRequired { is_reissued: false },
            "an application without a user",
        ),
        (
            Lack::ForbiddenGroup {
                group: group.to_owned(),
            },
            &*format!("a user who is not a member of the group {group}"),
        ),
        (
            Lack::StepUp {
                context: "c1".to_owned(),
                understands_challenges: true,
            },
            "acrs with c1",
        ),
        (
            Lack::ClaimRequired {
                claim: "department".to_owned(),
                expected: "\"sales\"".to_owned(),
            },
            "department = \"sales\"",
        ),
    ] {
        let denied = PermissionDenied::from(lack);
        assert_eq!(denied.expected().unwrap(), expected, "{denied}");
        assert_eq!(denied.public_code(), denied.code());
    }
}

#[test]
fn outwardly_all_key_troubles_are_one() {
    let key_id = KeyId::new("k").unwrap();
    let unknown = InvalidToken::from(TokenFault::UnknownKey {
        key_id: key_id.clone(),
        api: "6e74172b-be56-4843-9ff4-e66a39bb12e3".parse().ok(),
    });
    let bad = InvalidToken::from(TokenFault::BadSignature { key_id });
    assert_ne!(unknown.code(), bad.code());
    assert_eq!(unknown.public_code(), bad.public_code());
    assert_eq!(unknown.public_remedy(), bad.public_remedy());
}

/// Checks that no code occurs twice, because metrics and log searches use the codes.
#[test]
fn codes_are_one_for_each_kind() {
    let codes: std::collections::BTreeSet<_> = InvalidTokenKind::ALL
        .iter()
        .map(|kind| kind.code())
        .collect();
    assert_eq!(codes.len(), InvalidTokenKind::ALL.len());
    let codes: std::collections::BTreeSet<_> = PermissionDeniedKind::ALL
        .iter()
        .map(|kind| kind.code())
        .collect();
    assert_eq!(codes.len(), PermissionDeniedKind::ALL.len());
}
