//! The rules of a valid access token of Microsoft Entra ID, without any I/O.
//!
//! A token comes in as text, and either an [`AccessToken`] comes out or an [`InvalidToken`] that says
//! which rule failed, what was found, what was expected and how to fix it. The crate fetches
//! nothing, has no clock (`now` is an argument) and no async: to protect a service, use
//! `tower-entra-auth`, which adds those around it.
//!
//! ```
//! use std::time::SystemTime;
//! use entra_jwt_core::{ClientId, KeySet, TenantId, Validator};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tenant: TenantId = "72f988bf-86f1-41af-91ab-2d7cd011db47".parse()?;
//! let api: ClientId = "6e74172b-be56-4843-9ff4-e66a39bb12e3".parse()?;
//! let validator = Validator::entra(tenant, api).build()?;
//!
//! # let (jwks, token) = (br#"{"keys":[]}"#, "not a token");
//! let keys = KeySet::from_jwks(jwks)?;          // …/{tenant}/discovery/v2.0/keys
//! match validator.validate(token, &keys, SystemTime::now()) {
//!     Ok(token) => println!("{} of tenant {}", token.id(), token.tenant_id()),
//!     Err(invalid) => println!("{}: {}; {}", invalid.code(), invalid, invalid.remedy()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a token
//!
//! Each step with the room of the source, a file or folder in `src/`, in which it is done:
//!
//! | step | room |
//! |---|---|
//! | [`Unverified::parse`](token::Unverified::parse) reads the compact form strictly, and copies nothing out of it. Nothing is proven yet. | `token`, `json` |
//! | [`Unverified::key_ref`](token::Unverified::key_ref) says which key it asks for: a [`Key`](keys::Key) in a [`KeySet`], | `keys` |
//! | found by way of a [`DiscoveryDocument`](integration::DiscoveryDocument). | `authority` |
//! | If that key is not at hand, [`Validator::precheck`] says whether fetching keys could help. | `validator` |
//! | [`Validator::verify`] verifies the signature, refuses members that stand twice and that parsing does not know, and runs every rule: lifetime, issuer and version, what the key may sign, audience, kind of token; then whether tenant, client and user are admitted. | `validator`, each check in its `checks` |
//! | The rules compare with an [`Authority`](integration::Authority) of [`Tenancy`] and [`Cloud`], and an [`Audience`](ids::Audience). | `authority` |
//! | What fails is an [`InvalidToken`]: code, what was found, what was expected, and the remedy. | `refusal` |
//! | [`Validator::default_permission`] refuses a token that permits nothing: [`PermissionDenied`]. | `refusal` |
//! | A [`Requirement`](require::Requirement) says what a route wants beyond that, in [`Scope`](require::Scope)s, [`UserRole`](require::UserRole)s, [`AppPermission`](require::AppPermission)s, [`Group`](require::Group)s and more. | `require` |
//! | [`Validator::explain`] runs the same checks to their end and makes a [`Report`](explain::Report) of them: that is what the program `entra-jwt` prints. | `validator`, its `report` |
//!
//! [`Validator::validate`] parses, verifies and checks in one call. Rooms use each other in one
//! direction; `identifier`, `shown`, `base64url` and `named` are what all share, and `testing` makes tokens that
//! nobody signed.
//!
//! # Whose rules
//!
//! Entra's documentation and the behaviour of Microsoft's own validator; where this crate differs
//! from that, it [says why](_guide::microsofts_validator).
//!
//! # Beside `jsonwebtoken`
//!
//! That crate (12.0) checks JWTs of anybody, and leaves the rules of Entra to its user. Told nothing but
//! issuer and audience, it accepts a token without `iss` or without `aud`, one whose `iss` is a list with
//! the right one in it, and one whose `nbf` is next year; `tests/differential.rs` compares. Whatever it
//! refuses, set as strictly as it can be, is refused here as well, but for five listed exceptions.
//!
//! # Versions
//!
//! The promises about releases, Rust versions and fixes, of all crates that belong to this one: [policy](_guide::policy).
//!
//! # Features
//!
//! - `serde`: tenant, client, object, group and role ids as text, in settings and documents of your own.
//! - `simd`: tokens are decoded by the CPU's vector instructions (AVX2, Neon) where it has them. That
//!   is `unsafe` code of the crate `base64` on bytes that strangers send, to save about 0.3 µs of a
//!   token of 1.3 KB seen for the first time, and 3 µs of one of 12 KB; without the feature that code
//!   is not compiled.
//! - `testing`: access tokens that nobody signed, in `testing`. As a dev-dependency only.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

#[macro_use]
mod named;

mod authority;
mod base64url;
mod identifier;
mod json;
pub mod keys;
pub mod refusal;
pub mod require;
mod shown;
#[cfg(test)]
mod test_support;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
mod validator;

/// The identifiers of Entra, parsed once at the edge, and why a text is none.
pub mod ids {
    pub use crate::authority::{Audience, InvalidAudience, InvalidTenancy, UnknownCloud};
    pub use crate::identifier::{
        ClientId, DirectoryRoleId, GroupId, InvalidGuid, KeyId, ObjectId, TenantId,
    };
}

/// Every check of a token run to its end: for people who look for the reason.
pub mod explain {
    pub use crate::validator::{CheckName, ExplainOptions, Finding, Outcome, Report, Verdict};
}

/// Tools for programs that fetch keys and write logs around these rules, such as `tower-entra-auth`.
pub mod integration {
    pub use crate::authority::{
        Authority, DiscoveryDocument, ForeignDocument, InvalidDiscoveryDocument,
    };
    pub use crate::shown::{Escaped, EscapedUrl};
}

/// Settings that weaken the protection. Each needs a reason; reviewers search for `danger`.
pub mod danger {
    pub use crate::validator::DangerousValidatorBuilder;
}

/// The guides.
pub mod _guide {
    #[doc = include_str!("../docs/microsofts-validator.md")]
    pub mod microsofts_validator {}

    #[doc = include_str!("../docs/policy.md")]
    pub mod policy {}
}

pub use crate::authority::{Cloud, Tenancy};
#[doc(inline)]
pub use crate::ids::{ClientId, TenantId};
#[doc(inline)]
pub use crate::keys::{InvalidKeySet, KeySet};
#[doc(inline)]
pub use crate::refusal::{InvalidToken, PermissionDenied};
#[doc(inline)]
pub use crate::token::AccessToken;
pub use crate::validator::{InvalidSettings, Validator, ValidatorBuilder};

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
