//! Keys that are nobody's in particular: of personal accounts, of whole clouds, of an attacker.
//!
//! They are never configured and never rotated, so that each is made at most once per process, and
//! only when it is asked for.

use std::sync::{Arc, OnceLock};

use crate::cloud::DevCloud;
use crate::signing_key::SigningKey;

/// Signs tokens of personal Microsoft accounts.
pub(crate) fn personal() -> Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    made_once(&KEY, "Live ID STS Signing Public Key")
}

/// A key that `cloud` publishes where another cloud is being played.
pub(crate) fn of_cloud(cloud: DevCloud) -> Arc<SigningKey> {
    static PUBLIC: OnceLock<Arc<SigningKey>> = OnceLock::new();
    static US_GOVERNMENT: OnceLock<Arc<SigningKey>> = OnceLock::new();
    static CHINA: OnceLock<Arc<SigningKey>> = OnceLock::new();
    let key = match cloud {
        DevCloud::Public => &PUBLIC,
        DevCloud::UsGovernment => &US_GOVERNMENT,
        DevCloud::China => &CHINA,
    };
    made_once(key, cloud.certificate_name())
}

/// A key that nobody publishes.
pub(crate) fn attacker() -> Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    made_once(&KEY, "attacker.example")
}

fn made_once(key: &'static OnceLock<Arc<SigningKey>>, certificate_name: &str) -> Arc<SigningKey> {
    Arc::clone(key.get_or_init(|| Arc::new(SigningKey::generate(certificate_name))))
}
