//! Checks all settings, and builds the proxy from valid ones.

use std::fmt;
use std::sync::Arc;

use entra_http::{BuildError, Problems, is_loopback_host, slip_in};
use tokio_util::task::TaskTracker;
use tower_entra_auth::entra_jwt_core::integration::EscapedUrl;
use tower_entra_auth::{
    Scope, issuer::TrustedIssuer, require::Condition, resource_metadata::ProtectedResource,
};
use url::Url;

use super::{EntraOAuthProxyBuilder, Prompt, Resource};
use crate::endpoints::{Server, Urls, paths_of};
use crate::entra::Entra;
use crate::keys::{Keyring, ProxyKeys};
use crate::limits::RateLimiter;
use crate::oauth::{ClientRegistry, ResourceId, Scopes};
use crate::proxy::EntraOAuthProxy;
use crate::store::{MemoryStore, Records};
use crate::telemetry::describe_metrics;
use crate::tokens::{Grants, Users, keep_challenge, room_for_claims};

impl EntraOAuthProxyBuilder {
    /// Builds the [`EntraOAuthProxy`], after it has checked all settings.
    ///
    /// It also opens the [data directory](Self::data_directory), if one is set. It needs no runtime
    /// and sends no requests.
    ///
    /// # Errors
    /// The error lists every problem with the settings.
    pub fn build(mut self) -> Result<EntraOAuthProxy, BuildError> {
        let mut problems = Problems::new("cannot let clients sign in through Entra");
        let public_url = self.checked_public_url();
        let public_url = problems.take("public_url", public_url);
        let settings = self.one_resource(&mut problems);
        let resource = problems.take("resource", checked_resource(&settings));
        let ([required, optional], texts) = settings.scopes();
        let (scopes, scope_texts) = Scopes::check(
            [required, optional, &self.additional_scopes],
            texts,
            &mut problems,
        );
        self.lifetimes.check(&mut problems);
        let branding = self.branding.take();
        let brand = branding.map(|branding| branding.checked(&mut problems));
        let brand = brand.unwrap_or_default();
        let rate_limiter = RateLimiter::new(&self.limits, &self.trusted_proxies, &mut problems);
        if let Some(problem) = self.problem_of_credential() {
            problems.add("credential", problem);
        }
        #[cfg(feature = "disk-store")]
        self.open_data_directory(&mut problems);
        let places = self.places();
        let store = self.store.take();
        let store = store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let proxy_keys = self.keys.take().unwrap_or_else(ProxyKeys::generate);
        if proxy_keys.is_generated() && store.is_persistent() {
            problems.add(
                "keys",
                "not set, but the store outlives this process or is shared: another process would \
                 generate other keys and could not read the records; set \
                 ProxyKeys::from_env(\"ENTRA_PROXY_KEYS\")?, with a key from: \
                 openssl rand -base64 32",
            );
        }

        let mut auth = self.auth;
        if let Some(uri) = &self.app_id_uri {
            auth = auth.audience(uri.trim());
        }
        let urls = public_url.as_ref().map(Urls::new);
        let issuer = urls.as_ref().map_or("", Urls::issuer);
        let keys = Keyring::new(&proxy_keys, issuer)
            .ok_or_else(|| problems.error_with("keys", "cannot derive keys from them"))?;
        let keys = Arc::new(keys);
        let (preregistered, registration, allowed) = self.clients.parts();
        let preregistered_clients = preregistered.len();
        let clients = ClientRegistry::new(
            (preregistered.to_vec(), registration),
            allowed,
            (Arc::clone(&keys), issuer),
            &mut problems,
        );
        let records = Records::new(store, Arc::clone(&keys));
        let (clock, tasks) = (self.clock, TaskTracker::new());
        let (spans, [rotation_grace, grant_check]) = self.lifetimes.times();
        let caps = self.limits.grant_caps();
        let users = Users::new(records.clone(), clock.clone(), issuer, caps, tasks.clone());
        let users = Arc::new(users);
        if let (Some(urls), Some(resource), Some([required, ..])) = (&urls, &resource, &scopes) {
            let mut published = ProtectedResource::at(resource.url())
                .scopes(required)
                .authorization_server(urls.issuer());
            if let (_, Some(name), _) = settings.identity() {
                published = published.name(name);
            }
            let (of_grant, of_challenge) = (Arc::clone(&users), Arc::clone(&users));
            let reissued =
                TrustedIssuer::oauth_proxy(urls.issuer(), resource.url(), keys.key_set())
                    .grant_rule(grant_check, move |grant| {
                        let users = Arc::clone(&of_grant);
                        async move { users.has_active_grant(&grant).await }
                    })
                    .on_challenge(move |caller, challenge| {
                        keep_challenge(&of_challenge, caller, challenge);
                    });
            auth = auth.protected_resource(published).trust(reissued);
        }
        // The server sends secrets to the host of the metadata, so this must be a host of Entra or
        // loopback.
        let auth = auth
            .own_endpoints(urls.iter().flat_map(paths_of))
            .own_endpoints_only()
            .build_quietly();
        let auth = auth.map_err(|error| problems.append(error)).ok();
        let (
            Some((auth, announcement)),
            Some(urls),
            Some(resource),
            Some(scopes),
            Some(clients),
            Some(rate_limiter),
            true,
        ) = (
            auth,
            urls,
            resource,
            scopes,
            clients,
            rate_limiter,
            problems.is_empty(),
        )
        else {
            return Err(problems.into_error());
        };

        let rules = auth.validators().next();
        let client_id = rules.and_then(|rules| rules.audiences().next());
        let client_id = client_id.map(ToString::to_string).unwrap_or_default();
        let entra = self
            .entra
            .authority(auth.authority_url())
            .client_id(&client_id)
            .build();
        let entra = match entra {
            Ok(entra) => entra,
            Err(error) => {
                problems.append(error);
                return Err(problems.into_error());
            }
        };
        let required = scopes[0].iter().map(Scope);
        let required = auth.require(Condition::all(required));
        let required =
            required.map_err(|error| problems.error_with("resource.required_scopes", error))?;
        let resource_metadata = auth
            .resource_metadata()
            .map_err(|error| problems.error_with("resource", error))?;
        announcement.write();
        tracing::info!(
            issuer = urls.issuer(),
            resource = resource.url(),
            redirect_uri = urls.callback(),
            "clients sign in through this server"
        );
        tracing::debug!(
            token_endpoint = entra.token_endpoint(),
            required_scopes = scopes[0].join(" "),
            optional_scopes = scopes[1].join(" "),
            registration,
            preregistered_clients,
            issues_entra_tokens = self.issues_entra_tokens,
            sign_ins = places[0],
            keys = places[1],
            "settings of the OAuth proxy"
        );
        if proxy_keys.is_generated() {
            tracing::warn!(
                "no keys are set, so this process generated its own: after a restart, and at a \
                 second instance, no client is known, and some fail until their users remove this \
                 server from them and add it again; set data_directory(..), which stores the keys \
                 and the sign-ins, or keys(..), with a key from: openssl rand -base64 32"
            );
        }
        describe_metrics();
        let app_id_uri = self.app_id_uri.as_deref();
        let scopes = Scopes::new(
            scopes,
            scope_texts,
            &client_id,
            app_id_uri,
            self.issues_entra_tokens,
        );
        let scopes = Arc::new(scopes);
        let of = (urls.issuer(), resource.url());
        // Entra's own tokens are passed on unchanged, so there is no limit for them.
        let room = (!self.issues_entra_tokens).then(|| room_for_claims(of));
        let skews = auth.validators().map(|rules| rules.clock_skew().as_secs());
        let skew = skews.max().unwrap_or_default();
        let entra = Arc::new(Entra::new(
            (auth.clone(), entra),
            clock.clone(),
            Arc::clone(&scopes),
            urls.callback(),
            self.prompt.map(Prompt::as_str),
            room,
            self.limits.max_entra_calls(),
        ));
        let grants = Grants::new(
            (records.clone(), Arc::clone(&users), Arc::clone(&keys)),
            (Arc::clone(&entra), Arc::clone(&scopes)),
            (urls.issuer(), resource.url(), !self.issues_entra_tokens),
            (clock.clone(), skew),
            spans,
            (rotation_grace, self.clients.shares_sign_ins()),
        );
        let of_resource = resource.url().to_owned();
        let server = Server::new(
            (urls, brand),
            (resource, scopes, clients),
            (keys, records, clock),
            (auth.clone(), entra, resource_metadata),
            grants,
            (rate_limiter, tasks),
            self.issues_entra_tokens,
        );
        Ok(EntraOAuthProxy::new(
            server,
            users,
            (auth, required, of_resource),
        ))
    }

    /// Sets the store and the keys from the data directory, if one is set.
    #[cfg(feature = "disk-store")]
    fn open_data_directory(&mut self, problems: &mut Problems) {
        const SETTING: &str = "data_directory";

        let Some(directory) = &self.data_directory else {
            return;
        };
        if self.store.is_some() {
            problems.add(SETTING, "store(..) is set too; set only one of them");
            return;
        }
        let opened = super::data_directory::open(directory, &self.clock, self.keys.is_some());
        if let Some((store, keys)) = problems.take(SETTING, opened) {
            self.store = Some(Arc::new(store));
            self.has_kept_keys = keys.is_some();
            self.keys = self.keys.take().or(keys);
        }
    }

    /// Returns the problem with the credential, if there is one.
    ///
    /// Entra's client is built only if all other settings are valid. Without this check, problems
    /// with those settings would hide this problem.
    fn problem_of_credential(&self) -> Option<String> {
        if !self.has_credential {
            return Some(
                "not set; for example Secret::from_env(\"ENTRA_CLIENT_SECRET\")? with a client \
                 secret of the app registration (Certificates & secrets)"
                    .to_owned(),
            );
        }
        // Ignore the other problems: this builder has no authority and no client id yet.
        let error = self.entra.clone().build().err()?;
        let mut problems = error.problems();
        let of_credential = problems.find(|problem| problem.setting() == "credential")?;
        Some(of_credential.text().to_owned())
    }

    /// Returns the places where sign-ins and keys are kept, as text for the log.
    fn places(&self) -> [String; 2] {
        let file = |name: &str| {
            let directory = self.data_directory.as_ref();
            directory.map(|directory| directory.join(name).display().to_string())
        };
        let sign_ins = file("sign-ins.redb").unwrap_or_else(|| match self.store.is_some() {
            true => "in the configured store".to_owned(),
            false => "in memory, until this process ends".to_owned(),
        });
        let keys = match (&self.keys, file("keys")) {
            (_, Some(file)) if self.has_kept_keys => file,
            (Some(_), _) => "set".to_owned(),
            (None, _) => "generated at start, until this process ends".to_owned(),
        };
        [sign_ins, keys]
    }

    fn checked_public_url(&self) -> Result<Url, String> {
        const EXAMPLES: &str =
            "for example https://mcp.example.com or, for development, http://127.0.0.1:8080";

        checked_url(self.public_url.as_deref(), EXAMPLES)
    }

    /// Returns the resource that was set, or an empty one if none was set. Adds a problem if
    /// several were set.
    fn one_resource(&mut self, problems: &mut Problems) -> Resource {
        if let [first, second, ..] = &*self.resources {
            let urls = [first, second].map(|resource| resource.identity().0.trim());
            let [first, second] = urls.map(EscapedUrl);
            let problem = match urls[0] == urls[1] {
                true => format!(
                    "\"{first}\" is set twice: merge both into one Resource::at(..), with the scopes of \
                     both"
                ),
                false => format!(
                    "\"{first}\" and \"{second}\" are set, but one proxy serves only one resource: \
                     build a proxy for each, with its own public_url(..)"
                ),
            };
            problems.add("resource", problem);
        }
        let first = (!self.resources.is_empty()).then(|| self.resources.swap_remove(0));
        first.unwrap_or_else(|| Resource::at(""))
    }
}

fn checked_resource(settings: &Resource) -> Result<ResourceId, String> {
    const EXAMPLES: &str =
        "for example https://mcp.example.com/mcp or, for development, http://127.0.0.1:8080/mcp";

    let (url, name, [is_required, accepts_parents]) = settings.identity();
    let url = checked_url(Some(url), EXAMPLES)?;
    Ok(ResourceId::new(url, name, is_required, accepts_parents))
}

/// Parses a URL: `https`, or `http` on loopback, without a query, and written as browsers write it.
///
/// The Layer checks everything else. The error ends with `examples`.
fn checked_url(text: Option<&str>, examples: &str) -> Result<Url, String> {
    let problem = |text: fmt::Arguments<'_>| Err(format!("{text}; {examples}"));
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return problem(format_args!("not set"));
    };
    let shown = EscapedUrl(text);
    if let Some(slip) = slip_in(text) {
        return problem(format_args!("\"{shown}\" {slip}"));
    }
    let Ok(url) = Url::parse(text) else {
        return problem(format_args!("\"{shown}\" is not a URL"));
    };
    let is_plain = url.username().is_empty() && url.password().is_none();
    let written = url.as_str().trim_end_matches('/');
    let fault = match url.scheme() {
        "http" if !url.host_str().is_some_and(is_loopback_host) => {
            "is http, which is allowed only for loopback addresses"
        }
        "http" | "https" if !is_plain => "has a user name or password; remove it",
        "http" | "https" if url.query().is_some() || url.fragment().is_some() => {
            "has a query or a fragment; remove it"
        }
        "http" | "https" if text.ends_with('/') => "ends with a slash; remove it",
        "http" | "https" if written != text => "is not in the normalized form that browsers use",
        "http" | "https" => return Ok(url),
        _ => "is not https",
    };
    problem(format_args!("\"{shown}\" {fault}"))
}
