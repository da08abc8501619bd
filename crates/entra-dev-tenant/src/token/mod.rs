//! Tokens of every kind, valid and flawed.
//!
//! A token passes these parts in order. A [`TokenKind`] begins it, the setters of [`TokenBuilder`]
//! describe it, [`claims`] writes its claims, and [`mint`] signs it. A [`flaw`] spoils the claims
//! in [`spoil`], and everything else in [`mint`].

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

/// The realm, clock and keys from which a tenant makes its tokens.
pub(crate) struct Issuer {
    pub(crate) realm: Realm,
    pub(crate) clock: Clock,
    pub(crate) keys: KeyRing,
}

/// A builder of a token that the tenant signs.
///
/// Begin with [`DevTenant::user`](crate::DevTenant::user), [`app`](crate::DevTenant::app),
/// [`personal`](crate::DevTenant::personal), [`b2c_token`](crate::DevTenant::b2c_token),
/// [`id_token`](crate::DevTenant::id_token) or [`graph_token`](crate::DevTenant::graph_token).
///
/// # Defaults
/// The token is v2, and for the API that [`for_api`](Self::for_api) names. It was issued five
/// minutes ago and is valid for another 59 min 59 s, as Entra's tokens are. It has no scope, no
/// role, no optional claim and no flaw.
#[must_use = "the builder creates no token until mint() is called"]
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

/// The kind of a token, and its subject.
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
    /// The policy in `tfp`, and an issuer without it: the default of B2C.
    #[default]
    Default,
    /// The policy in `tfp` and in the issuer (`AuthorityWithTfp`).
    Tfp,
    /// The policy in `acr`, as in old tokens, and an issuer without it.
    Acr,
}

/// A change that the caller asks for. Changes apply in the caller's order, and the last one wins.
enum Change {
    Set(String, Value),
    Remove(String),
    Spoil(Flaw),
}

/// A claim that Entra writes only for some subjects, or only if an application asks for it.
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

/// The keys of a token. They differ only if the token names another key than the one that signs it.
struct TokenKeys {
    /// The key whose `kid` the header has.
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

    /// Sets the API that the token is for, by its application (client) id.
    ///
    /// `aud` is the id in v2 tokens and `api://{id}` in v1 tokens. The method accepts any text,
    /// because an audience may be any URI.
    pub fn for_api(mut self, client_id: &str) -> Self {
        self.api = Some(client_id.to_owned());
        self
    }

    /// Sets `aud` to this text, in place of the audience that [`for_api`](Self::for_api) sets.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Sets the client application that asks for the token.
    ///
    /// It is an application (client) id or any name, as with
    /// [`DevTenant::app`](crate::DevTenant::app).
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

    /// Gives the token the v1 format.
    ///
    /// Its issuer is that of v1, such as `sts.windows.net`, and it has `appid` instead of `azp`.
    /// Tokens of B2C stay as they are, because B2C has only one format.
    pub fn v1(mut self) -> Self {
        if !matches!(self.kind, TokenKind::B2c { .. }) {
            self.version = Version::V1;
        }
        self
    }

    /// Changes the tenant of the token: both `tid` and `iss` name it.
    pub fn of_tenant(mut self, id: &str) -> Self {
        id.clone_into(&mut self.tenant_id);
        self
    }

    /// Sets the token's times so that it expired an hour ago.
    pub fn expired(self) -> Self {
        self.issued_ago(Duration::from_secs(7_500))
            .expires_in(-3_600)
    }

    /// Sets the seconds from now until the token expires.
    ///
    /// If `seconds` is negative, the token expired that long ago.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Sets the time since the token was issued (`iat`, `nbf`).
    pub fn issued_ago(mut self, age: Duration) -> Self {
        self.issued_ago = age;
        self
    }

    /// Sets this claim, in place of the value that the token would have otherwise.
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

    /// Sets this header member, in place of the value that the token would have otherwise.
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

    /// Spoils the token in this one way.
    ///
    /// The signature is right for the spoiled token, unless the flaw is one of the signature. A
    /// flaw overrides earlier settings. A later [`claim`](Self::claim) or [`header`](Self::header)
    /// overrides the flaw. Several flaws add up.
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        match flaw {
            // Values that follow from the tenant, such as the object id, change with it.
            Flaw::AnotherTenant => self.tenant_id = another_tenant(),
            // Apart from B2C, only v1 issuers have this slash.
            Flaw::IssuerSlashRemoved => self = self.v1(),
            _ => {}
        }
        self.header.push(Change::Spoil(flaw));
        self.claims.push(Change::Spoil(flaw));
        self.flaws.push(flaw);
        self
    }

    /// Adds the user to a group.
    ///
    /// Entra adds the group's id to `groups`, if the API asks for groups.
    pub fn group(self, id: &str) -> Self {
        self.with(Modifier::Group(id.to_owned()))
    }

    /// Puts the user in more groups than fit in a token (200).
    ///
    /// Instead of `groups`, Entra writes `_claim_names` and `_claim_sources`, with an address of
    /// the retired Azure AD Graph.
    pub fn groups_overage(self) -> Self {
        self.with(Modifier::GroupsOverage)
    }

    /// Puts the user in more groups than fit in a URL (6), as in the implicit flow.
    ///
    /// Instead of `groups`, Entra writes `hasgroups`, without an address.
    pub fn implicit_overage(self) -> Self {
        self.with(Modifier::ImplicitOverage)
    }

    /// Makes the user a guest.
    ///
    /// Entra writes the v1 issuer of the tenant that authenticated the user, which is another
    /// tenant, into `idp`. The token does not get the optional claim `acct`. To add it, call
    /// `.claim("acct", 1)`.
    pub fn guest(self) -> Self {
        self.with(Modifier::Guest)
    }

    /// Adds the optional claim `idtyp`.
    ///
    /// It is `app` in tokens of applications, and `user` in all others. Entra writes `user` only
    /// with the additional property `include_user_token`.
    pub fn with_idtyp(self) -> Self {
        self.with(Modifier::Idtyp)
    }

    /// Makes the caller an application without a service principal in the tenant.
    ///
    /// Entra then writes no `oid`, no `roles` and no `scp`.
    pub fn without_service_principal(self) -> Self {
        self.with(Modifier::WithoutServicePrincipal)
    }

    /// Makes the caller an agent (Entra Agent ID).
    ///
    /// A token of an application becomes that of an agent that acts as itself. It has facet 11 of
    /// actor and subject, `scp` `/` unless a scope is given, and relation 7.
    ///
    /// A token of a user becomes that of an agent that acts on behalf of this user. It has facet 11
    /// of the actor only, and relation 1.
    ///
    /// Both have `idtyp`, and the agent's blueprint in `xms_par_app_azp`.
    pub fn agent(self) -> Self {
        self.with(Modifier::Agent)
    }

    /// Makes the caller an agent that is signed in with its own user account.
    ///
    /// The token's user is this account. The token has facet 11 of the actor and 13 of the subject,
    /// `idtyp` and `xms_par_app_azp`.
    pub fn agent_user(self) -> Self {
        self.with(Modifier::AgentUser)
    }

    /// Adds a capability of the client (`xms_cc`).
    ///
    /// Entra defines only `cp1`, which says that the client understands claims challenges.
    pub fn capability(self, name: &str) -> Self {
        self.with(Modifier::Capability(name.to_owned()))
    }

    /// Adds a satisfied authentication context (`acrs`), `c1` to `c99`.
    pub fn authentication_context(self, id: &str) -> Self {
        self.with(Modifier::AuthenticationContext(id.to_owned()))
    }

    /// Gives the subject a directory role.
    ///
    /// Entra adds the id of the role's template to `wids`, if the API asks for groups of this kind.
    pub fn directory_role(self, template_id: &str) -> Self {
        self.with(Modifier::DirectoryRole(template_id.to_owned()))
    }

    /// Binds the token to a client certificate, whose SHA-256 Entra writes into `cnf`.
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

/// Returns the application (client) id, a GUID, for an id or for a name.
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

/// Returns the id of a tenant that is neither this one nor that of personal accounts.
fn another_tenant() -> String {
    guid_for(&["another tenant"])
}

/// Returns the `cnf` of a token that is bound to a client certificate.
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
