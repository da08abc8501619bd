//! Keys: of the tenant, of applications, and those that outlive a tenant; the documents that publish
//! them.

mod custom_key;
mod document;
mod odd_keys;
mod ring;
mod script;
mod shared_keys;
mod signing_key;

pub use self::script::PublishedKeys;

pub(crate) use self::custom_key::CustomKey;
pub(crate) use self::document::{v1, v2};
pub(crate) use self::ring::KeyRing;
pub(crate) use self::script::{KeyScript, Oddity};
pub(crate) use self::shared_keys::{attacker, of_cloud, personal};
pub(crate) use self::signing_key::SigningKey;
