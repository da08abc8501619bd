//! What the token endpoint grants: to an application as itself, for a code, for a refresh token.
//!
//! A user's [sign-in](sign_in) stands behind every code and refresh token; the [`store`] has
//! those; [`issue`] makes the answer.

mod client_credentials;
mod code;
mod issue;
mod refresh;
mod sign_in;
mod store;

pub(crate) use self::client_credentials::{check_authority, client_credentials};
pub(crate) use self::code::redeem_code;
pub(crate) use self::refresh::refresh;
pub(crate) use self::sign_in::SignIn;
pub(crate) use self::store::{Challenge, Code, Grants};
