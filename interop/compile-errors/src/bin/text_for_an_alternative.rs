//! Nor is an alternative a text.
//~ error[E0277]: `&str` is not a condition on a token

use tower_entra_auth::Scope;

fn main() {
    let _ = Scope("Reports.Read").or("Reports.Write");
}
