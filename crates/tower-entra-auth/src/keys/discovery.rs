//! Fetches the discovery document and the keys that it leads to.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use entra_jwt_core::{Authority, DiscoveryDocument, ForeignDocument, KeySet};
use http::header::ACCEPT;
use http::{Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::endpoint::MetadataEndpoint;
use crate::http_client::{Failure, HttpClient};
use crate::unavailable::Unavailable;

/// Where the keys of one authority come from.
pub(crate) struct Discovery {
    endpoint: MetadataEndpoint,
    authority: Authority,
    http: HttpClient,
}

/// Entra's answer to a request that it refuses.
#[derive(Default, Deserialize)]
struct EntraError {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Discovery {
    /// How long both documents together may take.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

    /// The longest document that is read, in bytes. Entra's key documents have 15 to 25 KB.
    const MOST_BYTES: usize = 512 * 1024;

    pub(crate) fn new(endpoint: MetadataEndpoint, authority: Authority, http: HttpClient) -> Self {
        Self {
            endpoint,
            authority,
            http,
        }
    }

    pub(crate) fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// The keys that are published now.
    pub(crate) async fn fetch(&self) -> Result<KeySet, Unavailable> {
        tokio::time::timeout(Self::TIMEOUT, self.fetch_both())
            .await
            .unwrap_or_else(|_| {
                Err(Unavailable::Timeout {
                    host: self.host().to_owned(),
                    after: Self::TIMEOUT,
                })
            })
    }

    async fn fetch_both(&self) -> Result<KeySet, Unavailable> {
        let document = self.discover().await?;
        let jwks_uri =
            self.endpoint
                .key_address(&document.jwks_uri)
                .ok_or(Unavailable::KeyAddress {
                    jwks_uri: document.jwks_uri,
                })?;

        let answer = self.get(&jwks_uri).await?;
        let host = || jwks_uri.host().unwrap_or_default().to_owned();
        if answer.status != StatusCode::OK {
            return Err(Unavailable::Status {
                host: host(),
                status: answer.status.as_u16(),
            });
        }
        let keys = KeySet::from_jwks(&answer.body).map_err(|_| Unavailable::Document {
            host: host(),
            expected: "key document",
        })?;
        if keys.is_empty() {
            return Err(Unavailable::NoUsableKey { host: host() });
        }
        let keys = keys.with_issuer(&document.issuer);
        Ok(match &document.cloud_instance_name {
            Some(name) => keys.with_cloud_instance_name(name),
            None => keys,
        })
    }

    async fn discover(&self) -> Result<DiscoveryDocument, Unavailable> {
        let answer = self.get(self.endpoint.uri()).await?;
        let host = || self.host().to_owned();
        if answer.status != StatusCode::OK {
            let error: EntraError = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(
                if error.error == "invalid_tenant" || error.error_codes.contains(&90_002) {
                    Unavailable::TenantNotFound {
                        tenant: self.authority.tenancy().path_segment(),
                        host: host(),
                    }
                } else {
                    Unavailable::Status {
                        host: host(),
                        status: answer.status.as_u16(),
                    }
                },
            );
        }
        let document =
            DiscoveryDocument::from_json(&answer.body).map_err(|_| Unavailable::Document {
                host: host(),
                expected: "discovery document",
            })?;
        self.authority
            .check_document(&document)
            .map_err(|foreign| match foreign {
                ForeignDocument::Tenant { found, expected } => {
                    Unavailable::WrongTenant { found, expected }
                }
                ForeignDocument::Cloud { found, expected } => {
                    Unavailable::WrongCloud { found, expected }
                }
                // The enum may grow: whatever it is, the document is not ours.
                other => Unavailable::WrongCloud {
                    found: other.to_string(),
                    expected: self.authority.v2_issuer_template(),
                },
            })?;
        Ok(document)
    }

    async fn get(&self, uri: &Uri) -> Result<Answer, Unavailable> {
        let host = || uri.host().unwrap_or_default().to_owned();
        let no_answer = |error| match Failure::of(&error) {
            Failure::Dns => Unavailable::Dns { host: host() },
            Failure::Tls => Unavailable::Tls { host: host() },
            Failure::Proxy => Unavailable::Proxy { host: host() },
            Failure::Connect => Unavailable::Connect { host: host() },
        };

        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri.clone();
        let accept = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, accept);

        let response = self.http.send(request).await.map_err(no_answer)?;
        let status = response.status();
        let mut body = response.into_body();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(no_answer)?.into_data() {
                if read.len() + data.len() > Self::MOST_BYTES {
                    return Err(Unavailable::TooLarge {
                        host: host(),
                        limit: Self::MOST_BYTES,
                    });
                }
                read.extend_from_slice(&data);
            }
        }
        Ok(Answer {
            status,
            body: read.freeze(),
        })
    }
}
