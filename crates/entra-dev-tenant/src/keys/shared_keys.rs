//! Keys that outlive a tenant: of personal accounts, of whole clouds, of an attacker; and those of
//! tenants that have ended.
//!
//! The former are never configured and never rotated, so that each is made at most once per process,
//! and only when it is asked for.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::signing_key::SigningKey;
use crate::cloud::DevCloud;

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

/// Keys of tenants that have ended, with the names of their certificates.
static STOCK: Mutex<Vec<(&'static str, Arc<SigningKey>)>> = Mutex::new(Vec::new());

/// The most keys that are kept for later tenants: more than are ever in use at once.
const MOST_KEPT: usize = 64;

/// Returns a key that no living tenant has: one of a tenant that has ended, else a new one (about
/// 90 ms). Tests start hundreds of tenants, and most of their time would be the making of keys.
pub(crate) fn take(certificate_name: &'static str) -> Arc<SigningKey> {
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = stock.iter().position(|(name, _)| *name == certificate_name);
    let kept = fitting.map(|at| stock.swap_remove(at).1);
    drop(stock);
    kept.unwrap_or_else(|| Arc::new(SigningKey::generate(certificate_name)))
}

/// Keeps the keys of a tenant that has ended, for later ones.
pub(crate) fn give_back(
    certificate_name: &'static str,
    keys: impl IntoIterator<Item = Arc<SigningKey>>,
) {
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let room = MOST_KEPT.saturating_sub(stock.len());
    let keys = keys.into_iter().take(room);
    stock.extend(keys.map(|key| (certificate_name, key)));
}
