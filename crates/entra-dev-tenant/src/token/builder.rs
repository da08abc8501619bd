//! What every token has: audience, client, permissions, version, times, and any member at will.

use std::time::Duration;

use serde_json::Value;

use super::{Change, Flaw, Kind, TokenBuilder, Version};
use crate::text::another_tenant;

impl TokenBuilder<'_> {
    /// For the API with this application (client) id: `aud` is the id in v2 tokens and
    /// `api://{id}` in v1 tokens.
    pub fn for_api(mut self, client_id: &str) -> Self {
        self.api = Some(client_id.to_owned());
        self
    }

    /// With this `aud` instead.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Asked for by this client application.
    pub fn client(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.client_id);
        self
    }

    /// With one more scope (`scp`).
    pub fn scope(mut self, name: &str) -> Self {
        self.scopes.push(name.to_owned());
        self
    }

    /// With one more role (`roles`).
    pub fn role(mut self, name: &str) -> Self {
        self.roles.push(name.to_owned());
        self
    }

    /// In the format v1: issuer of `sts.windows.net`, `appid` instead of `azp`. B2C has no other
    /// format than its own, so that its tokens stay as they are.
    pub fn v1(mut self) -> Self {
        if !matches!(self.kind, Kind::B2c { .. }) {
            self.version = Version::V1;
        }
        self
    }

    /// Of another tenant: `tid` and `iss` both name it.
    pub fn of_tenant(mut self, id: &str) -> Self {
        id.clone_into(&mut self.tenant_id);
        self
    }

    /// Expired an hour ago.
    pub fn expired(self) -> Self {
        self.issued_ago(Duration::from_secs(7_500))
            .expires_in(-3_600)
    }

    /// Expires so many seconds from now; negative: ago.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Issued (`iat`, `nbf`) so long ago.
    pub fn issued_ago(mut self, age: Duration) -> Self {
        self.issued_ago = age;
        self
    }

    /// With this claim, whatever the token would have there otherwise.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        let change = Change::Set(name.to_owned(), value.into());
        self.claims.push(change);
        self
    }

    /// Without this claim.
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.push(Change::Remove(name.to_owned()));
        self
    }

    /// With this header member, whatever the token would have there otherwise.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        let change = Change::Set(name.to_owned(), value.into());
        self.header.push(change);
        self
    }

    /// Without this header member.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.push(Change::Remove(name.to_owned()));
        self
    }

    /// With a signature that does not verify.
    pub fn bad_signature(self) -> Self {
        self.flaw(Flaw::BadSignature)
    }

    /// Good in every way but this one, and signed as it should be over what it then is, unless
    /// the flaw is one of the signature.
    ///
    /// It overrides what was said before it, and is overridden by a later
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
}
