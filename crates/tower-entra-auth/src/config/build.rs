//! Checks all settings, and builds an [`EntraAuth`] if they are valid.

use std::time::Duration;

use entra_http::{BuildError, HttpClient, Problems, StandardClient, slip_in};
use entra_jwt_core::{
    ClientId, Cloud, InvalidSettings, Tenancy, Validator, ValidatorBuilder,
    ids::Audience,
    integration::{Authority, EscapedUrl},
    refusal::Setting,
};

use super::announce::Announcement;
use super::slips::{check_distinct, no_tenancy, slip_in_tenant};
use super::{CloudSetting, EntraAuthBuilder, Sourced};
use crate::authenticate::{EntraAuth, Issuer, RememberedTokens, TokenLocation, TokenReader};
use crate::caller::AuthContext;
use crate::keys::{KeyStore, MetadataBase, Source};
use crate::policy::PostVerificationChecks;
use crate::resource_metadata::ResourceMetadata;
use crate::respond::ResponderConfig;
use crate::telemetry;

/// Placeholder that templates have in place of an id.
const PLACEHOLDER: &str = "00000000-0000-0000-0000-000000000000";

const METADATA_EXAMPLES: &str = "for example https://login.microsoftonline.com and, for a \
    development tenant, http://127.0.0.1:7580";

const PROTECTED_RESOURCE: &str = "protected_resource";

/// Default of `rule_ttl`: how long a yes of a rule is cached.
const RULE_TTL: Duration = Duration::from_secs(5 * 60);

/// Connect timeout of the standard HTTP client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Origin of the keys.
enum KeyOrigin {
    /// A configured key source.
    Own(Source),
    /// A discovery document.
    Discovered {
        metadata: MetadataBase,
        http_client: HttpClient,
    },
}

impl EntraAuthBuilder {
    /// Checks the settings and builds the [`EntraAuth`].
    ///
    /// Needs no runtime and fetches nothing yet.
    ///
    /// # Errors
    /// Returns all problems with the settings in one error. One of them can be that the HTTP client
    /// finds no CA certificates on this machine.
    pub fn build(self) -> Result<EntraAuth, BuildError> {
        let (auth, announcement) = self.build_quietly()?;
        announcement.write();
        Ok(auth)
    }

    /// Builds the [`EntraAuth`] as [`build`](Self::build) does, without logging. The returned
    /// [`Announcement`] writes the log lines.
    #[doc(hidden)] // for `entra-oauth-proxy` and similar crates
    pub fn build_quietly(mut self) -> Result<(EntraAuth, Announcement), BuildError> {
        let mut problems = Problems::new("cannot protect this service");
        let cloud = self.checked_cloud(&mut problems);
        let tenancy = self.checked_tenancy(&mut problems);
        let client_id = self.checked_client_id(&mut problems);
        let audiences = self.checked_audiences(&mut problems);
        let clients = self.checked_clients(&mut problems);
        self.check_bounds(&mut problems);
        if let Some(resource) = &self.protected_resource {
            for (setting, text) in resource.problems(tenancy.as_ref()) {
                problems.add(setting, text);
            }
        }
        self.check_trusted(&mut problems);
        check_distinct(tenancy.as_ref(), client_id, &mut problems);
        if let (Some((_, of)), Some(client_id)) = (&self.replaced, &client_id) {
            if *of != client_id.to_string() {
                let text = format!(
                    "the replaced EntraAuth is of the API {of}; it must be of the same API"
                );
                problems.add("replacing", text);
            }
        }
        self.check_token_location(&mut problems);
        let authority_base = self.authority_base(cloud.unwrap_or_default());
        let origin = self.checked_key_origin(cloud.unwrap_or_default(), &mut problems);
        if !self.may_be_at(&authority_base, cloud, tenancy.as_ref()) {
            self.add_endpoint_elsewhere(&mut problems);
        }

        let rules = match (cloud, tenancy, client_id) {
            (Some(cloud), Some(tenancy), Some(client_id)) => {
                let rules = self.rules(tenancy, client_id, cloud, audiences, clients);
                for problem in rules.problems() {
                    add_problem_with(problem, &mut problems);
                }
                Some(rules)
            }
            _ => None,
        };
        let (Some(rules), Some(origin), true) = (rules, origin, problems.is_empty()) else {
            return Err(problems.into_error());
        };
        let has_own_source = matches!(origin, KeyOrigin::Own(_));
        let validator = rules
            .build()
            .map_err(|error| problems.error_with("rules", error))?;
        let application = client_id.filter(|_| self.keys.has_custom_signing_key);
        let source = key_source(origin, validator.authority(), application)
            .ok_or_else(|| problems.error_with("metadata_endpoint", METADATA_EXAMPLES))?;

        telemetry::describe_metrics();
        let keys_from = source.name().to_owned();
        let is_local = !has_own_source && authority_base.is_loopback();
        let resource = self.protected_resource.take();
        let resource = resource.map(|resource| {
            let methods = bearer_methods(&self.token_location);
            let published = resource.published(&validator, methods, self.setting_names);
            published.map_err(|text| problems.error_with(PROTECTED_RESOURCE, text))
        });
        let resource = resource.transpose()?;
        let responder = self.responder_config(&validator, resource.as_ref(), is_local);
        let authority_url = authority_base.authority_url(validator.authority());
        let announcement = Announcement::of(&self, &validator, &keys_from);

        let (interval, staleness) = self.keys.times();
        let keys = KeyStore::new(source, interval, staleness);
        let mut issuers = vec![Issuer::new(validator.clone(), keys, false)];
        let (mut grant_rules, mut on_challenge) = (vec![None], vec![None]);
        for trusted in self.trusted {
            // Always `Some`: `check_trusted` found no problem.
            let parts = trusted.into_parts(&validator, interval, staleness);
            let Some((issuer, grant_rule, hears)) = parts else {
                continue;
            };
            issuers.push(issuer);
            grant_rules.push(grant_rule);
            on_challenge.push(hears);
        }

        let ttl = self.rule_ttl.unwrap_or(RULE_TTL);
        let tenant_rule = self.tenant_rule.map(|rule| rule.with_ttl(ttl));
        let caller_rule = self.caller_rule.map(|rule| rule.with_ttl(ttl));
        let checks = PostVerificationChecks::new(tenant_rule, caller_rule, grant_rules);
        let context = AuthContext::new(
            responder,
            self.clock,
            self.clock_skew,
            checks,
            self.on_refusal,
            on_challenge,
            self.replaced.map(|(id, _)| id),
        );
        let token_cache = self.token_cache.bounds();
        let auth = EntraAuth::new(
            issuers,
            TokenReader::new(self.token_location, self.removes_token),
            self.max_token_length,
            token_cache.map(|(bytes, ttl)| RememberedTokens::new(bytes, ttl)),
            resource,
            authority_url,
            context,
        );
        Ok((auth, announcement))
    }

    fn check_trusted(&self, problems: &mut Problems) {
        for (place, trusted) in self.trusted.iter().enumerate() {
            trusted.check(&self.trusted[..place], problems);
        }
    }

    /// Returns the name of a setting in remedies.
    pub(super) fn name_of(&self, setting: Setting) -> &'static str {
        (self.setting_names.0)(setting)
    }

    /// Returns the paths of endpoints that must be outside of this Layer. If there are any, the
    /// metadata of the resource is one too.
    fn own_paths(&self, resource: Option<&ResourceMetadata>) -> Vec<String> {
        let metadata = resource.into_iter().flat_map(ResourceMetadata::paths);
        let metadata = metadata.filter(|_| !self.own_endpoints.is_empty());
        let own = self.own_endpoints.iter().cloned();
        own.chain(metadata.map(str::to_owned)).collect()
    }

    /// Returns the facts about this API and its authority that responses contain.
    fn responder_config(
        &self,
        validator: &Validator,
        resource: Option<&ResourceMetadata>,
        is_local: bool,
    ) -> ResponderConfig {
        ResponderConfig::new(
            self.refusal_detail,
            validator,
            resource.map(|resource| resource.reference().clone()),
            how_to_send(&self.token_location),
            self.setting_names,
            (self.own_paths(resource), is_local),
        )
    }

    /// Builds the validation rules from settings that are each valid by themselves.
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
            .allow_roleless_clients(clients.roleless)
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
        if self.refuses_agents {
            rules = rules.refuse_agents();
        }
        if self.accepts_keys_of_other_clouds {
            rules = rules.dangerous().accept_keys_of_other_clouds();
        }
        rules
    }

    fn checked_cloud(&self, problems: &mut Problems) -> Option<Cloud> {
        let Some(setting) = &self.cloud else {
            return Some(Cloud::default());
        };
        let cloud = match &setting.value {
            CloudSetting::Known(cloud) => Ok(*cloud),
            CloudSetting::Name(name) => name.parse().map_err(|_| {
                format!(
                    "\"{}\" {}; known clouds are public, usgovernment and china",
                    EscapedUrl(name),
                    slip_in(name).unwrap_or("is not a known cloud")
                )
            }),
            CloudSetting::AuthorityHost(host) => cloud_by_host(host).ok_or_else(|| {
                format!(
                    "\"{}\" is not the host of a known cloud; known hosts are \
                     https://login.microsoftonline.com, https://login.microsoftonline.us and \
                     https://login.partner.microsoftonline.cn",
                    EscapedUrl(host)
                )
            }),
        };
        problems.take(setting.named("cloud"), cloud)
    }

    fn checked_tenancy(&self, problems: &mut Problems) -> Option<Tenancy> {
        const WHERE: &str = "copy \"Tenant ID\" from the Overview page of Microsoft Entra ID";

        let Some(setting) = &self.tenancy else {
            problems.add(
                "tenant",
                format!(
                    "not set: provide {}; {WHERE}",
                    self.name_of(Setting::Tenant)
                ),
            );
            return None;
        };
        let text = match setting.value.read() {
            Ok(tenancy) => return Some(tenancy),
            Err(text) => text,
        };
        let slip = slip_in_tenant(text);
        let problem = match text.parse::<Tenancy>() {
            Ok(_) if text.contains(PLACEHOLDER) => {
                format!("the placeholder {PLACEHOLDER}; {WHERE}")
            }
            Ok(tenancy) => return Some(tenancy),
            Err(_) if text.is_empty() => format!("empty; {WHERE}"),
            Err(_) => slip.map_or_else(
                || no_tenancy(text),
                |slip| format!("\"{}\" {slip}", EscapedUrl(text)),
            ),
        };
        problems.add(setting.named("tenant"), problem);
        None
    }

    fn checked_client_id(&self, problems: &mut Problems) -> Option<ClientId> {
        const WHERE: &str =
            "copy \"Application (client) ID\" from the app registration's Overview page";

        let Some(setting) = &self.client_id else {
            problems.add(
                "client_id",
                format!(
                    "not set: provide {}; {WHERE}",
                    self.name_of(Setting::ClientId)
                ),
            );
            return None;
        };
        let text = setting.value.trim();
        let problem = match text.parse() {
            Ok(client_id) if text != PLACEHOLDER => return Some(client_id),
            _ if text.is_empty() => format!("empty; {WHERE}"),
            _ if text == PLACEHOLDER => format!("the placeholder {PLACEHOLDER}; {WHERE}"),
            _ if text.starts_with("http") => format!("\"{}\" is a URL; {WHERE}", EscapedUrl(text)),
            _ if text.contains("://") => format!(
                "\"{}\" is an App ID URI, which belongs in {}; {WHERE}",
                EscapedUrl(text),
                self.name_of(Setting::Audience)
            ),
            _ => format!(
                "\"{}\" {}; {WHERE}",
                EscapedUrl(text),
                slip_in(text)
                    .unwrap_or("is not a GUID such as 6e74172b-be56-4843-9ff4-e66a39bb12e3")
            ),
        };
        problems.add(setting.named("client_id"), problem);
        None
    }

    fn check_token_location(&self, problems: &mut Problems) {
        if self.removes_token && self.token_location.header().is_none() {
            problems.add(
                "remove_token_header",
                "the token source names no header to remove; return the name from \
                 TokenSource::header",
            );
        }
        let parameter = match &self.token_location {
            TokenLocation::HeaderOrQuery(parameter) => &**parameter,
            TokenLocation::Header | TokenLocation::Source(_) => return,
        };
        if parameter.is_empty() || !parameter.bytes().all(is_unreserved) {
            problems.add(
                "token_in_query",
                format!(
                    "\"{}\" is not the name of a parameter, such as access_token",
                    EscapedUrl(parameter)
                ),
            );
        }
    }

    fn checked_audiences(&self, problems: &mut Problems) -> Vec<Audience> {
        let checked = |text: &String| {
            let audience = match slip_in(text) {
                Some(slip) => Err(format!("\"{}\" {slip}", EscapedUrl(text))),
                None => Audience::new(text)
                    .map_err(|error| format!("\"{}\": {error}", EscapedUrl(text))),
            };
            problems.take("audience", audience)
        };
        self.audiences.iter().filter_map(checked).collect()
    }

    fn checked_clients(&self, problems: &mut Problems) -> Clients {
        let mut checked = |setting: &str, ids: &[String]| -> Vec<ClientId> {
            ids.iter()
                .filter_map(|id| {
                    let client = id.trim().parse().map_err(|_| {
                        format!(
                            "\"{}\" {}; copy \"Application (client) ID\" from the client's Overview \
                             page",
                            EscapedUrl(id),
                            slip_in(id.trim()).unwrap_or(
                                "is not a GUID such as 2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b"
                            )
                        )
                    });
                    problems.take(setting, client)
                })
                .collect()
        };
        Clients {
            allowed: self
                .allowed_clients
                .as_deref()
                // A wrong id is already reported. If no id is left after that, it is not another
                // problem.
                .map(|ids| (ids.is_empty(), checked("allowed_clients", ids)))
                .filter(|(is_empty, ids)| *is_empty || !ids.is_empty())
                .map(|(_, ids)| ids),
            roleless: checked("allow_roleless_clients", &self.roleless_clients),
        }
    }

    fn checked_key_origin(&mut self, cloud: Cloud, problems: &mut Problems) -> Option<KeyOrigin> {
        if let Some(source) = self.key_source.take() {
            for (is_set, other) in [
                (self.http_client.is_some(), "http_client"),
                (self.keys.has_custom_signing_key, "keys.custom_signing_key"),
                (
                    self.metadata_endpoint
                        .as_ref()
                        .is_some_and(Sourced::is_by_code),
                    "metadata_endpoint",
                ),
            ] {
                if is_set {
                    problems.add(
                        other,
                        "has no effect with key_source(..), which provides the keys; remove one of \
                         them",
                    );
                }
            }
            // Checked even with another key source: `external_id` also decides the issuer.
            if let Some(host) = &self.external_id {
                checked_external_id(host, problems);
            }
            return Some(KeyOrigin::Own(source));
        }
        let metadata = self.checked_metadata(cloud, problems);
        let is_plain_http = metadata.as_ref().is_some_and(MetadataBase::is_plain_http);
        let http_client = self.checked_http_client(is_plain_http, problems);
        Some(KeyOrigin::Discovered {
            metadata: metadata?,
            http_client: http_client?,
        })
    }

    fn checked_metadata(&self, cloud: Cloud, problems: &mut Problems) -> Option<MetadataBase> {
        // Checked even with a metadata endpoint: `external_id` also decides the kind of tenant.
        let of_external_id = self
            .external_id
            .as_deref()
            .map(|host| checked_external_id(host, problems));
        let Some(setting) = &self.metadata_endpoint else {
            return of_external_id.unwrap_or_else(|| Some(MetadataBase::of_cloud(cloud)));
        };
        let base = MetadataBase::configured(&setting.value, self.allow_plain_http);
        let base = base.map_err(|problem| {
            let url = EscapedUrl(&setting.value);
            let problem = slip_in(&setting.value).unwrap_or(problem);
            format!("the URL \"{url}\" {problem}; {METADATA_EXAMPLES}")
        });
        problems.take(setting.named("metadata_endpoint"), base)
    }

    /// Returns the base URL of the authority, which does not depend on the source of the keys.
    /// Other methods report the problems of these settings.
    fn authority_base(&self, cloud: Cloud) -> MetadataBase {
        let external_id = self.external_id.as_deref();
        let configured = self.metadata_endpoint.as_ref().and_then(|setting| {
            MetadataBase::configured(&setting.value, self.allow_plain_http).ok()
        });
        configured
            .or_else(|| external_id.and_then(|host| MetadataBase::of_external_id(host).ok()))
            .unwrap_or_else(|| MetadataBase::of_cloud(cloud))
    }

    /// Returns whether the base URL of the authority is permitted. The source of the keys does not
    /// matter: the service may send secrets to that URL.
    fn may_be_at(
        &self,
        base: &MetadataBase,
        cloud: Option<Cloud>,
        tenancy: Option<&Tenancy>,
    ) -> bool {
        let tenant = tenancy.and_then(Tenancy::single);
        !self.own_endpoints_only
            || self.allow_endpoints_elsewhere
            || base.is_own(
                cloud.unwrap_or_default(),
                self.external_id.as_deref(),
                tenant,
            )
    }

    fn add_endpoint_elsewhere(&self, problems: &mut Problems) {
        if let Some(setting) = &self.metadata_endpoint {
            problems.add(
                setting.named("metadata_endpoint"),
                format!(
                    "the URL \"{}\" is neither on a host of the tenant's cloud nor on loopback, \
                     but secrets are sent to the endpoints there; remove it or, if it is intended, \
                     allow it by dangerous().allow_endpoints_elsewhere()",
                    EscapedUrl(&setting.value)
                ),
            );
        }
    }

    fn checked_http_client(
        &mut self,
        is_plain_http: bool,
        problems: &mut Problems,
    ) -> Option<HttpClient> {
        let client = match self.http_client.take() {
            Some(client) => Ok(client),
            None => HttpClient::standard(StandardClient {
                enabled: cfg!(feature = "reqwest"),
                user_agent: concat!("tower-entra-auth/", env!("CARGO_PKG_VERSION")),
                connect_timeout: CONNECT_TIMEOUT,
                plain_http: is_plain_http,
            }),
        };
        problems.take("http_client", client)
    }
}

/// Returns the key source; `None` if the metadata endpoint makes no valid URL.
fn key_source(
    origin: KeyOrigin,
    authority: &Authority,
    application: Option<ClientId>,
) -> Option<Source> {
    match origin {
        KeyOrigin::Own(source) => Some(source),
        KeyOrigin::Discovered {
            metadata,
            http_client,
        } => Source::discovery(&metadata, authority, application, http_client),
    }
}

/// Client applications of the two lists in the settings.
struct Clients {
    allowed: Option<Vec<ClientId>>,
    roleless: Vec<ClientId>,
}

fn checked_external_id(host: &str, problems: &mut Problems) -> Option<MetadataBase> {
    let base = MetadataBase::of_external_id(host).map_err(|problem| {
        let problem = slip_in(host.trim()).unwrap_or(problem);
        format!(
            "the host \"{}\" {problem}; for example contoso.ciamlogin.com, or a custom URL domain \
             such as login.contoso.com",
            EscapedUrl(host)
        )
    });
    problems.take("external_id", base)
}

/// Adds a problem that several settings make together. Problems of a single setting are already
/// reported.
fn add_problem_with(rules: InvalidSettings, problems: &mut Problems) {
    let setting = match rules {
        InvalidSettings::ClockSkew => return,
        InvalidSettings::NoTenant => "tenant",
        InvalidSettings::NoClient => "allowed_clients",
        InvalidSettings::ExternalIdTenancy | InvalidSettings::ExternalIdCloud => "external_id",
        InvalidSettings::ExternalIdV1 => "accept_v1_tokens",
        _ => "rules",
    };
    problems.add(setting, rules);
}

/// Returns the cloud of an authority such as `https://login.microsoftonline.us/`.
fn cloud_by_host(authority: &str) -> Option<Cloud> {
    let host = authority.strip_prefix("https://").unwrap_or(authority);
    let host = host.strip_suffix('/').unwrap_or(host);
    Cloud::ALL.iter().copied().find(|cloud| cloud.is_host(host))
}

/// Returns the advice on how to send a token.
fn how_to_send(location: &TokenLocation) -> &'static str {
    match location {
        TokenLocation::Header => "send one header Authorization: Bearer <access token>",
        TokenLocation::HeaderOrQuery(_) => {
            "send the access token once: in a header Authorization: \
            Bearer <access token>, or in the query"
        }
        TokenLocation::Source(_) => {
            "send one access token where the token source of this service \
            looks for it"
        }
    }
}

/// Returns the methods of RFC 6750 §2 by which clients can send tokens; none if the service has its
/// own token source.
fn bearer_methods(location: &TokenLocation) -> &'static [&'static str] {
    match location {
        TokenLocation::Header => &["header"],
        TokenLocation::HeaderOrQuery(_) => &["header", "query"],
        TokenLocation::Source(_) => &[],
    }
}

/// Returns whether the byte needs no escape in a query (RFC 3986 §2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
