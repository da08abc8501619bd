//! Tests of the tenants and clouds of keys and issuers: personal accounts, External ID, other
//! clouds.

use entra_dev_tenant::{DevCloud, DevTenant, Flaw};
use entra_jwt_core::{
    Cloud, InvalidSettings, KeySet, Tenancy, TenantId, Validator, ValidatorBuilder,
};

use crate::table::Expected::{Accepted, AfterVersion, BeforeVersion, Denied, OtherTenant};
use crate::table::{Base, expected, judge};
use crate::{API, OTHER_TENANT};

#[tokio::test]
async fn a_personal_account_is_at_home_in_its_own_tenant() {
    let tenant = DevTenant::start().await.unwrap();
    let keys =
        KeySet::from_jwks(tenant.signing_keys().document_of("consumers").as_bytes()).unwrap();
    let rules = Validator::entra(Tenancy::consumers(), API.parse().unwrap()).refuse_guests();
    let rules = rules.build().unwrap();
    let token = Base::Personal.token(&tenant).claim("idp", "live.com");
    assert_eq!(judge(&rules, &keys, &tenant, &token.mint()), "accepted");
}

#[tokio::test]
async fn external_id_has_its_own_issuer_and_nobody_elses() {
    let external = DevTenant::builder().external_id().start().await.unwrap();
    let workforce = DevTenant::start().await.unwrap();
    let home: TenantId = external.id().parse().unwrap();
    let api = API.parse().unwrap();
    let validator = Validator::entra(home, api).external_id().build().unwrap();
    let keys = KeySet::from_jwks(external.signing_keys().document().as_bytes())
        .unwrap()
        .with_cloud_instance_name("microsoftonline.com");
    for flaw in Flaw::ALL {
        let expected = match (*flaw, expected(*flaw, Base::User, DevCloud::Public)) {
            (_, BeforeVersion(code) | AfterVersion(code) | Denied(code)) => code,
            (_, Accepted) => "accepted",
            // The tenant's keys sign only for the tenant itself.
            (_, OtherTenant) => "key_issuer_mismatch",
        };
        // The shared documents' keys are not among those of External ID.
        let expected = match flaw {
            Flaw::PersonalKey | Flaw::OtherCloudKey => "unknown_key",
            Flaw::IssuerOfAnotherCloud => "wrong_issuer",
            _ => expected,
        };
        let token = Base::User.token(&external).flaw(*flaw).mint();
        assert_eq!(
            judge(&validator, &keys, &external, &token),
            expected,
            "{flaw:?}"
        );
    }
    assert_eq!(
        judge(
            &validator,
            &keys,
            &external,
            &Base::User.token(&external).mint()
        ),
        "accepted"
    );

    // The rules of each tenant refuse the other tenant's token.
    let token = Base::User.token(&workforce).mint();
    let keys = KeySet::from_jwks(workforce.signing_keys().document().as_bytes()).unwrap();
    assert_eq!(judge(&validator, &keys, &workforce, &token), "wrong_issuer");
    let workforce_rules = Validator::entra(home, api).build().unwrap();
    let token = Base::User.token(&external).mint();
    let keys = KeySet::from_jwks(external.signing_keys().document().as_bytes()).unwrap();
    let now = external.clock()();
    let rejection = workforce_rules.validate(&token, &keys, now).unwrap_err();
    assert_eq!(rejection.code(), "wrong_issuer");
    assert!(rejection.remedy().contains("external_id"), "{rejection:?}");
}

#[test]
fn external_id_is_one_tenant_of_the_public_cloud_with_v2_tokens() {
    let (one, other): (TenantId, TenantId) = (API.parse().unwrap(), OTHER_TENANT.parse().unwrap());
    let rules = |tenancy: Tenancy| Validator::entra(tenancy, API.parse().unwrap()).external_id();
    let problems = |rules: &ValidatorBuilder| rules.problems().collect::<Vec<_>>();
    assert_eq!(problems(&rules(Tenancy::tenant(one))), []);
    for tenancy in [
        Tenancy::tenants([one, other]),
        Tenancy::organizations(),
        Tenancy::common(),
        Tenancy::consumers(),
    ] {
        let rules = rules(tenancy.clone());
        assert_eq!(
            problems(&rules),
            [InvalidSettings::ExternalIdTenancy],
            "{tenancy}"
        );
    }
    let all = rules(Tenancy::organizations())
        .cloud(Cloud::China)
        .accept_v1_tokens();
    let expected = [
        InvalidSettings::ExternalIdTenancy,
        InvalidSettings::ExternalIdCloud,
        InvalidSettings::ExternalIdV1,
    ];
    assert_eq!(problems(&all), expected);
    assert_eq!(all.build().unwrap_err(), expected[0]);
}

#[tokio::test]
async fn a_key_of_another_cloud_counts_only_by_a_setting_named_dangerous() {
    let tenant = DevTenant::start().await.unwrap();
    let keys = KeySet::from_jwks(tenant.signing_keys().document_of("common").as_bytes()).unwrap();
    let home: TenantId = tenant.id().parse().unwrap();
    let rules = || Validator::entra(home, API.parse().unwrap());
    let token = Base::User.token(&tenant).flaw(Flaw::OtherCloudKey).mint();
    let strict = rules().build().unwrap();
    assert_eq!(judge(&strict, &keys, &tenant, &token), "key_cloud_mismatch");
    let lax = rules().dangerous().accept_keys_of_other_clouds();
    let lax = lax.build().unwrap();
    assert_eq!(judge(&lax, &keys, &tenant, &token), "accepted");
    let token = Base::User.token(&tenant).flaw(Flaw::PersonalKey).mint();
    assert_eq!(judge(&lax, &keys, &tenant, &token), "key_issuer_mismatch");
}

#[tokio::test]
async fn where_the_clouds_name_is_not_known_it_is_the_discovered_one() {
    let external = DevTenant::builder().external_id().start().await.unwrap();
    let home: TenantId = external.id().parse().unwrap();
    let validator = Validator::entra(home, API.parse().unwrap())
        .external_id()
        .build()
        .unwrap();
    let token = Base::User.token(&external).mint();
    for (discovered, expected) in [
        (None, "accepted"),
        (Some("microsoftonline.com"), "accepted"),
        (Some(""), "accepted"),
        (Some("microsoftonline.us"), "key_cloud_mismatch"),
    ] {
        let keys = KeySet::from_jwks(external.signing_keys().document().as_bytes()).unwrap();
        // The name also applies to keys that another key set shares.
        let keys = keys.clone();
        let keys = match discovered {
            Some(name) => keys.with_cloud_instance_name(name),
            None => keys,
        };
        assert_eq!(
            judge(&validator, &keys, &external, &token),
            expected,
            "{discovered:?}"
        );
    }
}
