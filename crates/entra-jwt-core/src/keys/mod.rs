//! The keys that tokens are signed with.

mod jwk;
mod key;
mod key_set;
mod roca;

pub(crate) use self::key::{ES256, RS256};
pub use self::key::{Key, UnusableKey};
pub use self::key_set::{InvalidKeySet, KeySet};
