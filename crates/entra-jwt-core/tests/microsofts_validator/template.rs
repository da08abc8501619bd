//! Cases about the template that an issuer must match, and its tests.

use entra_dev_tenant::Flaw;

use crate::issuer::{ONE_SPELLING, OTHER_TENANT, issued_by, rules_of_organizations};
use crate::support::tenant;
use crate::{ACCEPTED, Accepts, Refuses, Row, by, rules, user};

/// Returns the cases of `matches(template, tid, iss)`.
pub(crate) fn tests() -> Vec<Row> {
    let mut rows = templates_of_versions();
    rows.extend(spellings());
    rows
}

fn templates_of_versions() -> Vec<Row> {
    vec![
        Row::same("the v2 template and its issuer", Accepts, ACCEPTED, || {
            by(rules_of_organizations(), user())
        }),
        Row::same("the v1 template and its issuer", Accepts, ACCEPTED, || {
            by(rules_of_organizations().accept_v1_tokens(), user().v1())
        }),
        Row::same("an exact issuer", Accepts, ACCEPTED, || by(rules(), user())),
        Row::same(
            "the v2 template and a v1 issuer",
            Refuses("false"),
            "v1_token",
            || by(rules_of_organizations(), user().v1()),
        ),
        Row::same(
            "the v2 template and a v1 issuer on the host of v2",
            Refuses("false"),
            "wrong_issuer",
            || {
                by(
                    rules_of_organizations(),
                    issued_by("https://login.microsoftonline.com/{}/"),
                )
            },
        ),
        Row::same(
            "the v1 template and a v2 issuer on the host of v1",
            Refuses("false"),
            "wrong_issuer",
            || {
                let token = issued_by("https://sts.windows.net/{}/v2.0");
                by(rules_of_organizations().accept_v1_tokens(), token)
            },
        ),
        Row::same("an empty issuer", Refuses("false"), "wrong_issuer", || {
            by(rules_of_organizations(), issued_by(""))
        }),
        Row::same(
            "an empty tid, in both",
            Refuses("false"),
            "invalid_tenant",
            || {
                let token = user().claim("iss", "https://login.microsoftonline.com//v2.0");
                by(rules_of_organizations(), token.claim("tid", ""))
            },
        ),
        Row::same(
            "the template of production and an issuer of PPE",
            Refuses("false"),
            "wrong_issuer",
            || {
                by(
                    rules_of_organizations(),
                    issued_by("https://sts.windows-ppe.net/{}/"),
                )
            },
        ),
        Row::same(
            "an issuer with the literal {tenantid}",
            Refuses("false"),
            "wrong_issuer",
            || {
                by(
                    rules_of_organizations(),
                    user().flaw(Flaw::IssuerTemplateLiteral),
                )
            },
        ),
        Row::differs(
            "{tenantid} in the issuer and as the tid",
            Accepts,
            "invalid_tenant",
            ONE_SPELLING,
            || {
                let token = user().flaw(Flaw::IssuerTemplateLiteral);
                by(rules_of_organizations(), token.claim("tid", "{tenantid}"))
            },
        ),
        Row::same(
            "no template, and another issuer",
            Refuses("false"),
            "tenant_not_allowed",
            || by(rules(), user().of_tenant(OTHER_TENANT)),
        ),
    ]
}

/// Returns the cases about spellings: the comparison is case-sensitive, does not parse GUIDs and
/// knows no host aliases.
fn spellings() -> Vec<Row> {
    vec![
        Row::same(
            "the host in upper case",
            Refuses("false"),
            "wrong_issuer",
            || {
                by(
                    rules(),
                    issued_by("https://LOGIN.microsoftonline.com/{}/v2.0"),
                )
            },
        ),
        Row::same(
            "tid in upper case, the issuer not",
            Refuses("false"),
            "invalid_tenant",
            || by(rules(), user().claim("tid", tenant().id().to_uppercase())),
        ),
        Row::differs(
            "tid and issuer in upper case",
            Accepts,
            "invalid_tenant",
            ONE_SPELLING,
            || by(rules_of_organizations(), user().flaw(Flaw::UpperCaseTid)),
        ),
        Row::differs(
            "tid and issuer name the tenant by a domain",
            Accepts,
            "invalid_tenant",
            ONE_SPELLING,
            || by(rules_of_organizations(), user().flaw(Flaw::TidNoGuid)),
        ),
        Row::same(
            "the host is an alias of the issuer's",
            Refuses("false"),
            "wrong_issuer",
            || by(rules(), user().flaw(Flaw::IssuerAliasHost)),
        ),
    ]
}
