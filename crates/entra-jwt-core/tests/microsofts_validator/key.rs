//! Cases about the issuer and the cloud that a key may sign for:
//! `EnableAadSigningKeyIssuerValidation` and `EnableEntraIdSigningKeyCloudInstanceValidation`.

use entra_dev_tenant::Flaw;
use entra_jwt_core::{KeySet, Tenancy, Validator};
use serde_json::{Value, json};

use crate::support::{API, tenant};
use crate::{
    ACCEPTED, Accepts, Refuses, Row, by, external_id, keys, now, rules, user, verdict, with_key,
};

pub(crate) fn issuer() -> Vec<Row> {
    let mut rows = claims();
    rows.extend(issuers());
    rows
}

/// Returns the cases of steps 1 to 4.
fn claims() -> Vec<Row> {
    vec![
        Row::differs(
            "step 1: no key of the document has the kid",
            Accepts,
            "unknown_key",
            "this check passes there, where every key is tried; here a key is found by its kid",
            || by(rules(), user().flaw(Flaw::UnknownKid)),
        ),
        Row::same(
            "step 1: keys without a discovery document",
            Accepts,
            ACCEPTED,
            || {
                let keys =
                    KeySet::from_jwks(tenant().signing_keys().document().as_bytes()).unwrap();
                assert_eq!(keys.issuer(), None);
                verdict(rules(), &keys, &user().mint(), now())
            },
        ),
        Row::same("step 2: the key names no issuer", Accepts, ACCEPTED, || {
            let no_issuer = |key: &mut Value| {
                key.as_object_mut().unwrap().remove("issuer");
            };
            with_key(rules(), no_issuer, user())
        }),
        Row::same(
            "step 2: the key's issuer is blank",
            Accepts,
            ACCEPTED,
            || with_key(rules(), |key| key["issuer"] = json!(""), user()),
        ),
        Row::same(
            "step 2: the key's issuer is white space",
            Accepts,
            ACCEPTED,
            || with_key(rules(), |key| key["issuer"] = json!("  "), user()),
        ),
        Row::same(
            "step 3: no tid, under a key with an issuer",
            Refuses("IDX40009"),
            "missing_claim",
            || by(rules(), user().flaw(Flaw::NoTid)),
        ),
        Row::same(
            "step 3: TID alone",
            Refuses("IDX40009"),
            "ambiguous_tenant",
            || {
                by(
                    rules(),
                    user().without_claim("tid").claim("TID", tenant().id()),
                )
            },
        ),
        Row::same(
            "step 3: tid and TID",
            Refuses("IDX40011"),
            "ambiguous_tenant",
            || by(rules(), user().claim("TID", tenant().id())),
        ),
        Row::same(
            "step 4: the issuer does not have the tid in it",
            Refuses("IDX40004"),
            "wrong_issuer",
            || by(rules(), user().flaw(Flaw::IssuerOfAnotherTenant)),
        ),
    ]
}

/// Returns the cases of step 5.
fn issuers() -> Vec<Row> {
    vec![
        Row::same(
            "step 5: the key's template makes the token's issuer",
            Accepts,
            ACCEPTED,
            || by(rules(), user()),
        ),
        Row::same(
            "step 5: the key's issuer is the token's, without a template",
            Accepts,
            ACCEPTED,
            || {
                let own = |key: &mut Value| {
                    let id = tenant().id();
                    key["issuer"] = json!(format!("https://login.microsoftonline.com/{id}/v2.0"));
                };
                with_key(rules(), own, user())
            },
        ),
        Row::same(
            "step 5: a v1 token under the keys of the v2 document",
            Accepts,
            ACCEPTED,
            || by(rules().accept_v1_tokens(), user().v1()),
        ),
        Row::same(
            "step 5: the key of personal accounts for one of them",
            Accepts,
            ACCEPTED,
            || {
                let common = Validator::entra(Tenancy::common(), API.parse().unwrap());
                by(common, tenant().personal("ada").scope("read").for_api(API))
            },
        ),
        Row::same(
            "step 5: the key of personal accounts for a tenant of work or school",
            Refuses("IDX40005"),
            "key_issuer_mismatch",
            || by(rules(), user().flaw(Flaw::PersonalKey)),
        ),
        Row::same(
            "step 5: the key of personal accounts for a v1 token of a tenant",
            Refuses("IDX40005"),
            "key_issuer_mismatch",
            || {
                by(
                    rules().accept_v1_tokens(),
                    user().v1().flaw(Flaw::PersonalKey),
                )
            },
        ),
        Row::same(
            "step 5: the key's template is of another host",
            Refuses("IDX40005"),
            "key_issuer_mismatch",
            || {
                let other = |key: &mut Value| {
                    key["issuer"] = json!("https://login.microsoftonline.us/{tenantid}/v2.0");
                };
                with_key(rules(), other, user())
            },
        ),
        Row::same(
            "step 5: the key's issuer is the token's in another case",
            Refuses("IDX40005"),
            "key_issuer_mismatch",
            || {
                let upper = |key: &mut Value| {
                    key["issuer"] = json!("https://LOGIN.microsoftonline.com/{tenantid}/v2.0");
                };
                with_key(rules(), upper, user())
            },
        ),
        Row::same(
            "step 5: the key's template is that of v1, the token v2",
            Refuses("IDX40005"),
            "key_issuer_mismatch",
            || {
                let v1 = |key: &mut Value| {
                    key["issuer"] = json!("https://sts.windows.net/{tenantid}/");
                };
                with_key(rules().accept_v1_tokens(), v1, user())
            },
        ),
    ]
}

pub(crate) fn cloud() -> Vec<Row> {
    vec![
        Row::same("the key is of this cloud", Accepts, ACCEPTED, || {
            by(rules(), user())
        }),
        Row::same("the key names no cloud", Accepts, ACCEPTED, || {
            let no_cloud = |key: &mut Value| {
                key.as_object_mut().unwrap().remove("cloud_instance_name");
            };
            with_key(rules(), no_cloud, user())
        }),
        Row::same("the key's cloud is blank", Accepts, ACCEPTED, || {
            with_key(
                rules(),
                |key| key["cloud_instance_name"] = json!(""),
                user(),
            )
        }),
        Row::same(
            "the metadata's cloud is blank, and there is no constant",
            Accepts,
            ACCEPTED,
            || of_external_id(""),
        ),
        Row::differs(
            "the metadata's cloud is blank, and the key is of another cloud than the constant",
            Accepts,
            "key_cloud_mismatch",
            "the cloud's name is a constant, which no document can take away",
            || {
                let keys = keys().with_cloud_instance_name("");
                let token = user().flaw(Flaw::OtherCloudKey).mint();
                verdict(rules(), &keys, &token, now())
            },
        ),
        Row::differs(
            "the key is of another cloud, by default",
            Accepts,
            "key_cloud_mismatch",
            "the public key set holds keys of US Government under the public issuer; only this \
             check tells them apart",
            || by(rules(), user().flaw(Flaw::OtherCloudKey)),
        ),
        Row::same(
            "the key is of another cloud, where the check is turned on",
            Refuses("IDX40012"),
            "key_cloud_mismatch",
            || by(rules(), user().flaw(Flaw::OtherCloudKey)),
        ),
        Row::same(
            "the key is of another cloud, where the check is turned off",
            Accepts,
            ACCEPTED,
            || {
                let rules = rules().dangerous().accept_keys_of_other_clouds();
                by(rules, user().flaw(Flaw::OtherCloudKey))
            },
        ),
        Row::same(
            "the key's cloud is the metadata's in another case",
            Refuses("IDX40012"),
            "key_cloud_mismatch",
            || {
                let upper = |key: &mut Value| {
                    key["cloud_instance_name"] = json!("MicrosoftOnline.com");
                };
                with_key(rules(), upper, user())
            },
        ),
        Row::same(
            "the metadata's cloud differs from the key's, and there is no constant",
            Refuses("IDX40012"),
            "key_cloud_mismatch",
            || of_external_id("microsoftonline.us"),
        ),
    ]
}

fn of_external_id(discovered: &str) -> &'static str {
    let tenant = external_id();
    let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes()).unwrap();
    let keys = keys.with_cloud_instance_name(discovered);
    let token = tenant.user("ada").scope("read").for_api(API).mint();
    verdict(rules().external_id(), &keys, &token, tenant.clock()())
}
