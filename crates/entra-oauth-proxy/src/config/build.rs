//! Checks the settings, all of them, and makes a proxy of good ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tower_entra_auth::entra_jwt_core::{Shown, ShownUrl, Validator};
use tower_entra_auth::{
    EntraAuth, ProtectedResource, ReissuedTokens, Scope, Tenancy, TenantId, all,
};
use url::{Url, form_urlencoded};

use crate::config::build_error::BuildError;
use crate::config::builder::{EntraOAuthProxyBuilder, Prompt};
use crate::engine::{Engine, Entra, Lifetimes, Resource, Urls};
use crate::keys::keyring::{Keyring, ProxyKeys, random_text};
use crate::limits::{Gate, TrustedProxies};
use crate::oauth::client::Clients;
use crate::oauth::redirect_uri::{AllowList, RedirectUri};
use crate::oauth::scopes::{Scopes, is_of_openid};
use crate::proxy::{Documents, EntraOAuthProxy, Inner, seconds};
use crate::running::Work;
use crate::store::Records;
use crate::telemetry::log::RefusalLog;
use crate::telemetry::metrics;
use crate::tokens::challenges::Challenges;
use crate::tokens::refresh_lock::Refreshes;
use crate::tokens::users::Users;

/// What is wrong so far: each setting with what to do about it.
type Problems = Vec<(String, String)>;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl EntraOAuthProxyBuilder {
    /// Checks the settings, opens the [directory](Self::data_directory) if one is set, and makes the
    /// [`EntraOAuthProxy`]. Needs no runtime and asks nobody.
    ///
    /// # Errors
    /// Every problem with the settings at once.
    pub fn build(mut self) -> Result<EntraOAuthProxy, BuildError> {
        let mut problems = Problems::new();
        let urls = self.checked_public_url(&mut problems);
        let resource = self.checked_resource(&mut problems);
        let scope_texts = self.checked_scope_texts(&mut problems);
        let scopes = self.checked_scopes(&mut problems);
        let allow_list = self.checked_allow_list(&mut problems);
        self.check_fixed_clients(&allow_list, &mut problems);
        self.check_lifetimes(&mut problems);
        let trusted_proxies = self.checked_limits(&mut problems);
        if !self.has_credential {
            problems.push((
                "credential".to_owned(),
                "not set; good is Secret::from_env(\"ENTRA_CLIENT_SECRET\")? with a client secret of \
                 the app registration (Certificates & secrets)"
                    .to_owned(),
            ));
        }
        #[cfg(feature = "redb")]
        self.open_data_directory(&mut problems);
        let kept = self.kept();
        let proxy_keys = self.keys.take().unwrap_or_else(ProxyKeys::generate);
        if proxy_keys.is_generated() && self.store.outlives_the_process() {
            problems.push((
                "keys".to_owned(),
                "not set, and the store outlives this process or is shared: what is made under keys \
                 that are made at each start could not be read by the next; good is \
                 ProxyKeys::from_env(\"ENTRA_PROXY_KEYS\")? with keys of: openssl rand -base64 32"
                    .to_owned(),
            ));
        }
        let issuer = urls.as_ref().map_or("", |urls| &*urls.public);
        let keys = Keyring::new(&proxy_keys, issuer).map_err(|_| {
            BuildError::new(vec![(
                "keys".to_owned(),
                "no keys can be made of them".to_owned(),
            )])
        })?;
        let keys = Arc::new(keys);
        let records = Records::new(Arc::clone(&self.store), Arc::clone(&keys));

        let users = Arc::new(Users::new(self.limits.caps()));
        let work = Work::default();
        let issuer = urls.as_ref().map_or("", |urls| &*urls.public);
        let challenges = Arc::new(Challenges::new(
            (issuer, &records, &users),
            Arc::clone(&self.clock),
            work.tracker(),
        ));
        let mut auth = self.auth;
        if let Some(uri) = &self.identifier_uri {
            auth = auth.audience(uri.trim());
        }
        if let (Some(urls), Some(resource), Some(scopes)) = (&urls, &resource, &scopes) {
            let mut published = ProtectedResource::at(&resource.url)
                .scopes(&scopes.required)
                .authorization_server(&urls.public);
            if let Some(name) = &resource.name {
                published = published.name(name);
            }
            let of_grants = records.clone();
            let (issuer, clock) = (urls.public.clone(), Arc::clone(&self.clock));
            let reissued = ReissuedTokens::new(&urls.public, &resource.url, keys.key_set())
                .grant_rule(self.lifetimes.grant_check, move |grant| {
                    let (records, issuer) = (of_grants.clone(), issuer.clone());
                    let now = seconds(clock());
                    async move { records.has_grant(&issuer, &grant, now).await }
                });
            let told = Arc::clone(&challenges);
            let reissued =
                reissued.on_challenge(move |caller, challenge| told.challenged(caller, challenge));
            auth = auth.protected_resource(published).reissued_tokens(reissued);
        }
        // Secrets go where the metadata is.
        let auth = auth.own_endpoints_only().build();
        if let Err(error) = &auth {
            problems.extend(error.problems().map(owned));
        }
        let (Ok(auth), Some(urls), Some(resource), Some(scopes), Some(allow_list), true) = (
            auth,
            urls,
            resource,
            scopes,
            allow_list,
            problems.is_empty(),
        ) else {
            return Err(BuildError::new(problems));
        };

        let client_id = client_id(auth.validators().next());
        let token_endpoint = format!("{}/oauth2/v2.0/token", auth.authority_url());
        let entra = self
            .entra
            .token_endpoint(&token_endpoint)
            .client_id(&client_id)
            .build()
            .map_err(|error| BuildError::new(error.problems().map(owned).collect()))?;
        let required = scopes.required.iter().map(Scope);
        let required = auth.require(all(required)).map_err(|error| {
            BuildError::new(vec![("required_scopes".to_owned(), error.to_string())])
        })?;
        let resource_metadata = auth
            .resource_metadata()
            .map_err(|error| BuildError::new(vec![("resource".to_owned(), error.to_string())]))?;
        let authorize_url = format!("{}/oauth2/v2.0/authorize", auth.authority_url());
        let sign_out_url = sign_out_url(auth.authority_url(), &urls);
        let tenancy = auth
            .validators()
            .next()
            .map(|rules| in_words(rules.authority().tenancy()));
        let engine = Engine {
            entra: Entra {
                origin: origin(&authorize_url),
                authorize_url,
                sign_out_url,
                prompt: self.prompt.map(Prompt::as_str),
                tenancy: tenancy.unwrap_or_default(),
                client_id: client_id.clone(),
            },
            scopes: scopes.of(&client_id, self.identifier_uri.as_deref(), scope_texts),
            urls,
            resource,
            keys,
            clients: Clients {
                fixed: self.fixed_clients,
                registration: self.registration,
            },
            allow_list,
            lifetimes: self.lifetimes,
            skew: clock_skew(&auth),
            process: random_text::<9>(),
            pass_through: self.pass_through,
            log: RefusalLog::default(),
        };
        let refreshes = Refreshes::new(&engine, seconds((self.clock)()));
        announce(&engine, &token_endpoint, &proxy_keys, &kept);
        metrics::describe();
        let inner = Arc::new(Inner {
            documents: Documents::of(&engine),
            engine,
            records,
            entra,
            auth,
            required,
            resource_metadata,
            clock: self.clock,
            gate: Gate::new(&self.limits, trusted_proxies),
            // A flood of strangers pushes others out of it, and gains nothing: Entra takes a
            // code once.
            arrivals: Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(10_000)
                .time_to_live(Duration::from_secs(Lifetimes::SIGN_IN))
                .build(),
            refreshes,
            users,
            challenges,
            work,
        });
        Ok(EntraOAuthProxy { inner })
    }

    /// Where sign-ins and keys are kept, for the log.
    fn kept(&self) -> (String, String) {
        let file = |name: &str| {
            let directory = self.data_directory.as_ref();
            directory.map(|directory| directory.join(name).display().to_string())
        };
        let sign_ins = file("sign-ins.redb").unwrap_or_else(|| match self.has_store {
            true => "in the store that was set".to_owned(),
            false => "in memory, until the end of this process".to_owned(),
        });
        let keys = match (&self.keys, file("keys")) {
            (_, Some(file)) if self.has_kept_keys => file,
            (Some(_), _) => "set".to_owned(),
            (None, _) => "made now, until the end of this process".to_owned(),
        };
        (sign_ins, keys)
    }

    fn checked_public_url(&self, problems: &mut Problems) -> Option<Urls> {
        const EXAMPLES: &str =
            "good are https://mcp.example.com and, for development, http://127.0.0.1:8080";

        let url = checked_url("public_url", self.public_url.as_deref(), EXAMPLES, problems)?;
        let text = url.as_str().trim_end_matches('/');
        Some(Urls {
            public: text.to_owned(),
            origin: url.origin().ascii_serialization(),
            path: url.path().trim_end_matches('/').to_owned(),
            is_https: url.scheme() == "https",
        })
    }

    fn checked_resource(&self, problems: &mut Problems) -> Option<Resource> {
        const EXAMPLES: &str =
            "good are https://mcp.example.com/mcp and, for development, http://127.0.0.1:8080/mcp";

        let parsed = checked_url("resource", self.resource.as_deref(), EXAMPLES, problems)?;
        let url = match parsed.path() {
            "/" => parsed.as_str().trim_end_matches('/').to_owned(),
            _ => parsed.as_str().to_owned(),
        };
        Some(Resource {
            url,
            parsed,
            name: self
                .resource_name
                .clone()
                .filter(|name| !name.trim().is_empty()),
            is_required: self.requires_resource,
            accepts_parents: self.accepts_parents,
        })
    }

    fn checked_scopes(&mut self, problems: &mut Problems) -> Option<CheckedScopes> {
        let before = problems.len();
        let mut of_openid = Vec::new();
        let mut checked = |setting: &str, scopes: &[String]| {
            let mut names: Vec<String> = Vec::new();
            for scope in scopes {
                let scope = scope.trim();
                if is_of_openid(scope) {
                    of_openid.push(scope.to_owned());
                } else if let Some(problem) = scope_problem(scope) {
                    problems.push((setting.to_owned(), problem));
                } else if !names.iter().any(|name| name == scope) {
                    names.push(scope.to_owned());
                }
            }
            names
        };
        let required = checked("required_scopes", &self.required_scopes);
        let mut optional = checked("optional_scopes", &self.optional_scopes);
        optional.retain(|name| !required.contains(name));
        if required.is_empty() && problems.len() == before {
            problems.push((
                "required_scopes".to_owned(),
                "at least one that is not of OpenID Connect: the short name of a scope that the app \
                 registration exposes (Expose an API), such as Mcp.Access"
                    .to_owned(),
            ));
        }
        for scope in &self.additional_scopes {
            let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\".contains(&byte);
            if scope.is_empty() || !scope.bytes().all(is_plain) {
                problems.push((
                    "additional_authorize_scopes".to_owned(),
                    format!(
                        "\"{}\" is no scope such as https://graph.microsoft.com/User.Read",
                        ShownUrl(scope)
                    ),
                ));
            }
        }
        let mut additional = of_openid;
        additional.append(&mut self.additional_scopes);
        (problems.len() == before).then_some(CheckedScopes {
            required,
            optional,
            additional,
        })
    }

    fn checked_scope_texts(&self, problems: &mut Problems) -> BTreeMap<String, String> {
        const MOST: usize = 200;

        let mut texts = BTreeMap::new();
        for (scope, text) in &self.scope_texts {
            let (scope, text) = (scope.trim(), text.trim());
            let mut known = self.required_scopes.iter().chain(&self.optional_scopes);
            let is_known = known.any(|name| name.trim() == scope) && !is_of_openid(scope);
            let is_plain = !text.is_empty() && !text.contains(char::is_control);
            let fault = match () {
                () if !is_known => "is none of required_scopes(..) and optional_scopes(..)",
                () if !is_plain || text.chars().count() > MOST => {
                    "has no text of 1 to 200 characters in one line, such as \"Read your notes\""
                }
                () if texts.contains_key(scope) => "has two texts",
                () => {
                    texts.insert(scope.to_owned(), text.to_owned());
                    continue;
                }
            };
            let text = format!("\"{}\" {fault}", ShownUrl(scope));
            problems.push(("scope_text".to_owned(), text));
        }
        texts
    }

    fn checked_allow_list(&self, problems: &mut Problems) -> Option<AllowList> {
        let list = match &self.allow_list {
            Some(entries) => AllowList::new(entries.iter().map(String::as_str)),
            None => Ok(AllowList::default()),
        };
        let list = list.map_err(|entry| {
            problems.push((
                "redirect_allow_list".to_owned(),
                format!(
                    "\"{}\" is neither an origin, such as https://claude.ai or http://localhost, nor a \
                     URI that could be registered, such as https://claude.ai/api/mcp/auth_callback, nor \
                     the scheme of an application, such as cursor:",
                    ShownUrl(entry)
                ),
            ));
        });
        let schemes = self.private_use_schemes.iter().map(String::as_str);
        let list = list.unwrap_or_default().knows(schemes);
        list.map_err(|entry| {
            problems.push((
                "private_use_schemes".to_owned(),
                format!(
                    "\"{}\" is no scheme of an application's own, such as notes-desk: or com.example.app:",
                    ShownUrl(entry)
                ),
            ));
        })
        .ok()
    }

    fn check_fixed_clients(&self, allow_list: &Option<AllowList>, problems: &mut Problems) {
        let any = AllowList::default();
        let allow_list = allow_list.as_ref().unwrap_or(&any);
        let mut problem = |text: String| problems.push(("fixed_client".to_owned(), text));
        for (index, client) in self.fixed_clients.iter().enumerate() {
            let id = Shown(&client.id);
            let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b':';
            if client.id.is_empty() || client.id.len() > 256 || !client.id.bytes().all(is_plain) {
                problem(format!(
                    "\"{id}\" is no id of 1 to 256 visible characters without a colon"
                ));
            }
            if self.fixed_clients[..index]
                .iter()
                .any(|other| other.id == client.id)
            {
                problem(format!("there are two with the id \"{id}\""));
            }
            if client
                .secret
                .as_ref()
                .is_some_and(|secret| secret.len() < 16)
            {
                problem(format!(
                    "the secret of \"{id}\" has less than 16 characters"
                ));
            }
            if client.redirect_uris.is_empty() {
                problem(format!("\"{id}\" has no redirect_uri(..)"));
            }
            for uri in &client.redirect_uris {
                if let Err(fault) = RedirectUri::parse(uri, allow_list) {
                    let remedy = match RedirectUri::has_unknown_scheme(uri, allow_list) {
                        true => "; private_use_schemes(..) allows it",
                        false => "",
                    };
                    problem(format!(
                        "the redirect URI \"{}\" of \"{id}\" {fault}{remedy}",
                        ShownUrl(uri)
                    ));
                }
            }
        }
        if !self.registration && self.fixed_clients.is_empty() {
            problem(
                "there is none, and clients cannot register themselves: nobody could sign in"
                    .to_owned(),
            );
        }
    }

    fn checked_limits(&self, problems: &mut Problems) -> TrustedProxies {
        let of_limits = self.limits.problems().into_iter();
        problems.extend(of_limits.map(|text| ("limits".to_owned(), text)));
        let (proxies, wrong) = TrustedProxies::parse(&self.trusted_proxies);
        problems.extend(
            wrong
                .into_iter()
                .map(|text| ("trusted_proxies".to_owned(), text)),
        );
        proxies
    }

    fn check_lifetimes(&self, problems: &mut Problems) {
        let lifetimes = &self.lifetimes;
        for (setting, span, least, most) in [
            ("access_token_lifetime", lifetimes.access_token, MINUTE, DAY),
            ("idle_lifetime", lifetimes.idle, HOUR, 90 * DAY),
            ("session_lifetime", lifetimes.session, HOUR, 366 * DAY),
            (
                "rotation_grace",
                lifetimes.grace,
                Duration::ZERO,
                2 * MINUTE,
            ),
            (
                "grant_check_interval",
                lifetimes.grant_check,
                Duration::ZERO,
                5 * MINUTE,
            ),
        ] {
            if span < least || span > most {
                problems.push((
                    setting.to_owned(),
                    format!("{span:?} is not between {least:?} and {most:?}"),
                ));
            }
        }
        for (setting, span) in [
            ("idle_lifetime", lifetimes.idle),
            ("session_lifetime", lifetimes.session),
        ] {
            // A client refreshes when its token ends.
            if span >= HOUR && span < lifetimes.access_token.saturating_add(10 * MINUTE) {
                problems.push((
                    setting.to_owned(),
                    "not longer than access_token_lifetime by 10 minutes: a token would outlive its \
                     sign-in"
                        .to_owned(),
                ));
            }
        }
    }
}

/// Returns the greatest difference between two clocks that the Layer bears, in seconds.
fn clock_skew(auth: &EntraAuth) -> u64 {
    let skews = auth.validators().map(|rules| rules.clock_skew().as_secs());
    skews.max().unwrap_or_default()
}

/// Scopes, before it is known of which application.
struct CheckedScopes {
    required: Vec<String>,
    optional: Vec<String>,
    additional: Vec<String>,
}

impl CheckedScopes {
    fn of(
        self,
        client_id: &str,
        identifier_uri: Option<&str>,
        texts: BTreeMap<String, String>,
    ) -> Scopes {
        let usual_uri = format!("api://{client_id}");
        let uri = identifier_uri.map(|uri| uri.trim().trim_end_matches('/'));
        Scopes {
            required: self.required,
            optional: self.optional,
            additional: self.additional,
            identifier_uri: uri.unwrap_or(&usual_uri).to_owned(),
            usual_uri,
            texts,
        }
    }
}

fn owned((setting, text): (&str, &str)) -> (String, String) {
    (setting.to_owned(), text.to_owned())
}

/// A URL as everybody would write it. What else is to be said of it, the Layer says.
fn checked_url(
    setting: &str,
    text: Option<&str>,
    examples: &str,
    problems: &mut Problems,
) -> Option<Url> {
    let mut problem = |text: String| {
        problems.push((setting.to_owned(), text));
        None
    };
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return problem(format!("not set; {examples}"));
    };
    let shown = ShownUrl(text);
    let Ok(url) = Url::parse(text) else {
        return problem(format!("\"{shown}\" is no URL; {examples}"));
    };
    let is_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let written = url.as_str().trim_end_matches('/');
    let fault = match url.scheme() {
        "https" => None,
        "http" if is_loopback => None,
        "http" => Some("is http, which only this machine's own addresses may be"),
        _ => Some("is not https"),
    };
    let fault = fault.or_else(|| {
        let is_plain = url.username().is_empty() && url.password().is_none();
        match () {
            () if !is_plain => Some("has a user in it"),
            () if url.query().is_some() || url.fragment().is_some() => {
                Some("has a query or a fragment; leave it out")
            }
            () if text.ends_with('/') => Some("ends with a slash; leave it out"),
            () if written != text => Some("is written in another way by browsers"),
            () => None,
        }
    });
    match fault {
        Some(fault) => problem(format!("\"{shown}\" {fault}; {examples}")),
        None => Some(url),
    }
}

fn scope_problem(scope: &str) -> Option<String> {
    let shown = ShownUrl(scope);
    if let Some((_, name)) = scope.rsplit_once('/') {
        return Some(format!(
            "\"{shown}\" has the API in front of it; give its short name, \"{}\"",
            ShownUrl(name)
        ));
    }
    let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\=".contains(&byte);
    let is_good = !scope.is_empty() && scope != ".default" && scope.bytes().all(is_plain);
    (!is_good).then(|| format!("\"{shown}\" is no scope such as Mcp.Access"))
}

fn client_id(rules: Option<&Validator>) -> String {
    let first = rules.and_then(|rules| rules.audiences().next());
    first.map(ToString::to_string).unwrap_or_default()
}

fn origin(url: &str) -> String {
    Url::parse(url)
        .map(|url| url.origin().ascii_serialization())
        .unwrap_or_default()
}

/// Where Entra signs a browser out, and sends it back from
/// (<https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request>).
fn sign_out_url(authority_url: &str, urls: &Urls) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("post_logout_redirect_uri", &urls.signed_out());
    format!("{authority_url}/oauth2/v2.0/logout?{}", query.finish())
}

/// Whose accounts are accepted, for people.
fn in_words(tenancy: &Tenancy) -> String {
    match (tenancy.single(), &*tenancy.path_segment()) {
        (Some(TenantId::CONSUMERS), _) => "with a personal account".to_owned(),
        (Some(tenant), _) => format!("with an account of the organization {tenant}"),
        (None, "common") => "with a work, school or personal account".to_owned(),
        (None, _) => "with a work or school account".to_owned(),
    }
}

fn announce(
    engine: &Engine,
    token_endpoint: &str,
    keys: &ProxyKeys,
    (sign_ins, in_keys): &(String, String),
) {
    tracing::info!(
        issuer = engine.urls.public,
        resource = engine.resource.url,
        redirect_uri = engine.urls.callback(),
        token_endpoint,
        required_scopes = engine.scopes.required.join(" "),
        optional_scopes = engine.scopes.optional.join(" "),
        registration = engine.clients.registration,
        fixed_clients = engine.clients.fixed.len(),
        pass_through = engine.pass_through,
        sign_ins,
        keys = in_keys,
        "clients sign in through this server"
    );
    if keys.is_generated() {
        tracing::warn!(
            "no keys are set, so some were made: at the next start every client registers and every \
             user signs in again, and a second instance would not know them; set data_directory(..), \
             which keeps them, or keys(..), with keys of: openssl rand -base64 32"
        );
    }
}
