//! Refusals of tokens and their remedies: a token is [not valid](InvalidToken), or [permits too
//! little](PermissionDenied).
//!
//! Each refusal has a `kind()` for a `match`, an exact `code()` for logs and metrics, a
//! `public_code()` that the caller may see, and a `remedy()`. The remedy names each [`Setting`] as
//! the program calls it.

/// Defines an opaque refusal and its kinds from one table. A kind without a row does not compile.
macro_rules! refusal {
    (
        $type:ident of $cause:ident,
        $(#[$kind_meta:meta])*
        $kind:ident, named by $setting:ident $(and $app_id_uri:ident)?:
        $(
            $(#[$meta:meta])*
            $variant:ident $({ $($fields:tt)* })? => $code:literal $(, publicly $public:ident)? {
                $(found: $found:expr,)?
                $(expected: $expected:expr,)?
                remedy: $remedy:expr $(,)?
            }
        )*
    ) => {
        $(#[$kind_meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $kind {
            $($(#[$meta])* $variant,)*
        }

        impl $kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the code of this exact kind, which is stable across releases and suits
            /// metrics and log searches.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// Returns the code that the caller may see: the [`code`](Self::code), or one common
            /// code for all faults of key and signature.
            ///
            /// With the exact code of such a fault, an attacker could probe the key set. The exact
            /// code belongs in the log.
            #[must_use]
            pub const fn public_code(self) -> &'static str {
                match self {
                    $(Self::$variant => refusal!(@last $code $(, $public)?),)*
                }
            }
        }

        /// Writes the [`code`](Self::code).
        impl std::fmt::Display for $kind {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.code())
            }
        }

        #[expect(unused_variables, reason = "each method reads only some fields of a row")]
        impl $type {
            /// Returns the kind, for a `match`.
            #[must_use]
            pub fn kind(&self) -> $kind {
                match &*self.0 {
                    $($cause::$variant $({ $($fields)* })? => $kind::$variant,)*
                }
            }

            /// Returns the exact code of the [kind](Self::kind), for logs and metrics.
            #[must_use]
            pub fn code(&self) -> &'static str {
                self.kind().code()
            }

            /// Returns the code that the caller may see.
            #[must_use]
            pub fn public_code(&self) -> &'static str {
                self.kind().public_code()
            }

            /// Returns the token's value that was checked, if it is safe to show.
            ///
            /// The value comes from outside. Escape and cut it, as
            /// [`Escaped`](crate::integration::Escaped) does.
            #[must_use]
            pub fn found(&self) -> Option<std::borrow::Cow<'_, str>> {
                match &*self.0 {
                    $($cause::$variant $({ $($fields)* })? => refusal!(@value $($found)?),)*
                }
            }

            /// Returns the value that would have passed.
            #[must_use]
            pub fn expected(&self) -> Option<std::borrow::Cow<'_, str>> {
                match &*self.0 {
                    $($cause::$variant $({ $($fields)* })? => refusal!(@value $($expected)?),)*
                }
            }

            /// Returns the remedy (what to change, and where), with the given names for the
            /// settings.
            $(
                #[doc = ""]
                #[doc = concat!("`", stringify!($app_id_uri), "` is the API's Application ID URI, which")]
                /// [`Validator::app_id_uri`](crate::Validator::app_id_uri) returns. It is the
                /// prefix of scopes.
            )?
            #[must_use]
            pub fn remedy_with(
                &self,
                $setting: fn($crate::refusal::Setting) -> &'static str,
                $($app_id_uri: &str,)?
            ) -> std::borrow::Cow<'static, str> {
                match &*self.0 {
                    $($cause::$variant $({ $($fields)* })? => ($remedy).into(),)*
                }
            }
        }

        impl From<$cause> for $type {
            fn from(cause: $cause) -> Self {
                Self(Box::new(cause))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{}({}: {self})", stringify!($type), self.code())
            }
        }

        impl std::error::Error for $type {}
    };
    (@value) => { None };
    (@value $value:expr) => { Some(($value).into()) };
    (@last $code:expr) => { $code };
    (@last $code:expr, $public:expr) => { $public };
}

mod invalid_token;
mod permission_denied;
mod sent_instead;
mod setting;
#[cfg(test)]
mod tests;
mod token_fault;

pub use self::invalid_token::{InvalidToken, InvalidTokenKind};
pub(crate) use self::permission_denied::{Lack, ListedGroups};
pub use self::permission_denied::{PermissionDenied, PermissionDeniedKind};
#[doc(hidden)] // for crates such as `tower-entra-auth`
pub use self::sent_instead::SentInstead;
pub use self::setting::Setting;
pub(crate) use self::token_fault::{GraphMark, TokenFault, TokenPart};
