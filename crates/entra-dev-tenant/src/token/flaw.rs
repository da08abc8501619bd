//! Flaws of tokens, one at a time.

/// Declares the variants, their names and [`Flaw::ALL`] from one list, so that none is missing.
macro_rules! flaws {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A defect by which a token differs from those that Entra issues, for
        /// [`TokenBuilder::flaw`](crate::TokenBuilder::flaw).
        ///
        /// Most flaws make a token that must be refused. A few flaws are permitted by the rules,
        /// and their documentation says so. A validator that refuses such tokens is too strict.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum Flaw {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Flaw {
            /// Every flaw once, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the flaw's name in kebab case, such as `alg-none`.
            ///
            /// The name stays the same from version to version.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

flaws! {
    /// `alg` is `none`, and the signature is empty.
    AlgNone = "alg-none",
    /// `alg` is `HS256`, and the HMAC's secret is the public key in DER (PKCS #1).
    Hs256WithPublicKey = "hs256-with-public-key",
    /// `alg` is `PS256`, with a valid signature of the right key, though Entra signs RS256 only.
    Ps256 = "ps256",
    /// `alg` is `RS512`, with a valid signature of the right key, though Entra signs RS256 only.
    Rs512 = "rs512",
    /// `kid` (and `x5t`) names no key and is different in each token, though the right key has
    /// signed.
    UnknownKid = "unknown-kid",
    /// `kid` and `x5t` are missing, though the right key has signed.
    NoKid = "no-kid",
    /// `kid` names the right key, but a key that is not published has signed.
    WrongKey = "wrong-key",
    /// The signature has one wrong bit.
    BadSignature = "bad-signature",
    /// `kid` names the key of personal accounts, which has signed; `tid` and `iss` are unchanged.
    PersonalKey = "personal-key",
    /// `kid` names the key of another cloud, which has signed; `tid` and `iss` are unchanged.
    OtherCloudKey = "other-cloud-key",

    /// `tid` names another tenant, but `iss` does not.
    TidOfAnotherTenant = "tid-of-another-tenant",
    /// `iss` names another tenant, but `tid` does not.
    IssuerOfAnotherTenant = "issuer-of-another-tenant",
    /// A valid token of another tenant, like [`of_tenant`](crate::TokenBuilder::of_tenant).
    ///
    /// `tid`, `iss` and the ids that follow from them belong to that tenant.
    AnotherTenant = "another-tenant",
    /// `tid` is missing.
    NoTid = "no-tid",
    /// A claim `TID` has another tenant's id, beside the right `tid`.
    TidTwin = "tid-twin",
    /// `tid` and `iss` have the tenant's id in upper case.
    UpperCaseTid = "upper-case-tid",
    /// `tid` and `iss` name the tenant by a domain.
    TidNoGuid = "tid-no-guid",

    /// `iss` is the template of the discovery document, with `{tenantid}` in it.
    IssuerTemplateLiteral = "issuer-template-literal",
    /// `iss` has the host `login.evil.example`.
    IssuerWrongHost = "issuer-wrong-host",
    /// `iss` has a host of Entra that serves the same documents but is in no issuer, such as
    /// `login.windows.net`.
    IssuerAliasHost = "issuer-alias-host",
    /// `iss` has one more slash at its end.
    IssuerSlashAdded = "issuer-slash-added",
    /// `iss` lacks the slash at its end.
    ///
    /// Only issuers of v1 and B2C have this slash, so any other token is minted as v1.
    IssuerSlashRemoved = "issuer-slash-removed",
    /// `iss` has the version 1.1, `…/v1.1`.
    IssuerV11 = "issuer-v11",
    /// `iss` belongs to the same tenant and version in another cloud.
    IssuerOfAnotherCloud = "issuer-of-another-cloud",
    /// `iss` is missing.
    NoIssuer = "no-issuer",

    /// The token expired an hour ago.
    Expired = "expired",
    /// The token expired 301 seconds ago, one second more than a skew of five minutes allows.
    ExpiredAtSkewEdge = "expired-at-skew-edge",
    /// The token expired 290 seconds ago, and is valid if a skew of five minutes is allowed.
    ExpiredWithinSkew = "expired-within-skew",
    /// The token becomes valid (`nbf`) in 310 seconds, more than a skew of five minutes allows.
    NotYetValid = "not-yet-valid",
    /// The token becomes valid (`nbf`) in 290 seconds, and is valid now if a skew of five minutes
    /// is allowed.
    NotYetValidWithinSkew = "not-yet-valid-within-skew",
    /// `nbf` is later than `exp`, though each passes alone with a skew of five minutes.
    NbfAfterExp = "nbf-after-exp",
    /// `exp` is missing.
    NoExp = "no-exp",
    /// `exp` is a string of digits.
    ExpString = "exp-string",
    /// `exp` has a fraction, half a second, and is valid because RFC 7519 permits it.
    ExpFloat = "exp-float",
    /// `exp` is 1e300, later than any clock can represent.
    ExpHuge = "exp-huge",
    /// `nbf` is a string of digits.
    NbfString = "nbf-string",

    /// `aud` is an array with only the right audience, as RFC 7519 permits and Entra never writes.
    AudArray = "aud-array",
    /// `aud` is missing.
    NoAud = "no-aud",
    /// `aud` names another application.
    AudOther = "aud-other",
    /// `aud` is the application id of Microsoft Graph.
    AudGraph = "aud-graph",
    /// `aud` is Azure's management API, for which `az account get-access-token` requests tokens.
    AudManagement = "aud-management",
    /// `aud` is in upper case, except for its scheme `api://`.
    AudUpperCase = "aud-upper-case",

    /// The payload has the claim `aud` twice, with the same value.
    DuplicateClaim = "duplicate-claim",
    /// The payload has the claim `aud` twice, with the same value, once spelt `\u0061ud`.
    DuplicateClaimEscaped = "duplicate-claim-escaped",
    /// The header has `alg` twice, with the same value.
    DuplicateHeader = "duplicate-header",
    /// The payload has a claim twice that no validator knows.
    DuplicateUnknownClaim = "duplicate-unknown-claim",
    /// The token is longer than 16 KiB, because of one claim.
    Oversize = "oversize",
    /// The token has a fourth segment.
    FourSegments = "four-segments",
    /// The token has only header and payload, without even an empty signature.
    TwoSegments = "two-segments",
    /// The token is encrypted (JWE), with five segments, for no particular key.
    Jwe = "jwe",
    /// The payload's segment ends with base64 padding, and the signature covers this text.
    Padding = "padding",
    /// The signature's last character has bits that belong to no byte, so that a lenient decoder
    /// finds the right signature.
    TrailingBits = "trailing-bits",

    /// The header has a `nonce`, as in tokens for Graph, though the signature is as in any other
    /// token.
    HeaderNonce = "header-nonce",
    /// `typ` is `at+jwt` (RFC 9068), which Entra does not write.
    TypAtJwt = "typ-at-jwt",
    /// `crit` demands that the recipient understands `exp` in the header.
    Crit = "crit",
    /// `kid` names the right key, but the key that has signed is in the header (`jwk`).
    EmbeddedJwk = "embedded-jwk",

    /// The token is bound to a client certificate (`cnf`), so that it is no bearer token.
    ProofOfPossession = "proof-of-possession",
    /// `azp` and `appid` are missing.
    NoClient = "no-client",
    /// The payload has a claim `nonce`, as in id tokens.
    PayloadNonce = "payload-nonce",
    /// The payload has a claim `c_hash`, as in id tokens.
    CHash = "c-hash",
    /// The payload has a claim `at_hash`, as in id tokens.
    AtHash = "at-hash",
    /// `scp` and `roles` are missing: the token is valid, but permits nothing.
    NoScopeNoRole = "no-scope-no-role",
    /// `scp` is empty.
    ScpEmpty = "scp-empty",
    /// `scp` is `/`, as in tokens of agents.
    ScpSlash = "scp-slash",
    /// `scp` is an array.
    ScpArray = "scp-array",
    /// `roles` is a string.
    RolesString = "roles-string",
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_kebab_case_and_unique() {
        let names: HashSet<&str> = Flaw::ALL.iter().map(|flaw| flaw.name()).collect();
        assert_eq!(names.len(), Flaw::ALL.len());
        for name in names {
            let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(is_kebab), "{name}");
        }
    }

    #[test]
    fn a_name_is_that_of_its_variant() {
        for flaw in Flaw::ALL {
            let variant = format!("{flaw:?}").to_lowercase();
            assert_eq!(flaw.name().replace('-', ""), variant);
        }
    }
}
