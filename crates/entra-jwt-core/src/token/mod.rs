//! A token: as it was sent, with nothing proven, and as it is once it was verified.

mod access_token;
mod caller;
mod claims;
mod details;
mod groups;
mod informal;
mod member;
mod object;
mod unverified;

pub use self::access_token::AccessToken;
pub(crate) use self::access_token::Reissued;
pub use self::caller::{CallerId, CallerKind};
pub(crate) use self::caller::{Grant, Membership, is_guest};
pub(crate) use self::claims::Claims;
pub use self::details::{ClientAuthentication, Details};
pub use self::groups::{GroupList, Groups};
pub(crate) use self::member::NumericDate;
pub use self::unverified::{KeyRef, Unverified};
