//! Checks the settings, all of them, and makes an [`EntraAuth`] of good ones.

use entra_jwt_core::{
    Audience, ClientId, Cloud, InvalidRules, Shown, Tenancy, TenantId, Validator, ValidatorBuilder,
};

use crate::auth::{EntraAuth, Parts, TrustedIssuer};
use crate::build_error::{BuildError, Problem};
use crate::builder::{CloudSetting, EntraAuthBuilder};
use crate::endpoint::{MetadataBase, MetadataEndpoint, printable};
use crate::http_client::HttpClient;
use crate::keys::KeyStore;
use crate::keys::discovery::Discovery;

/// What templates have where an id belongs.
const PLACEHOLDER: &str = "00000000-0000-0000-0000-000000000000";

const METADATA_EXAMPLES: &str = "good are https://login.microsoftonline.com and, for a \
    development tenant, http://127.0.0.1:7580";

/// The shortest limit for tokens that makes sense, in bytes.
const LEAST_TOKEN_LENGTH: usize = 1024;
/// The longest, in bytes: that of Microsoft's own validator.
const MOST_TOKEN_LENGTH: usize = 250 * 1024;

impl EntraAuthBuilder {
    /// Checks the settings and makes the [`EntraAuth`]. Needs no runtime and fetches nothing yet.
    ///
    /// # Errors
    /// Every problem with the settings at once; among them that the HTTP client finds no CA
    /// certificates on this machine.
    pub fn build(mut self) -> Result<EntraAuth, BuildError> {
        let mut problems = Vec::new();
        let cloud = self.checked_cloud(&mut problems);
        let tenant = self.checked_tenant(&mut problems);
        let client_id = self.checked_client_id(&mut problems);
        let audiences = self.checked_audiences(&mut problems);
        self.check_bounds(&mut problems);
        let metadata = self.checked_metadata(cloud.unwrap_or_default(), &mut problems);
        let is_plain_http = metadata.as_ref().is_some_and(MetadataBase::is_plain_http);
        let http_client = self.checked_http_client(is_plain_http, &mut problems);

        let (Some(cloud), Some(tenant), Some(client_id), Some(metadata), Some(http_client), true) = (
            cloud,
            tenant,
            client_id,
            metadata,
            http_client,
            problems.is_empty(),
        ) else {
            return Err(BuildError::new(problems));
        };
        let endpoint = metadata.of_tenant(tenant, cloud).ok_or_else(|| {
            BuildError::new(vec![Problem {
                setting: "metadata_endpoint".to_owned(),
                text: METADATA_EXAMPLES.to_owned(),
            }])
        })?;

        let rules = Validator::entra(tenant, client_id)
            .cloud(cloud)
            .clock_skew(self.clock_skew);
        let rules = audiences
            .into_iter()
            .fold(rules, ValidatorBuilder::audience);
        let rules = if self.accepts_v1 {
            rules.accept_v1_tokens()
        } else {
            rules
        };
        let validator = rules.build().map_err(|error| {
            BuildError::new(vec![Problem {
                setting: "clock_skew".to_owned(),
                text: error.to_string(),
            }])
        })?;

        self.announce(&validator, &endpoint);
        let keys = KeyStore::new(Discovery::new(endpoint, cloud, tenant, http_client));
        Ok(EntraAuth::new(Parts {
            issuers: vec![TrustedIssuer { validator, keys }],
            clock: self.clock,
            max_token_length: self.max_token_length,
            refusal_detail: self.refusal_detail,
        }))
    }

    fn checked_cloud(&self, problems: &mut Vec<Problem>) -> Option<Cloud> {
        let Some(setting) = &self.cloud else {
            return Some(Cloud::default());
        };
        let (cloud, text) = match &setting.value {
            CloudSetting::Known(cloud) => return Some(*cloud),
            CloudSetting::Name(name) => (cloud_by_name(name), name),
            CloudSetting::AuthorityHost(host) => (cloud_by_host(host), host),
        };
        if cloud.is_none() {
            problems.push(Problem {
                setting: setting.named("cloud"),
                text: match &setting.value {
                    CloudSetting::AuthorityHost(_) => format!(
                        "\"{}\" is the host of no known cloud; those are \
                         https://login.microsoftonline.com, https://login.microsoftonline.us and \
                         https://login.partner.microsoftonline.cn",
                        Shown(text)
                    ),
                    _ => format!(
                        "\"{}\" is no known cloud; those are public, usgovernment and china",
                        Shown(text)
                    ),
                },
            });
        }
        cloud
    }

    fn checked_tenant(&self, problems: &mut Vec<Problem>) -> Option<TenantId> {
        const WHERE: &str = "copy \"Tenant ID\" from the Overview page of Microsoft Entra ID";

        let Some(setting) = &self.tenant else {
            problems.push(Problem {
                setting: "tenant".to_owned(),
                text: format!("not set, neither by tenant(..) nor by ENTRA_TENANT_ID; {WHERE}"),
            });
            return None;
        };
        let text = setting.value.trim();
        let problem = match text.parse() {
            Ok(_) if text == PLACEHOLDER => format!("the placeholder {PLACEHOLDER}; {WHERE}"),
            Ok(tenant) => return Some(tenant),
            Err(_) if text.is_empty() => format!("empty; {WHERE}"),
            Err(_) if ["organizations", "common", "consumers"].contains(&text) => format!(
                "\"{text}\" accepts more than one tenant, which this version does not support \
                 yet; name one tenant, such as 72f988bf-86f1-41af-91ab-2d7cd011db47"
            ),
            Err(_) => {
                let is_domain = text.contains('.')
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
                let domain = if is_domain { text } else { "contoso.com" };
                format!(
                    "\"{}\" is no tenant id (a GUID such as \
                     72f988bf-86f1-41af-91ab-2d7cd011db47); the id of {domain} stands in \
                     https://login.microsoftonline.com/{domain}/v2.0/.well-known/openid-configuration",
                    Shown(text)
                )
            }
        };
        problems.push(Problem {
            setting: setting.named("tenant"),
            text: problem,
        });
        None
    }

    fn checked_client_id(&self, problems: &mut Vec<Problem>) -> Option<ClientId> {
        const WHERE: &str =
            "copy \"Application (client) ID\" from the app registration's Overview page";

        let Some(setting) = &self.client_id else {
            problems.push(Problem {
                setting: "client_id".to_owned(),
                text: format!("not set, neither by client_id(..) nor by ENTRA_CLIENT_ID; {WHERE}"),
            });
            return None;
        };
        let text = setting.value.trim();
        match text.parse() {
            Ok(client_id) if text != PLACEHOLDER => Some(client_id),
            _ => {
                problems.push(Problem {
                    setting: setting.named("client_id"),
                    text: if text.is_empty() {
                        format!("empty; {WHERE}")
                    } else if text == PLACEHOLDER {
                        format!("the placeholder {PLACEHOLDER}; {WHERE}")
                    } else if text.contains("://") {
                        format!(
                            "\"{}\" is an App ID URI, which belongs into audience(..); {WHERE}",
                            Shown(text)
                        )
                    } else {
                        format!(
                            "\"{}\" is no GUID such as 6e74172b-be56-4843-9ff4-e66a39bb12e3; {WHERE}",
                            Shown(text)
                        )
                    },
                });
                None
            }
        }
    }

    fn checked_audiences(&self, problems: &mut Vec<Problem>) -> Vec<Audience> {
        let mut audiences = Vec::new();
        for text in &self.audiences {
            match Audience::new(text) {
                Ok(audience) => audiences.push(audience),
                Err(error) => problems.push(Problem {
                    setting: "audience".to_owned(),
                    text: format!("\"{}\": {error}", Shown(text)),
                }),
            }
        }
        audiences
    }

    fn check_bounds(&self, problems: &mut Vec<Problem>) {
        if self.clock_skew > Validator::MAX_CLOCK_SKEW {
            problems.push(Problem {
                setting: "clock_skew".to_owned(),
                text: format!(
                    "{}; 5 minutes are usual",
                    InvalidRules::ClockSkew(self.clock_skew)
                ),
            });
        }
        if !(LEAST_TOKEN_LENGTH..=MOST_TOKEN_LENGTH).contains(&self.max_token_length) {
            problems.push(Problem {
                setting: "max_token_length".to_owned(),
                text: format!(
                    "{} bytes are out of bounds, {LEAST_TOKEN_LENGTH} to {MOST_TOKEN_LENGTH} are \
                     accepted; 16384 is enough for every token of Entra",
                    self.max_token_length
                ),
            });
        }
    }

    fn checked_metadata(&self, cloud: Cloud, problems: &mut Vec<Problem>) -> Option<MetadataBase> {
        let Some(setting) = &self.metadata_endpoint else {
            return Some(MetadataBase::of_cloud(cloud));
        };
        MetadataBase::configured(&setting.value, self.allow_plain_http)
            .map_err(|problem| {
                let url = Shown(printable(&setting.value));
                problems.push(Problem {
                    setting: setting.named("metadata_endpoint"),
                    text: format!("the URL \"{url}\" {problem}; {METADATA_EXAMPLES}"),
                });
            })
            .ok()
    }

    fn checked_http_client(
        &mut self,
        is_plain_http: bool,
        problems: &mut Vec<Problem>,
    ) -> Option<HttpClient> {
        if let Some(client) = self.http_client.take() {
            return Some(client);
        }
        HttpClient::standard(is_plain_http)
            .map_err(|text| {
                problems.push(Problem {
                    setting: "http_client".to_owned(),
                    text,
                });
            })
            .ok()
    }

    /// One line at the start that says what is trusted, and where each setting came from.
    fn announce(&self, validator: &Validator, endpoint: &MetadataEndpoint) {
        let source = |setting: Option<&'static str>| setting.unwrap_or("default");
        let audiences: Vec<String> = validator.audiences().map(ToString::to_string).collect();
        let Tenancy::Tenant(tenant) = validator.tenancy() else {
            return;
        };
        let mut issuers = validator.cloud().v2_issuer(tenant);
        if validator.accepts_v1_tokens() {
            issuers = format!("{issuers}, {}", validator.cloud().v1_issuer(tenant));
        }
        tracing::info!(
            issuers,
            audiences = audiences.join(", "),
            cloud = %validator.cloud(),
            versions = if validator.accepts_v1_tokens() { "v1, v2" } else { "v2" },
            metadata = printable(&endpoint.uri().to_string()),
            settings = format!(
                "tenant: {}, client_id: {}, cloud: {}, metadata_endpoint: {}",
                source(self.tenant.as_ref().map(|setting| setting.source)),
                source(self.client_id.as_ref().map(|setting| setting.source)),
                source(self.cloud.as_ref().map(|setting| setting.source)),
                source(self.metadata_endpoint.as_ref().map(|setting| setting.source)),
            ),
            "tokens of Microsoft Entra ID are required"
        );
    }
}

/// `public`, `usgovernment`, `china`, or the Azure CLI's names for them, in any case.
fn cloud_by_name(name: &str) -> Option<Cloud> {
    match name.to_ascii_lowercase().as_str() {
        "public" | "azurecloud" | "azurepublic" => Some(Cloud::Public),
        "usgovernment" | "usgov" | "azureusgovernment" => Some(Cloud::UsGovernment),
        "china" | "azurechinacloud" | "azurechina" => Some(Cloud::China),
        _ => None,
    }
}

/// The cloud of an authority such as `https://login.microsoftonline.us/`.
fn cloud_by_host(authority: &str) -> Option<Cloud> {
    let host = authority.strip_prefix("https://").unwrap_or(authority);
    let host = host.strip_suffix('/').unwrap_or(host);
    Cloud::ALL
        .into_iter()
        .find(|cloud| cloud.host_aliases().contains(&host))
}
