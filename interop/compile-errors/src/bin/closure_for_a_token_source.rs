//! A token source is a type, because a closure cannot say that what it returns lives in what it got.
//~ error[E0277]: `
//~ ` is not a source of tokens
//~ implement `TokenSource` for a type of your own
//~ `.dangerous().token_in_query(..)`

use http::{HeaderMap, Uri};
use tower_entra_auth::{EntraAuth, token::SentToken};

fn main() {
    let _ = EntraAuth::builder().token_source(|_: &HeaderMap, _: &Uri| SentToken::Nothing);
}
