//! The rules of a valid access token of Microsoft Entra ID, without any I/O.
//!
//! A [`Validator`] takes a token as text. It returns an [`AccessToken`], or an [`InvalidToken`]
//! that says which rule failed, what was found, what was expected and how to fix it. The crate
//! fetches nothing, has no clock (`now` is an argument) and no async code. To protect a service,
//! use `tower-entra-auth`, which adds key fetches, a clock and async code around this crate.
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
//! # Path of a token
//!
//! Each step, with the module of `src/` that does it:
//!
//! | step | module |
//! |---|---|
//! | [`Unverified::parse`](token::Unverified::parse) parses the compact serialization strictly. It decodes the three segments, and copies almost nothing out of them. Nothing is proven yet. | `token`, `json` |
//! | [`Unverified::key_ref`](token::Unverified::key_ref) returns the token's reference to its key: a [`Key`](keys::Key) in a [`KeySet`]. | `keys` |
//! | A [`DiscoveryDocument`](integration::DiscoveryDocument) says where the keys are. | `authority` |
//! | If the key is missing, [`Validator::precheck`] says whether a key fetch could help. | `validator` |
//! | [`Validator::verify`] verifies the signature, and refuses repeated members that parsing does not detect. It runs every rule: lifetime, issuer and version, what the key may sign, audience, kind of token. Then it checks whether tenant, client and user are admitted. | `validator`, each check in its `checks` |
//! | The rules compare the token with an [`Authority`](integration::Authority), which has a [`Tenancy`] and a [`Cloud`], and with an [`Audience`](ids::Audience). | `authority` |
//! | A failed rule returns an [`InvalidToken`]: code, what was found, what was expected, and the remedy. | `refusal` |
//! | [`Validator::default_permission`] refuses a token that permits nothing, with a [`PermissionDenied`]. | `refusal` |
//! | A [`Requirement`](require::Requirement) says what a route requires beyond that, in [`Scope`](require::Scope)s, [`UserRole`](require::UserRole)s, [`AppPermission`](require::AppPermission)s, [`Group`](require::Group)s and more. | `require` |
//! | [`Validator::explain`] runs all these checks, even after a failure, and returns a [`Report`](explain::Report) on them, which the program `entra-jwt` prints. | `validator`, its `report` |
//!
//! [`Validator::validate`] parses, verifies and checks in one call. The modules depend on each
//! other in one direction. All of them share `identifier`, `shown`, `base64url` and `named`. The
//! module `testing` makes unsigned tokens.
//!
//! # Source of the rules
//!
//! The rules follow Entra's documentation and the behaviour of Microsoft's own validator. Where
//! this crate differs from that validator, the guide [says why](_guide::microsofts_validator).
//!
//! # Comparison with `jsonwebtoken`
//!
//! `jsonwebtoken` (12.0) validates JWTs of any issuer, and leaves the rules of Entra to its user.
//! With only issuer and audience configured, it accepts a token without `iss` or without `aud`, a
//! token whose `iss` is a list that contains the right issuer, and a token whose `nbf` is next
//! year. `tests/differential.rs` compares the two crates. This crate also refuses every token that
//! `jsonwebtoken`, configured as strictly as possible, refuses, with five listed exceptions.
//!
//! # Versions
//!
//! The [policy](_guide::policy) says what all crates of this project promise about releases, Rust
//! versions and fixes.
//!
//! # Features
//!
//! - `serde`: serializes tenant, client, object, group and role ids as text, and deserializes them,
//!   in your own settings and documents.
//! - `simd`: decodes tokens with the CPU's vector instructions (AVX2, Neon) where available. That
//!   code is `unsafe` code of the crate `base64`, and runs on bytes from untrusted senders. It
//!   saves about 0.3 µs for a token of 1.3 KB that is seen for the first time, and 3 µs for one of
//!   12 KB. Without the feature that code is not compiled.
//! - `testing`: unsigned access tokens, in the module `testing`. Use it only as a dev-dependency.

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

/// The types of Entra's identifiers, and the errors for texts that are not valid identifiers.
pub mod ids {
    pub use crate::authority::{Audience, InvalidAudience, InvalidTenancy, UnknownCloud};
    pub use crate::identifier::{
        ClientId, DirectoryRoleId, GroupId, InvalidGuid, KeyId, ObjectId, TenantId,
    };
}

/// Reports on every check of a token, for people who look for the cause of a refusal.
pub mod explain {
    pub use crate::validator::{CheckName, ExplainOptions, Finding, Outcome, Report, Verdict};
}

/// Types for programs that add key fetches and logs to this crate, such as `tower-entra-auth`.
pub mod integration {
    pub use crate::authority::{
        Authority, DiscoveryDocument, ForeignDocument, InvalidDiscoveryDocument,
    };
    pub use crate::shown::{Escaped, EscapedUrl};
}

/// Settings that weaken the protection.
///
/// Each use needs a reason. Reviewers search for `danger`.
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
