//! Tokens of every kind, right and wrong.
//!
//! In the order in which a token meets them: a [`TokenKind`] begins it, the setters of [`TokenBuilder`]
//! say what it has, [`claims`] writes that down, and [`mint`] signs it. Each [`flaw`] spoils it on the
//! way: its claims in [`spoil`], all else in [`mint`].

mod claims;
mod flaw;
mod mint;
mod spoil;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub use self::flaw::Flaw;

use crate::authority::{CONSUMERS, Realm, Version};
use crate::clock::Clock;
use crate::keys::{KeyRing, SigningKey};
use crate::text::{base64url, guid_for, is_guid, random_bytes};

/// All that the tokens of a tenant are made of.
pub(crate) struct Issuer {
    pub(crate) realm: Realm,
    pub(crate) clock: Clock,
    pub(crate) keys: KeyRing,
}

/// A token to be minted; begin with [`DevTenant::user`](crate::DevTenant::user),
/// [`app`](crate::DevTenant::app), [`personal`](crate::DevTenant::personal),
/// [`b2c_token`](crate::DevTenant::b2c_token), [`id_token`](crate::DevTenant::id_token) or
/// [`graph_token`](crate::DevTenant::graph_token).
///
/// # Defaults
/// v2; for the API that [`for_api`](Self::for_api) names; begun five minutes ago and valid for
/// another 59 min 59 s, as Entra's are; no scope, no role, no optional claim, no flaw.
#[must_use = "a token exists only once it is minted"]
pub struct TokenBuilder<'a> {
    issuer: &'a Issuer,
    kind: TokenKind,
    version: Version,
    tenant_id: String,
    client_id: String,
    audience: Option<String>,
    api: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    modifiers: Vec<Modifier>,
    issued_ago: Duration,
    expires_in: i64,
    header: Vec<Change>,
    claims: Vec<Change>,
    flaws: Vec<Flaw>,
}

/// The kinds of tokens, and their subjects.
pub(crate) enum TokenKind {
    User { name: String },
    Personal { name: String },
    B2c { name: String, policy: B2cPolicy },
    App { client_id: String },
    IdToken { name: String },
    Graph { name: String },
}

/// The policy claim and the issuer of a token of Azure AD B2C.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum B2cPolicy {
    /// The policy in `tfp`, and an issuer without it: what B2C does unless it is configured.
    #[default]
    Default,
    /// The policy in `tfp` and in the issuer (`AuthorityWithTfp`).
    Tfp,
    /// The policy in `acr`, as of old, and an issuer without it.
    Acr,
}

/// A change that the caller wants, in the caller's order: the last word counts.
enum Change {
    Set(String, Value),
    Remove(String),
    Spoil(Flaw),
}

/// A claim that Entra writes for some subjects, or when an application asks for it.
enum Modifier {
    Group(String),
    GroupsOverage,
    ImplicitOverage,
    Guest,
    Idtyp,
    WithoutServicePrincipal,
    Agent,
    AgentUser,
    Capability(String),
    AuthenticationContext(String),
    DirectoryRole(String),
    ProofOfPossession,
}

type Members = Map<String, Value>;

/// The keys of a token: two only where it lies about them.
struct TokenKeys {
    /// The one whose `kid` the header has.
    named: Arc<SigningKey>,
    signing: Arc<SigningKey>,
}

impl<'a> TokenBuilder<'a> {
    pub(crate) fn new(issuer: &'a Issuer, kind: TokenKind) -> Self {
        let client_id = match &kind {
            TokenKind::App { client_id } => application_id(client_id),
            _ => guid_for(&["a client application"]),
        };
        let tenant_id = match kind {
            TokenKind::Personal { .. } => CONSUMERS.to_owned(),
            _ => issuer.realm.id.clone(),
        };
        let token = Self {
            issuer,
            version: Version::V2,
            tenant_id,
            client_id,
            audience: None,
            api: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            modifiers: Vec::new(),
            issued_ago: Duration::from_secs(300),
            expires_in: 3_599,
            header: Vec::new(),
            claims: Vec::new(),
            flaws: Vec::new(),
            kind,
        };
        match token.kind {
            TokenKind::Graph { .. } => token
                .v1()
                .audience(&format!("https://{}", issuer.realm.cloud.graph_host()))
                .header("nonce", random_id()),
            _ => token,
        }
    }

    /// Makes the token one for the API with this application (client) id: `aud` is the id in v2 tokens and
    /// `api://{id}` in v1 tokens. Any text is taken, as an audience may be any URI.
    pub fn for_api(mut self, client_id: &str) -> Self {
        self.api = Some(client_id.to_owned());
        self
    }

    /// Sets `aud` to this instead.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Sets the client application that asks for the token: by its application (client) id, or by any
    /// name, as with [`DevTenant::app`](crate::DevTenant::app).
    pub fn client(mut self, client_id: &str) -> Self {
        self.client_id = application_id(client_id);
        self
    }

    /// Adds a scope (`scp`).
    pub fn scope(mut self, name: &str) -> Self {
        self.scopes.push(name.to_owned());
        self
    }

    /// Adds a role (`roles`).
    pub fn role(mut self, name: &str) -> Self {
        self.roles.push(name.to_owned());
        self
    }

    /// Makes the token one in the format v1: issuer of `sts.windows.net`, `appid` instead of `azp`. B2C
    /// has no other format than its own, so that its tokens stay as they are.
    pub fn v1(mut self) -> Self {
        if !matches!(self.kind, TokenKind::B2c { .. }) {
            self.version = Version::V1;
        }
        self
    }

    /// Makes the token one of another tenant: `tid` and `iss` both name it.
    pub fn of_tenant(mut self, id: &str) -> Self {
        id.clone_into(&mut self.tenant_id);
        self
    }

    /// Makes the token one that expired an hour ago.
    pub fn expired(self) -> Self {
        self.issued_ago(Duration::from_secs(7_500))
            .expires_in(-3_600)
    }

    /// Sets the seconds from now until the token expires; if negative, it has expired so long ago.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Sets the time since the token was issued (`iat`, `nbf`).
    pub fn issued_ago(mut self, age: Duration) -> Self {
        self.issued_ago = age;
        self
    }

    /// Sets this claim, whatever the token would have there otherwise.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        let change = Change::Set(name.to_owned(), value.into());
        self.claims.push(change);
        self
    }

    /// Removes this claim.
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.push(Change::Remove(name.to_owned()));
        self
    }

    /// Sets this header member, whatever the token would have there otherwise.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        let change = Change::Set(name.to_owned(), value.into());
        self.header.push(change);
        self
    }

    /// Removes this header member.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.push(Change::Remove(name.to_owned()));
        self
    }

    /// Spoils the signature, so that it does not verify.
    pub fn bad_signature(self) -> Self {
        self.flaw(Flaw::BadSignature)
    }

    /// Spoils the token in this way alone: what it then is, is signed as it should be, unless the flaw
    /// is one of the signature.
    ///
    /// A flaw overrides what was said before it, and is overridden by a later
    /// [`claim`](Self::claim) or [`header`](Self::header). Several flaws add up.
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        match flaw {
            // What follows from the tenant, such as the object id, follows.
            Flaw::AnotherTenant => self.tenant_id = another_tenant(),
            // Only v1 issuers have one.
            Flaw::IssuerSlashRemoved => self = self.v1(),
            _ => {}
        }
        self.header.push(Change::Spoil(flaw));
        self.claims.push(Change::Spoil(flaw));
        self.flaws.push(flaw);
        self
    }

    /// Adds the user to a group: Entra adds its id to `groups`, where the API asks for groups.
    pub fn group(self, id: &str) -> Self {
        self.with(Modifier::Group(id.to_owned()))
    }

    /// Puts the user in more groups than fit (200): instead of `groups` Entra writes `_claim_names`
    /// and `_claim_sources`, whose address is that of the retired Azure AD Graph.
    pub fn groups_overage(self) -> Self {
        self.with(Modifier::GroupsOverage)
    }

    /// Puts the user in more groups than fit into a URL (6), by the implicit flow: instead of
    /// `groups` Entra writes `hasgroups` and no address.
    pub fn implicit_overage(self) -> Self {
        self.with(Modifier::ImplicitOverage)
    }

    /// Makes the user a guest: Entra writes who authenticated the user, another tenant's v1 issuer,
    /// into `idp`. The optional claim `acct` is not written: add `.claim("acct", 1)`.
    pub fn guest(self) -> Self {
        self.with(Modifier::Guest)
    }

    /// Adds the optional claim `idtyp`: `app` in tokens of applications, else `user`, which Entra
    /// writes with the additional property `include_user_token`.
    pub fn with_idtyp(self) -> Self {
        self.with(Modifier::Idtyp)
    }

    /// Leaves the application without a service principal in the tenant: Entra writes no `oid`, no
    /// `roles` and no `scp`.
    pub fn without_service_principal(self) -> Self {
        self.with(Modifier::WithoutServicePrincipal)
    }

    /// Makes the token one of an agent (Entra Agent ID).
    ///
    /// A token of an application becomes that of an agent as itself (facet 11 of actor and subject,
    /// `scp` `/` where no scope is given, relation 7), one of a user that of an agent on behalf of
    /// this user (facet 11 of the actor alone, relation 1). Both have `idtyp` and, in
    /// `xms_par_app_azp`, the agent's blueprint.
    pub fn agent(self) -> Self {
        self.with(Modifier::Agent)
    }

    /// Makes the token one of an agent that is signed in as its own user account, which the token's user
    /// then is: facet 11 of the actor and 13 of the subject, `idtyp` and `xms_par_app_azp`.
    pub fn agent_user(self) -> Self {
        self.with(Modifier::AgentUser)
    }

    /// Adds a capability of the client (`xms_cc`); `cp1`, which says that it understands claims
    /// challenges, is the only one that Entra defines.
    pub fn capability(self, name: &str) -> Self {
        self.with(Modifier::Capability(name.to_owned()))
    }

    /// Adds an authentication context that is satisfied (`acrs`), `c1` to `c99`.
    pub fn authentication_context(self, id: &str) -> Self {
        self.with(Modifier::AuthenticationContext(id.to_owned()))
    }

    /// Gives the subject a directory role: Entra adds its template's id to `wids`, where the API
    /// asks for groups of this kind.
    pub fn directory_role(self, template_id: &str) -> Self {
        self.with(Modifier::DirectoryRole(template_id.to_owned()))
    }

    /// Binds the token to a client certificate: Entra writes its SHA-256 into `cnf`.
    pub fn proof_of_possession(self) -> Self {
        self.with(Modifier::ProofOfPossession)
    }

    fn with(mut self, modifier: Modifier) -> Self {
        self.modifiers.push(modifier);
        self
    }

    fn effective_audience(&self) -> String {
        match (&self.audience, &self.api, &self.kind, self.version) {
            (Some(audience), ..) => audience.clone(),
            (
                None,
                Some(api),
                TokenKind::User { .. } | TokenKind::Personal { .. } | TokenKind::App { .. },
                Version::V1,
            ) => format!("api://{api}"),
            (None, Some(api), ..) => api.clone(),
            (None, None, ..) => self.client_id.clone(),
        }
    }
}

/// Returns the application (client) id, a GUID, of an application that is called by it or by a name.
fn application_id(name: &str) -> String {
    match is_guid(name) {
        true => name.to_owned(),
        false => guid_for(&["application", name]),
    }
}

/// Returns an opaque value of 22 characters, like `uti`.
fn random_id() -> String {
    base64url(&random_bytes::<16>())
}

/// Returns a key id that no key has, in Entra's form of 27 characters.
fn random_key_id() -> String {
    base64url(&random_bytes::<20>())
}

/// Returns a tenant that is neither this one nor that of personal accounts.
fn another_tenant() -> String {
    guid_for(&["another tenant"])
}

/// Returns `cnf` of a token that is bound to a client certificate.
fn confirmation() -> Value {
    json!({ "x5t#S256": base64url(&random_bytes::<32>()) })
}

fn set(members: &mut Members, name: &str, value: impl Into<Value>) {
    members.insert(name.to_owned(), value.into());
}

fn remove(members: &mut Members, names: &[&str]) {
    for name in names {
        members.remove(*name);
    }
}

impl fmt::Debug for TokenBuilder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenBuilder")
            .finish_non_exhaustive()
    }
}
