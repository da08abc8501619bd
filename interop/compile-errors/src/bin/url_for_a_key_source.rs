//! A key source is not a URL.
//~ error[E0277]: `&str` is not a source of signing keys
//~ use a `KeySet` or a `JwksFile`

use tower_entra_auth::EntraAuth;

fn main() {
    let _ = EntraAuth::builder().key_source("https://login.microsoftonline.com/common/keys");
}
