//! A token source is not the name of a parameter or a header.

//~ error[E0277]: `&str` is not a source of tokens
//~ implement `TokenSource` for your own type
//~ `token::source_fn(..)`
//~ `.dangerous().token_in_query(..)`

use tower_entra_auth::EntraAuth;

fn main() {
    let _ = EntraAuth::builder().token_source("access_token");
}
