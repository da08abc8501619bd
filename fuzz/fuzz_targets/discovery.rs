//! Fuzzes the discovery document.

#![no_main]

use entra_jwt_core::integration::DiscoveryDocument;
use entra_jwt_fuzz::cases::{CASES, CONSUMERS, Case, TENANT};
use entra_jwt_fuzz::key_document::Members;
use entra_jwt_fuzz::memory::Bound;
use entra_jwt_fuzz::text::{check_debug, check_short};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: assert!(
        is_of_some_authority(include_bytes!("../seeds/discovery/one_tenant.json")),
        "the harness is wrong"
    ),
    |document: &[u8]| {
        is_of_some_authority(document);
    }
);

fn is_of_some_authority(text: &[u8]) -> bool {
    let read = Bound::DISCOVERY_DOCUMENT.on(text.len(), || DiscoveryDocument::from_json(text));
    let document = match read {
        Ok(document) => document,
        Err(error) => {
            check_short(error);
            return false;
        }
    };
    check_debug(&document);
    check_members(text, &document);
    CASES.iter().filter(|case| is_of(case, &document)).count() > 0
}

/// Checks the document's members against those that a second reader finds.
fn check_members(text: &[u8], document: &DiscoveryDocument) {
    // Members that are not used may contain anything, even invalid UTF-8.
    let members = Members::read(&String::from_utf8_lossy(text));
    assert_eq!(members.text("issuer").as_deref(), Some(&*document.issuer));
    assert_eq!(
        members.text("jwks_uri").as_deref(),
        Some(&*document.jwks_uri)
    );
    assert_eq!(
        members.text("cloud_instance_name"),
        document.cloud_instance_name
    );
}

/// Returns whether the case's authority accepts the document, and checks that an accepted document
/// has the expected values, byte for byte.
fn is_of(case: &Case, document: &DiscoveryDocument) -> bool {
    let authority = case.validator.authority();
    if let Err(error) = authority.check_document(document) {
        check_short(error);
        return false;
    }
    let own = ["{tenantid}", TENANT, CONSUMERS]
        .into_iter()
        .filter(|tenant| {
            *tenant == "{tenantid}"
                || authority
                    .tenancy()
                    .single()
                    .is_some_and(|one| one.to_string() == *tenant)
        })
        .map(|tenant| case.admits.v2_issuer.replace("{}", tenant));
    assert!(
        own.into_iter().any(|issuer| issuer == document.issuer),
        "{}",
        case.name
    );
    let cloud = document.cloud_instance_name.as_deref();
    assert!(
        authority.is_external_id()
            || cloud.is_none_or(|cloud| authority.cloud_instance_name() == Some(cloud)),
        "{}",
        case.name
    );
    true
}
