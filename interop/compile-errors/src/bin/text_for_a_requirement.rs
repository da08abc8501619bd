//! A requirement is a scope or a role, not a text.
//~ error[E0277]: `&str` is not a condition on a token
//~ not a condition
//~ name the permission: `Scope("Reports.Read")` for users
//~ join conditions by `.or(..)` and `.and(..)`

use tower_entra_auth::EntraAuth;

fn main() {
    let auth = EntraAuth::from_env().unwrap();
    let _ = auth.require("Reports.Read");
}
