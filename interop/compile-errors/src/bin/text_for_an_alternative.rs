//! An alternative requirement is not a text either.
//~ error[E0277]: `&str` is not a condition on a token

use tower_entra_auth::Scope;

fn main() {
    let _ = Scope("Reports.Read").or("Reports.Write");
}
