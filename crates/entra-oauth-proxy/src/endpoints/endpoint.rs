//! The endpoints: their paths, and how each is to be treated.

use crate::limits::Group;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Authorize,
    Consent,
    Callback,
    SignOut,
    SignedOut,
    Token,
    Revoke,
    Register,
    Keys,
    Metadata,
    OpenIdMetadata,
    ResourceMetadata,
}

impl Endpoint {
    /// Those that are under the public URL, by what follows it.
    pub(crate) const NESTED: [(&'static str, Self); 10] = [
        ("/authorize", Self::Authorize),
        ("/consent", Self::Consent),
        ("/callback", Self::Callback),
        ("/sign-out", Self::SignOut),
        ("/signed-out", Self::SignedOut),
        ("/token", Self::Token),
        ("/revoke", Self::Revoke),
        ("/register", Self::Register),
        ("/jwks.json", Self::Keys),
        // Where some look who take the issuer for a directory.
        ("/.well-known/openid-configuration", Self::OpenIdMetadata),
    ];

    /// As `Allow` has them.
    pub(crate) const fn methods(self) -> &'static str {
        match self {
            Self::Authorize | Self::Callback | Self::SignOut | Self::SignedOut => "GET",
            Self::Consent => "POST",
            Self::Token | Self::Revoke | Self::Register => "POST, OPTIONS",
            Self::Keys | Self::Metadata | Self::OpenIdMetadata | Self::ResourceMetadata => {
                "GET, HEAD, OPTIONS"
            }
        }
    }

    /// What operators know it by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Consent => "consent",
            Self::Callback => "callback",
            Self::SignOut => "sign_out",
            Self::SignedOut => "signed_out",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Register => "register",
            Self::Keys => "keys",
            Self::Metadata | Self::OpenIdMetadata => "metadata",
            Self::ResourceMetadata => "resource_metadata",
        }
    }

    /// Whether it says the same to everybody.
    pub(crate) const fn is_document(self) -> bool {
        matches!(
            self,
            Self::Keys | Self::Metadata | Self::OpenIdMetadata | Self::ResourceMetadata
        )
    }

    /// With which others its requests are counted, if they are.
    pub(crate) const fn group(self) -> Option<Group> {
        match self {
            Self::Register => Some(Group::Registration),
            Self::Authorize | Self::Consent | Self::Callback | Self::SignOut | Self::SignedOut => {
                Some(Group::SignIn)
            }
            Self::Token | Self::Revoke => Some(Group::Token),
            Self::Keys | Self::Metadata | Self::OpenIdMetadata | Self::ResourceMetadata => None,
        }
    }

    /// Whether scripts of any origin may use it.
    pub(crate) const fn is_for_scripts(self) -> bool {
        // The metadata of the resource sees to that itself.
        !matches!(
            self,
            Self::Authorize
                | Self::Consent
                | Self::Callback
                | Self::SignOut
                | Self::SignedOut
                | Self::ResourceMetadata
        )
    }
}
