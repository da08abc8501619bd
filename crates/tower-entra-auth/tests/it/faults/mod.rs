//! Tests of every fault of a key server: the responses during and after the fault, and the fetches
//! meanwhile. The tests run on paused time, in memory.
//!
//! The table lists the faults of the project's reference on key servers, and the place of each
//! test:
//!
//! | row | fault | tested |
//! |---|---|---|
//! | F1 | flood of unknown keys | `keys::a_thousand_unknown_keys_fetch_no_more_than_the_bucket_allows` |
//! | F2 | flood of bad signatures | `keys::a_bad_signature_under_a_known_key_fetches_nothing` |
//! | F3 | down at the start | here; `keys::a_tenant_that_is_down_at_the_start_is_found_when_it_comes` |
//! | F4 | down later | here |
//! | F5 | down for too long | here; `keys::keys_serve_for_a_day_without_entra_and_no_longer` |
//! | F6 | slow | here |
//! | F7 | thundering herd | here; `keys::sixty_four_first_requests_download_the_keys_once` |
//! | F8 | the client that began a fetch hangs up | `keys::a_client_that_disconnects_does_not_lose_the_refresh` |
//! | F9 | truncated, HTML, wrong JSON, an error | here; at the start `unavailable::what_is_no_document_is_told_as_such` |
//! | F10 | no key, or no usable one | here |
//! | F11 | 304 and `ETag` | here |
//! | F12 | 429 and 503 with `Retry-After` | here |
//! | F13 | `Cache-Control` of zero or ten years | here |
//! | F14 | DNS, connection or TLS fails | here the connection; `http_clients::a_name_that_does_not_resolve_is_told_as_such`, `http_clients::a_server_that_speaks_no_tls_is_told_as_such` |
//! | F15 | redirects, other hosts, `https` to `http` | here; the last in the unit tests of `endpoint` |
//! | F16 | huge body, gzip bomb | here |
//! | F17 | the wall clock jumps | here |
//! | F18 | a key is withdrawn | `rotation`; by design the key is trusted for one more day, also for cached tokens |
//! | F19 | a `kid` twice | here |
//! | F20 | a `kid` twice, of other type or use | here |
//! | F21 | keys without `kid` | here |
//! | F22 | keys without `alg` | here: no key of Entra has `alg` |
//! | F23 | keys for another `alg` or use | here |
//! | F24 | keys of unknown types | here |
//! | F25 | symmetric keys | here |
//! | F26 | a private half is published | here; `keys::a_key_whose_private_half_is_published_is_refused_at_once` |
//! | F27 | weak RSA keys | here the short key; each bound, and the fingerprint of ROCA, in the tests of `entra_jwt_core`; the warning about ROCA: `logs` |
//! | F28 | members that are not canonical | the tests of `entra_jwt_core`, which reads them |
//! | F29 | keys of other clouds and of personal accounts | here; `tenants::each_tenancy_admits_its_own_with_keys_from_its_own_documents` |
//! | F30 | discovery documents of others, keys on other hosts | here; at the start `unavailable::keys_are_never_fetched_from_elsewhere` |
//! | F31 | an older response arrives after a newer one | the unit tests of `keys::refresher`: an attempt ends after 5 s and no other begins before, so that a server cannot cause this |
//! | F32 | the refresh panics, or its runtime does not run | `sources::a_source_that_panics_is_asked_again_while_held_keys_serve`, `lifetime::a_runtime_that_does_not_run_blocks_the_others_for_seconds_only` |
//! | F33 | shutdown during a fetch | `lifetime::an_attempt_that_hangs_ends_with_the_last_handle`, `lifetime::an_attempt_that_dies_with_its_runtime_does_not_block_the_next` |
//! | F34 | thousands of tenants | here |
//! | F35 | all replicas fetch at once | here |

mod bad_documents;
mod odd_keys;
mod outage;
mod slow;
mod time_and_scale;
mod what_servers_say;

use entra_dev_tenant::{DevTenant, Endpoint};

/// The document that a fault affects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Discovery,
    Keys,
}

impl Place {
    const BOTH: [Self; 2] = [Self::Discovery, Self::Keys];

    fn of(self, tenant: &DevTenant) -> &Endpoint {
        match self {
            Self::Discovery => tenant.discovery_endpoint(),
            Self::Keys => tenant.key_endpoint(),
        }
    }
}

fn hits(tenant: &DevTenant) -> (usize, usize) {
    (
        tenant.discovery_endpoint().hits(),
        tenant.key_endpoint().hits(),
    )
}
