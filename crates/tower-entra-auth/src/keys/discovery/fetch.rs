//! Fetches the discovery document, and the keys to which it leads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use entra_http::{Failure, FailureCause, HttpClient, fresh_for, https_proxy, retry_after};
use entra_jwt_core::{
    ClientId, KeySet,
    integration::{Authority, DiscoveryDocument},
};
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Request, StatusCode, Uri};
use serde::Deserialize;

use super::{MetadataBase, MetadataEndpoint};
use crate::keys::{
    Fetch, FetchError, FetchFuture, FetchReason, Fetched, MAX_DOCUMENT_BYTES, Source,
    brings_nothing,
};
use crate::unavailable::Outage;

/// A key source that reads the discovery document of one authority.
struct Discovery {
    endpoint: MetadataEndpoint,
    host: Box<str>,
    authority: Authority,
    http: HttpClient,
    last_discovery: Slot<DiscoveryDocument>,
    last_keys: Slot<KeySet>,
}

/// The last document of one kind, if it has an entity tag.
type Slot<T> = Mutex<Option<Tagged<T>>>;

struct Tagged<T> {
    uri: Uri,
    etag: HeaderValue,
    document: Arc<T>,
}

/// Returns the host of a URI, with the port if the URI names one.
fn host_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Entra's response to a request that it refuses.
#[derive(Default, Deserialize)]
struct EntraError {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

/// A response with its whole body.
struct FetchedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A document, with the facts from the headers of its response.
struct FetchedDocument<T> {
    document: Arc<T>,
    is_unchanged: bool,
    fresh_for: Option<Duration>,
}

impl Source {
    /// Creates a source that takes the keys from the discovery document of an authority.
    ///
    /// With the id of an application, it takes the application's own keys. Returns `None` if the
    /// metadata endpoint makes no valid URL.
    pub(crate) fn discovery(
        metadata: &MetadataBase,
        authority: &Authority,
        application: Option<ClientId>,
        http: HttpClient,
    ) -> Option<Self> {
        let endpoint = metadata.of_authority(authority, application)?;
        Some(Self(Arc::new(Discovery {
            host: host_of(endpoint.uri()).into(),
            endpoint,
            authority: authority.clone(),
            http,
            last_discovery: Mutex::default(),
            last_keys: Mutex::default(),
        })))
    }
}

impl Fetch for Discovery {
    fn name(&self) -> &str {
        &self.host
    }

    fn fetch(&self, reason: FetchReason) -> FetchFuture<'_> {
        Box::pin(self.fetch_both(reason))
    }
}

impl Discovery {
    /// Minimum freshness of keys, even if the server says less.
    const MIN_FRESH: Duration = Duration::from_secs(5 * 60);

    /// Maximum length of an entity tag in bytes. Usual tags are short, and longer ones are not sent
    /// back.
    const LONGEST_ETAG: usize = 256;

    /// Fetches the keys that are published now.
    async fn fetch_both(&self, reason: FetchReason) -> Result<Fetched, FetchError> {
        let discovery = self.discover(reason).await?;
        let jwks_uri = &discovery.document.jwks_uri;
        let jwks_uri = self
            .endpoint
            .key_address(jwks_uri)
            .ok_or_else(|| Outage::KeyAddress {
                jwks_uri: jwks_uri.clone(),
            })?;
        let keys = self.fetch_keys(&jwks_uri, reason).await?;

        let set = KeySet::clone(&keys.document).with_issuer(&discovery.document.issuer);
        let set = match &discovery.document.cloud_instance_name {
            Some(name) => set.with_cloud_instance_name(name),
            None => set,
        };
        let fresh_for = [discovery.fresh_for, keys.fresh_for];
        Ok(Fetched {
            keys: Arc::new(set),
            is_unchanged: keys.is_unchanged,
            is_final: false,
            check_again_after: fresh_for
                .into_iter()
                .flatten()
                .min()
                .map(|fresh_for| fresh_for.max(Self::MIN_FRESH)),
        })
    }

    async fn fetch_keys(
        &self,
        uri: &Uri,
        reason: FetchReason,
    ) -> Result<FetchedDocument<KeySet>, FetchError> {
        let host = || host_of(uri);
        self.document(uri, &self.last_keys, reason, |answer| {
            if answer.status != StatusCode::OK {
                return Err(FetchError::from(Outage::Status {
                    host: host(),
                    status: answer.status.as_u16(),
                }));
            }
            let keys = KeySet::from_jwks(&answer.body).map_err(|_| Outage::Document {
                host: host(),
                expected: "key document",
            })?;
            if brings_nothing(&keys) {
                return Err(FetchError::no_usable_key(host(), Arc::new(keys)));
            }
            Ok(keys)
        })
        .await
    }

    async fn discover(
        &self,
        reason: FetchReason,
    ) -> Result<FetchedDocument<DiscoveryDocument>, FetchError> {
        let uri = self.endpoint.uri();
        self.document(uri, &self.last_discovery, reason, |answer| {
            Ok(self.read_discovery(answer)?)
        })
        .await
    }

    /// Fetches a document.
    ///
    /// A scheduled fetch is conditional: the server need not send the last document again. A fetch
    /// for a missing key is unconditional, because a cache on the way may say "unchanged" for a
    /// long time.
    async fn document<T>(
        &self,
        uri: &Uri,
        slot: &Slot<T>,
        reason: FetchReason,
        read: impl FnOnce(&FetchedResponse) -> Result<T, FetchError>,
    ) -> Result<FetchedDocument<T>, FetchError> {
        let last = || slot.lock().unwrap_or_else(PoisonError::into_inner);
        let tagged = match (reason, &*last()) {
            (FetchReason::Schedule, Some(tagged)) if tagged.uri == *uri => {
                Some((tagged.etag.clone(), Arc::clone(&tagged.document)))
            }
            _ => None,
        };

        let (etag, known) = tagged.unzip();
        let answer = self.get(uri, etag).await?;
        let fresh_for = fresh_for(&answer.headers);
        if let (StatusCode::NOT_MODIFIED, Some(document)) = (answer.status, known) {
            return Ok(FetchedDocument {
                document,
                is_unchanged: true,
                fresh_for,
            });
        }
        // A 304 counts only if the request was conditional. Otherwise it is a status like any
        // other.
        let document = read(&answer).map_err(|failed| FetchError {
            retry_after: retry_after(&answer.headers),
            ..failed
        })?;
        let document = Arc::new(document);
        let etag = answer.headers.get(ETAG).cloned();
        *last() = etag
            .filter(|etag| etag.len() <= Self::LONGEST_ETAG)
            .map(|etag| Tagged {
                uri: uri.clone(),
                etag,
                document: Arc::clone(&document),
            });
        Ok(FetchedDocument {
            document,
            is_unchanged: false,
            fresh_for,
        })
    }

    fn read_discovery(&self, answer: &FetchedResponse) -> Result<DiscoveryDocument, Outage> {
        let host = || self.host.to_string();
        if answer.status != StatusCode::OK {
            let error: EntraError = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(
                if error.error == "invalid_tenant" || error.error_codes.contains(&90_002) {
                    Outage::TenantNotFound {
                        tenant: self.authority.tenancy().path_segment(),
                        host: host(),
                    }
                } else {
                    Outage::Status {
                        host: host(),
                        status: answer.status.as_u16(),
                    }
                },
            );
        }
        let document =
            DiscoveryDocument::from_json(&answer.body).map_err(|_| Outage::Document {
                host: host(),
                expected: "discovery document",
            })?;
        self.authority
            .check_document(&document)
            .map_err(|foreign| {
                let (found, expected) = (foreign.found().into(), foreign.expected().into());
                match foreign.is_of_another_tenant() {
                    true => Outage::WrongTenant { found, expected },
                    false => Outage::WrongCloud { found, expected },
                }
            })?;
        Ok(document)
    }

    async fn get(&self, uri: &Uri, etag: Option<HeaderValue>) -> Result<FetchedResponse, Outage> {
        let host = || host_of(uri);
        let no_answer = |error| match Failure::of(&error).map(|failure| failure.cause) {
            Some(FailureCause::Dns) => Outage::Dns { host: host() },
            Some(FailureCause::Tls) => Outage::Tls { host: host() },
            Some(FailureCause::Proxy(failure)) => Outage::Proxy {
                host: host(),
                proxy: https_proxy(),
                failure,
            },
            Some(FailureCause::Connect) | None => Outage::Connect { host: host() },
        };

        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri.clone();
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, accept);
        if let Some(etag) = etag {
            request.headers_mut().insert(IF_NONE_MATCH, etag);
        }

        let response = self.http.send(request, MAX_DOCUMENT_BYTES).await;
        let (parts, body) = response.map_err(no_answer)?.into_parts();
        Ok(FetchedResponse {
            status: parts.status,
            headers: parts.headers,
            body: body.ok_or_else(|| Outage::TooLarge {
                host: host(),
                limit: MAX_DOCUMENT_BYTES,
            })?,
        })
    }
}
