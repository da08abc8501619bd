//! Checks the settings, all of them, and makes an [`EntraAuth`] of good ones.

use entra_jwt_core::{
    Audience, ClientId, Cloud, InvalidRules, Shown, Tenancy, Validator, ValidatorBuilder,
};

use crate::after_check::Remembering;
use crate::auth::{EntraAuth, Parts, TrustedIssuer};
use crate::build_error::{BuildError, Problem};
use crate::builder::{CloudSetting, EntraAuthBuilder, TenancySetting};
use crate::endpoint::{MetadataBase, MetadataEndpoint, printable};
use crate::http_client::HttpClient;
use crate::keys::KeyStore;
use crate::keys::discovery::Discovery;
use crate::tenant_rule::TenantRule;

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
        let tenancy = self.checked_tenancy(&mut problems);
        let client_id = self.checked_client_id(&mut problems);
        let audiences = self.checked_audiences(&mut problems);
        let clients = self.checked_clients(&mut problems);
        self.check_bounds(&mut problems);
        let metadata = self.checked_metadata(cloud.unwrap_or_default(), &mut problems);
        let is_plain_http = metadata.as_ref().is_some_and(MetadataBase::is_plain_http);
        let http_client = self.checked_http_client(is_plain_http, &mut problems);

        let rules = match (cloud, tenancy, client_id) {
            (Some(cloud), Some(tenancy), Some(client_id)) => {
                let rules = self.rules(tenancy, client_id, cloud, audiences, clients);
                problems.extend(rules.problems().filter_map(problem_with));
                Some(rules)
            }
            _ => None,
        };
        let (Some(rules), Some(metadata), Some(http_client), true) =
            (rules, metadata, http_client, problems.is_empty())
        else {
            return Err(BuildError::new(problems));
        };
        let validator = rules.build().map_err(|error| {
            BuildError::new(vec![Problem {
                setting: "rules".to_owned(),
                text: error.to_string(),
            }])
        })?;
        let endpoint = metadata
            .of_authority(validator.authority())
            .ok_or_else(|| {
                BuildError::new(vec![Problem {
                    setting: "metadata_endpoint".to_owned(),
                    text: METADATA_EXAMPLES.to_owned(),
                }])
            })?;

        self.announce(&validator, &endpoint);
        let authority = validator.authority().clone();
        let keys = KeyStore::new(Discovery::new(endpoint, authority, http_client));
        let ttl = self.tenant_rule_ttl.unwrap_or(TenantRule::DEFAULT_TTL);
        let tenant_rule = self
            .tenant_rule
            .map(|rule| Remembering::new(rule.with_ttl(ttl)));
        Ok(EntraAuth::new(Parts {
            issuers: vec![TrustedIssuer { validator, keys }],
            tenant_rule,
            clock: self.clock,
            max_token_length: self.max_token_length,
            refusal_detail: self.refusal_detail,
        }))
    }

    /// The rules, of settings that are good each by itself.
    fn rules(
        &self,
        tenancy: Tenancy,
        client_id: ClientId,
        cloud: Cloud,
        audiences: Vec<Audience>,
        clients: Clients,
    ) -> ValidatorBuilder {
        let mut rules = Validator::entra(tenancy, client_id)
            .cloud(cloud)
            .exempt_clients(clients.exempt)
            .clock_skew(self.clock_skew);
        for audience in audiences {
            rules = rules.audience(audience);
        }
        if let Some(allowed) = clients.allowed {
            rules = rules.allowed_clients(allowed);
        }
        if self.external_id.is_some() {
            rules = rules.external_id();
        }
        if self.accepts_v1 {
            rules = rules.accept_v1_tokens();
        }
        if self.refuses_guests {
            rules = rules.refuse_guests();
        }
        if self.accepts_keys_of_other_clouds {
            rules = rules.dangerous().accept_keys_of_other_clouds();
        }
        rules
    }

    fn checked_cloud(&self, problems: &mut Vec<Problem>) -> Option<Cloud> {
        let Some(setting) = &self.cloud else {
            return Some(Cloud::default());
        };
        let (cloud, text) = match &setting.value {
            CloudSetting::Known(cloud) => return Some(*cloud),
            CloudSetting::Name(name) => (name.parse().ok(), name),
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

    fn checked_tenancy(&self, problems: &mut Vec<Problem>) -> Option<Tenancy> {
        const WHERE: &str = "copy \"Tenant ID\" from the Overview page of Microsoft Entra ID";

        let Some(setting) = &self.tenancy else {
            problems.push(Problem {
                setting: "tenant".to_owned(),
                text: format!("not set, neither by tenant(..) nor by ENTRA_TENANT_ID; {WHERE}"),
            });
            return None;
        };
        let text = match &setting.value {
            TenancySetting::Known(tenancy) => return Some(tenancy.clone()),
            TenancySetting::Text(text) => text.trim(),
        };
        let problem = match text.parse::<Tenancy>() {
            Ok(_) if text.contains(PLACEHOLDER) => {
                format!("the placeholder {PLACEHOLDER}; {WHERE}")
            }
            Ok(tenancy) => return Some(tenancy),
            Err(_) if text.is_empty() => format!("empty; {WHERE}"),
            Err(_) => {
                let is_domain = text.contains('.')
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
                let domain = if is_domain { text } else { "contoso.com" };
                format!(
                    "\"{}\" is neither a tenant id (GUID) nor one of organizations, common, \
                     consumers; the id of {domain} stands in \
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

    fn checked_clients(&self, problems: &mut Vec<Problem>) -> Clients {
        let mut checked = |setting: &str, ids: &[String]| -> Vec<ClientId> {
            ids.iter()
                .filter_map(|id| {
                    let client = id.trim().parse();
                    if client.is_err() {
                        problems.push(Problem {
                            setting: setting.to_owned(),
                            text: format!(
                                "\"{}\" is no GUID such as 2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b; copy \
                                 \"Application (client) ID\" from the client's Overview page",
                                Shown(id)
                            ),
                        });
                    }
                    client.ok()
                })
                .collect()
        };
        Clients {
            allowed: self
                .allowed_clients
                .as_deref()
                // An id that is wrong is told already; that none is left is not another problem.
                .map(|ids| (ids.is_empty(), checked("allowed_clients", ids)))
                .filter(|(is_empty, ids)| *is_empty || !ids.is_empty())
                .map(|(_, ids)| ids),
            exempt: checked("exempt_clients", &self.exempt_clients),
        }
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
        match self.tenant_rule_ttl {
            Some(_) if self.tenant_rule.is_none() => problems.push(Problem {
                setting: "tenant_rule_ttl".to_owned(),
                text: "there is no tenant_rule(..) whose yes could be kept".to_owned(),
            }),
            Some(ttl) if ttl > TenantRule::MAX_TTL => problems.push(Problem {
                setting: "tenant_rule_ttl".to_owned(),
                text: format!(
                    "{} s are too long, at most {} s are accepted; 5 minutes are usual",
                    ttl.as_secs(),
                    TenantRule::MAX_TTL.as_secs()
                ),
            }),
            _ => {}
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
        // Checked even where the keys come from elsewhere: it names the kind of tenant.
        let of_external_id = self
            .external_id
            .as_deref()
            .map(|host| checked_external_id(host, problems));
        let Some(setting) = &self.metadata_endpoint else {
            return of_external_id.unwrap_or_else(|| Some(MetadataBase::of_cloud(cloud)));
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
        let issuers: Vec<String> = validator.issuers().collect();
        tracing::info!(
            issuers = issuers.join(", "),
            tenants = %validator.authority().tenancy(),
            audiences = audiences.join(", "),
            cloud = %validator.authority().cloud(),
            versions = if validator.accepts_v1_tokens() { "v1, v2" } else { "v2" },
            tenant_rule = self.tenant_rule.is_some(),
            metadata = printable(&endpoint.uri().to_string()),
            settings = format!(
                "tenant: {}, client_id: {}, cloud: {}, metadata_endpoint: {}",
                source(self.tenancy.as_ref().map(|setting| setting.source)),
                source(self.client_id.as_ref().map(|setting| setting.source)),
                source(self.cloud.as_ref().map(|setting| setting.source)),
                source(self.metadata_endpoint.as_ref().map(|setting| setting.source)),
            ),
            "tokens of Microsoft Entra ID are required"
        );
    }
}

/// Client applications of each list.
struct Clients {
    allowed: Option<Vec<ClientId>>,
    exempt: Vec<ClientId>,
}

fn checked_external_id(host: &str, problems: &mut Vec<Problem>) -> Option<MetadataBase> {
    MetadataBase::of_external_id(host)
        .map_err(|problem| {
            problems.push(Problem {
                setting: "external_id".to_owned(),
                text: format!(
                    "the host \"{}\" {problem}; good are contoso.ciamlogin.com and a custom URL \
                     domain such as login.contoso.com",
                    Shown(printable(host))
                ),
            });
        })
        .ok()
}

/// A problem that several settings make together; what one makes by itself is told already.
fn problem_with(rules: InvalidRules) -> Option<Problem> {
    let setting = match rules {
        InvalidRules::ClockSkew(_) => return None,
        InvalidRules::NoTenant => "tenancy",
        InvalidRules::NoClient => "allowed_clients",
        InvalidRules::ExternalIdTenancy | InvalidRules::ExternalIdCloud => "external_id",
        InvalidRules::ExternalIdV1 => "accept_v1_tokens",
        _ => "rules",
    };
    Some(Problem {
        setting: setting.to_owned(),
        text: rules.to_string(),
    })
}

/// The cloud of an authority such as `https://login.microsoftonline.us/`.
fn cloud_by_host(authority: &str) -> Option<Cloud> {
    let host = authority.strip_prefix("https://").unwrap_or(authority);
    let host = host.strip_suffix('/').unwrap_or(host);
    Cloud::ALL.into_iter().find(|cloud| cloud.is_host(host))
}
