//! Settings from environment variables.

use std::fmt;
use std::net::SocketAddr;

use tower_entra_auth::{BuildError, EntraAuth, EntraAuthBuilder};

use crate::upstream::Upstream;

/// A valid set of settings.
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: Upstream,
    pub(crate) auth: EntraAuth,
}

impl Settings {
    /// Returns whether any setting of the proxy is given, so that the demonstration is not wanted.
    ///
    /// `AZURE_*` does not count: any developer's environment may contain those variables.
    pub(crate) fn are_given(variable: impl Fn(&str) -> Option<String>) -> bool {
        NAMES.iter().any(|name| variable(name).is_some())
    }

    /// Reads all settings and reports all problems together.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, WrongSettings> {
        // An empty variable counts as unset, as it does for the Layer.
        let given = |name: &str| {
            let value = variable(name)?.trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let listen = listen(given("LISTEN"));
        let upstream = upstream(given("UPSTREAM"));
        let auth = protection(EntraAuth::builder().variables(&variable));
        match (listen, upstream, auth) {
            (Ok(listen), Ok(upstream), Ok(auth)) => Ok(Self {
                listen,
                upstream,
                auth,
            }),
            (listen, upstream, auth) => {
                let mut problems: Vec<String> = [listen.err(), upstream.err()]
                    .into_iter()
                    .flatten()
                    .collect();
                if let Err(error) = auth {
                    problems.extend(error.problems().map(ToString::to_string));
                }
                Err(WrongSettings(problems))
            }
        }
    }
}

/// Builds the `EntraAuth` that every proxy uses.
///
/// It removes the token from requests, so that the upstream cannot act as the caller.
pub(crate) fn protection(settings: EntraAuthBuilder) -> Result<EntraAuth, BuildError> {
    settings.remove_token_header().build()
}

const NAMES: [&str; 6] = [
    "LISTEN",
    "UPSTREAM",
    "ENTRA_TENANT_ID",
    "ENTRA_CLIENT_ID",
    "ENTRA_CLOUD",
    "ENTRA_METADATA_ENDPOINT",
];

fn listen(given: Option<String>) -> Result<SocketAddr, String> {
    let text = given.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let parsed = text.parse();
    parsed.map_err(|_| {
        format!("LISTEN: {text:?} is not an address with a port, such as 0.0.0.0:8080")
    })
}

fn upstream(given: Option<String>) -> Result<Upstream, String> {
    let text = given.ok_or("UPSTREAM: not set; for example http://127.0.0.1:3000")?;
    Upstream::new(&text).map_err(|problem| {
        // The part before `@` may contain a password.
        let shown = text.rsplit('@').next().unwrap_or_default();
        format!("UPSTREAM: {shown:?} {problem}")
    })
}

/// All problems, each with the name of its setting.
pub(crate) struct WrongSettings(Vec<String>);

impl fmt::Display for WrongSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot run this proxy:")?;
        for problem in &self.0 {
            write!(formatter, "\n  - {problem}")?;
        }
        Ok(())
    }
}

/// Writes the same text as `Display`, because `fn main() -> Result<..>` prints errors with `Debug`.
impl fmt::Debug for WrongSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for WrongSettings {}
