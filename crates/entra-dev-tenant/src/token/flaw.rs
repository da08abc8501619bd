//! The ways of being wrong, one at a time.

/// One list for the variants, their names and [`Flaw::ALL`], so that none can miss one.
macro_rules! flaws {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// One way in which a token is not what Entra writes, for
        /// [`TokenBuilder::flaw`](crate::TokenBuilder::flaw).
        ///
        /// Most make a token that must be refused. A few are within what the rules permit, and say
        /// so: a validator that refuses those is too strict.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum Flaw {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Flaw {
            /// Every flaw once, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns its name in kebab case, such as `alg-none`; it stays the same from version to
            /// version.
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
    /// `alg` is `HS256`: an HMAC whose secret is the public key in DER (PKCS #1).
    Hs256WithPublicKey = "hs256-with-public-key",
    /// `alg` is `PS256`, and the right key has signed so; Entra signs RS256 only.
    Ps256 = "ps256",
    /// `alg` is `RS512`, and the right key has signed so; Entra signs RS256 only.
    Rs512 = "rs512",
    /// `kid` (and `x5t`) of no key, another with each token; the right key has signed.
    UnknownKid = "unknown-kid",
    /// Neither `kid` nor `x5t`; the right key has signed.
    NoKid = "no-kid",
    /// The right `kid`, but a key that nobody publishes has signed.
    WrongKey = "wrong-key",
    /// One bit of the signature is wrong.
    BadSignature = "bad-signature",
    /// Signed with the key of personal accounts, and named so; `tid` and `iss` stay.
    PersonalKey = "personal-key",
    /// Signed with the key of another cloud, and named so; `tid` and `iss` stay.
    OtherCloudKey = "other-cloud-key",

    /// `tid` names another tenant, `iss` does not.
    TidOfAnotherTenant = "tid-of-another-tenant",
    /// `iss` names another tenant, `tid` does not.
    IssuerOfAnotherTenant = "issuer-of-another-tenant",
    /// A good token of another tenant, like [`of_tenant`](crate::TokenBuilder::of_tenant): `tid`,
    /// `iss` and the ids that follow from them.
    AnotherTenant = "another-tenant",
    /// No `tid`.
    NoTid = "no-tid",
    /// A claim `TID` with another tenant's id beside `tid`.
    TidTwin = "tid-twin",
    /// `tid` and `iss` write the tenant's id in upper case.
    UpperCaseTid = "upper-case-tid",
    /// `tid` and `iss` name the tenant by a domain.
    TidNoGuid = "tid-no-guid",

    /// `iss` is the template of discovery, with `{tenantid}` in it.
    IssuerTemplateLiteral = "issuer-template-literal",
    /// `iss` with the host `login.evil.example`.
    IssuerWrongHost = "issuer-wrong-host",
    /// `iss` with a host that is Entra's and serves the same, but that no issuer names, such as
    /// `login.windows.net`.
    IssuerAliasHost = "issuer-alias-host",
    /// `iss` with one slash more at its end.
    IssuerSlashAdded = "issuer-slash-added",
    /// `iss` without the slash at its end. As only v1 and B2C have one, any other token is minted
    /// as v1.
    IssuerSlashRemoved = "issuer-slash-removed",
    /// `iss` of the version 1.1, `…/v1.1`.
    IssuerV11 = "issuer-v11",
    /// `iss` of the same tenant and version in another cloud.
    IssuerOfAnotherCloud = "issuer-of-another-cloud",
    /// No `iss`.
    NoIssuer = "no-issuer",

    /// Expired an hour ago.
    Expired = "expired",
    /// Expired 301 seconds ago, one more than five minutes of skew forgive.
    ExpiredAtSkewEdge = "expired-at-skew-edge",
    /// Expired 290 seconds ago; valid where five minutes of skew are allowed.
    ExpiredWithinSkew = "expired-within-skew",
    /// Valid (`nbf`) in 310 seconds, more than five minutes of skew forgive.
    NotYetValid = "not-yet-valid",
    /// Valid (`nbf`) in 290 seconds; valid now where five minutes of skew are allowed.
    NotYetValidWithinSkew = "not-yet-valid-within-skew",
    /// `nbf` is later than `exp`, though both pass with five minutes of skew.
    NbfAfterExp = "nbf-after-exp",
    /// No `exp`.
    NoExp = "no-exp",
    /// `exp` is a string of digits.
    ExpString = "exp-string",
    /// `exp` has a fraction, half a second; valid, as RFC 7519 permits it.
    ExpFloat = "exp-float",
    /// `exp` is 1e300, later than any clock can tell.
    ExpHuge = "exp-huge",
    /// `nbf` is a string of digits.
    NbfString = "nbf-string",

    /// `aud` is an array of the right audience alone, as RFC 7519 permits and Entra never writes.
    AudArray = "aud-array",
    /// No `aud`.
    NoAud = "no-aud",
    /// `aud` is another application.
    AudOther = "aud-other",
    /// `aud` is the application id of Microsoft Graph.
    AudGraph = "aud-graph",
    /// `aud` is Azure's management API, for which `az account get-access-token` asks.
    AudManagement = "aud-management",
    /// `aud` in upper case, its scheme `api://` excepted.
    AudUpperCase = "aud-upper-case",

    /// The claim `aud` twice, with the same value.
    DuplicateClaim = "duplicate-claim",
    /// The claim `aud` twice, with the same value, once spelt `\u0061ud`.
    DuplicateClaimEscaped = "duplicate-claim-escaped",
    /// The header's `alg` twice, with the same value.
    DuplicateHeader = "duplicate-header",
    /// A claim twice that nobody knows.
    DuplicateUnknownClaim = "duplicate-unknown-claim",
    /// Longer than 16 KiB, by one claim.
    Oversize = "oversize",
    /// A fourth segment.
    FourSegments = "four-segments",
    /// Header and payload, without even an empty signature.
    TwoSegments = "two-segments",
    /// An encrypted token (JWE) of five segments, for no key in particular.
    Jwe = "jwe",
    /// The payload's segment ends with base64 padding; the signature is over this text.
    Padding = "padding",
    /// The signature's last character has bits that are no part of any byte: a lenient decoder
    /// finds the right signature.
    TrailingBits = "trailing-bits",

    /// A `nonce` in the header, as in tokens for Graph, though signed as any other.
    HeaderNonce = "header-nonce",
    /// `typ` is `at+jwt` (RFC 9068), which Entra does not write.
    TypAtJwt = "typ-at-jwt",
    /// `crit` demands that `exp` be understood in the header.
    Crit = "crit",
    /// The right `kid`, but the header brings the key (`jwk`) that has signed.
    EmbeddedJwk = "embedded-jwk",

    /// Bound to a client certificate (`cnf`), so that it is no bearer token.
    ProofOfPossession = "proof-of-possession",
    /// Neither `azp` nor `appid`.
    NoClient = "no-client",
    /// A claim `nonce`, as in id tokens.
    PayloadNonce = "payload-nonce",
    /// A claim `c_hash`, as in id tokens.
    CHash = "c-hash",
    /// A claim `at_hash`, as in id tokens.
    AtHash = "at-hash",
    /// Neither `scp` nor `roles`: valid, but permits nothing.
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
