//! The leg to Entra and back: what is sent there, and what of the return is believed.

use entra_confidential_client::{TokenError, TokenErrorKind};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_entra_auth::Caller;
use url::form_urlencoded::Serializer;

use crate::endpoints::consent::{Asked, cookie_id};
use crate::engine::{Engine, Lifetimes, Return};
use crate::http::cookies::{self, Cookies, Kind};
use crate::http::response::{Answer, add_cookie, see_other};
use crate::keys::format::{self, Format, Kept, Unread};
use crate::keys::keyring::{Purpose, base64url, from_base64url, hash, is_same, random_text};
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;
use crate::pages::{LATER_VERSION, Obstacle};
use crate::telemetry::log::{RefusalLog, throttled};
use crate::telemetry::spans;
use crate::tokens::user::{NoUser, User};

/// A sign-in that is under way at Entra. It is kept in the cookie of the browser in which the person
/// agreed, encrypted: so nobody else can end it, and nothing is stored.
#[derive(Deserialize, Serialize)]
pub(crate) struct SignIn {
    pub(crate) asked: Asked,
    /// What Entra brings back.
    state: String,
    /// Our own (RFC 7636), independent of the client's.
    pub(crate) verifier: String,
    pub(crate) nonce: String,
    pub(crate) claims: Claims,
    at: u64,
}

impl Kept for SignIn {
    const FORMAT: Format = format::SIGN_IN;
}

/// Which claims request goes along, and whose it is.
#[derive(Deserialize, Serialize)]
pub(crate) enum Claims {
    None,
    /// The client's own.
    // Until version 1 there was a third, of whichever user of the client Entra had demanded it.
    #[serde(alias = "Kept")]
    Asked(String),
    /// Entra's demand with the client's own claims, once it is known in this sign-in who signs in.
    Demanded(String),
}

impl Claims {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Asked(claims) | Self::Demanded(claims) => Some(claims),
        }
    }

    /// Once is enough: what did not help then does not help again.
    pub(crate) fn is_demanded(&self) -> bool {
        matches!(self, Self::Demanded(_))
    }
}

/// How a browser came back from Entra.
pub(crate) struct Arrived {
    pub(crate) sign_in: SignIn,
    pub(crate) to: Return,
    pub(crate) outcome: Result<Returned, OAuthError>,
    /// The cookie has served.
    pub(crate) spent: String,
}

/// What Entra brought.
pub(crate) struct Returned {
    pub(crate) code: String,
    /// Who says that it issued the code (RFC 9207), if anybody does.
    pub(crate) issuer: Option<String>,
}

impl Engine {
    /// Sends the browser in which the person agreed to Entra.
    pub(crate) fn to_entra(
        &self,
        asked: Asked,
        claims: Claims,
        cookies: &Cookies,
        now: u64,
    ) -> Result<Answer, OAuthError> {
        let consent = cookie_id(&asked.cookie).to_owned();
        let sign_in = SignIn {
            asked,
            state: random_text::<24>(),
            verifier: random_text::<48>(),
            nonce: random_text::<24>(),
            claims,
            at: now,
        };
        let sealed = self.keys.seal_versioned(Purpose::SignIn, b"", &sign_in);
        let sealed = sealed
            .map(|sealed| base64url(&sealed))
            .filter(|sealed| sealed.len() <= MOST_COOKIE);
        let sealed = sealed.ok_or_else(|| {
            OAuthError::new(
                Code::InvalidRequest,
                "the request is too long for a browser's cookie",
            )
        })?;
        let mut answer = see_other(&self.authorize_url(&sign_in));
        add_cookie(
            &mut answer,
            &cookies::expire(&self.urls, Kind::Consent, &consent),
        );
        for old in self.superfluous_sign_ins(cookies, sealed.len(), now) {
            add_cookie(
                &mut answer,
                &cookies::expire(&self.urls, Kind::SignIn, &old),
            );
        }
        let id = hash(&sign_in.state);
        add_cookie(
            &mut answer,
            &cookies::set(&self.urls, Kind::SignIn, cookie_id(&id), &sealed),
        );
        Ok(answer)
    }

    /// Never with `resource`, which Entra refuses, and never with a `prompt` of the client's, which
    /// may ask for what only an administrator can give.
    fn authorize_url(&self, sign_in: &SignIn) -> String {
        let mut query = Serializer::new(String::new());
        query
            .append_pair("client_id", &self.entra.client_id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", &self.urls.callback())
            // A form from another site would come without the cookie.
            .append_pair("response_mode", "query")
            .append_pair(
                "scope",
                &self.scopes.to_authorize(&sign_in.asked.names).join(" "),
            )
            .append_pair("state", &sign_in.state)
            .append_pair("nonce", &sign_in.nonce)
            .append_pair("code_challenge", &hash(&sign_in.verifier))
            .append_pair("code_challenge_method", "S256")
            .append_pair("client-request-id", &sign_in.asked.id);
        if let Some(prompt) = self.entra.prompt {
            query.append_pair("prompt", prompt);
        }
        if let Some(claims) = sign_in.claims.text() {
            query.append_pair("claims", claims);
        }
        format!("{}?{}", self.entra.authorize_url, query.finish())
    }

    /// The oldest sign-ins of this browser and those that are over, so that with another one of this
    /// length there are not too many, nor too long ones.
    fn superfluous_sign_ins(&self, cookies: &Cookies, length: usize, now: u64) -> Vec<String> {
        let mut all: Vec<_> = cookies
            .all(&self.urls, Kind::SignIn)
            .map(|(id, value)| {
                let at = match self.opened(value) {
                    Ok(sign_in) => (!is_over(&sign_in, now)).then_some(sign_in.at),
                    // Not this version's to take away.
                    Err(Unread::Later) => Some(now),
                    Err(Unread::Malformed) => None,
                };
                (at, id, value.len())
            })
            .collect();
        // The latest first, those that are over last.
        all.sort_by(|one, other| other.cmp(one));
        let mut left = MOST_COOKIES.saturating_sub(length);
        let mut kept = 1;
        all.retain(|(at, _, length)| {
            let fits = at.is_some() && *length <= left && kept < Kind::SignIn.most();
            if fits {
                left -= length;
                kept += 1;
            }
            !fits
        });
        all.into_iter().map(|(_, id, _)| id.to_owned()).collect()
    }

    fn opened(&self, sealed: &str) -> Result<SignIn, Unread> {
        let sealed = from_base64url(sealed).ok_or(Unread::Malformed)?;
        self.keys.open_versioned(Purpose::SignIn, b"", &sealed)
    }

    /// A browser comes back from Entra: `GET /callback`. The error is for a browser in which no
    /// such sign-in began.
    pub(crate) fn arrived(
        &self,
        query: &str,
        cookies: &Cookies,
        now: u64,
    ) -> Result<Arrived, Obstacle> {
        let stranger = || Obstacle {
            status: StatusCode::FORBIDDEN,
            title: "This sign-in took too long, or began in another browser",
            what_to_do: "Nothing was connected. Go back to the application, connect it again, and finish in \
                the same browser within 15 minutes. If you were not connecting anything, close this page.",
        };
        let params = Params::parse(query).map_err(|_| stranger())?;
        let state = params.one("state").ok().flatten().ok_or_else(stranger)?;
        let id = hash(state);
        let id = cookie_id(&id);
        let sealed = cookies.get(&self.urls, Kind::SignIn, id);
        let sealed = sealed.ok_or_else(stranger)?;
        let sign_in = self.opened(sealed).map_err(|unread| match unread {
            Unread::Malformed => stranger(),
            Unread::Later => LATER_VERSION,
        })?;
        if !is_same(&sign_in.state, state) || is_over(&sign_in, now) {
            return Err(stranger());
        }
        spans::client(&sign_in.asked.client);
        spans::sign_in(&sign_in.asked.id);
        let to = self.return_of(&sign_in.asked).ok_or_else(stranger)?;
        Ok(Arrived {
            outcome: returned(&self.log, &params),
            spent: cookies::expire(&self.urls, Kind::SignIn, id),
            sign_in,
            to,
        })
    }

    /// Who signed in, if the tokens are those of this sign-in.
    pub(crate) fn signed_in(
        &self,
        sign_in: &SignIn,
        returned: &Returned,
        caller: &Caller,
        id_token: Option<&str>,
    ) -> Result<User, OAuthError> {
        let id_token = id_token
            .and_then(payload)
            .ok_or_else(|| mismatch(&self.log, "there is no id token"))?;
        let says = |claim: &str| id_token[claim].as_str();
        let is_ours = says("nonce").is_some_and(|nonce| is_same(nonce, &sign_in.nonce));
        if !is_ours {
            return Err(mismatch(&self.log, "the id token has another nonce"));
        }
        if says("aud") != Some(&*self.entra.client_id) {
            return Err(mismatch(
                &self.log,
                "the id token is for another application",
            ));
        }
        let object = caller.object_id().map(|id| id.to_string());
        let tenant = caller.tenant_id().to_string();
        if says("tid") != Some(&*tenant) || object.is_none() || says("oid") != object.as_deref() {
            return Err(mismatch(
                &self.log,
                "id token and access token are of two users",
            ));
        }
        let is_issuer = |issuer: &String| issuer == caller.issuer() || says("iss") == Some(issuer);
        if !returned.issuer.iter().all(is_issuer) {
            return Err(mismatch(
                &self.log,
                "the code is of another issuer than the tokens",
            ));
        }
        self.user(&sign_in.asked.names, caller)
    }

    /// The user, with the scopes that Entra granted, of those that were asked for.
    pub(crate) fn user(&self, asked: &[String], caller: &Caller) -> Result<User, OAuthError> {
        if !caller.is_delegated() {
            return Err(mismatch(&self.log, "the access token is not a user's"));
        }
        let has = |name: &&String| caller.scopes().any(|scope| scope == **name);
        if let Some(missing) = self.scopes.required.iter().find(|name| !has(name)) {
            throttled!(
                warn,
                self.log,
                ("a scope was not granted", ""),
                scope = %missing,
                "Entra did not grant a required scope; have the API expose it, and an administrator \
                 or the user consent to it (App registrations, API permissions)"
            );
            return Err(OAuthError::new(
                Code::AccessDenied,
                "a scope that is required was not granted",
            ));
        }
        let scopes: Vec<String> = match self.pass_through {
            // The token is Entra's: it has what it has.
            true => caller.scopes().map(str::to_owned).collect(),
            false => asked.iter().filter(has).cloned().collect(),
        };
        let room = self.room_for_claims(&scopes);
        User::of(caller, scopes, room).map_err(|no_user| match no_user {
            NoUser::Nobody => mismatch(&self.log, "the access token does not say whose it is"),
            NoUser::TooLong { claim, bytes } => too_long(&self.log, claim, bytes),
        })
    }
}

/// How long all of them may be together: servers on the way take headers of 8 KiB.
const MOST_COOKIES: usize = 6_000;

/// The longest value of a cookie: browsers keep 4096 bytes with its name and attributes.
const MOST_COOKIE: usize = 3_800;

fn is_over(sign_in: &SignIn, now: u64) -> bool {
    now.saturating_sub(sign_in.at) > Lifetimes::SIGN_IN
}

fn returned(log: &RefusalLog, params: &Params) -> Result<Returned, OAuthError> {
    read_return(log, params)
        .unwrap_or_else(|_| Err(mismatch(log, "the return from Entra is malformed")))
}

/// The outer error is that it cannot be read.
fn read_return(
    log: &RefusalLog,
    params: &Params,
) -> Result<Result<Returned, OAuthError>, OAuthError> {
    if let Some(error) = params.one("error")? {
        let description = params.one("error_description").ok().flatten();
        let subcode = params.one("error_subcode").ok().flatten();
        return Ok(Err(refused_by_entra(log, error, subcode, description)));
    }
    Ok(Ok(Returned {
        code: params.required("code")?.to_owned(),
        issuer: params.one("iss")?.map(str::to_owned),
    }))
}

/// Those with a line of their own in the log
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-codes-for-authorization-endpoint-errors>).
const ERRORS_OF_ENTRA: [&str; 11] = [
    "access_denied",
    "consent_required",
    "interaction_required",
    "invalid_client",
    "invalid_request",
    "invalid_resource",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
];

/// Entra sent the browser back with an error: what the client is told of it, and what the operator.
fn refused_by_entra(
    log: &RefusalLog,
    error: &str,
    subcode: Option<&str>,
    description: Option<&str>,
) -> OAuthError {
    let shown = tower_entra_auth::entra_jwt_core::Shown(error);
    let known = ERRORS_OF_ENTRA.into_iter().find(|known| *known == error);
    // Nothing but the number: the rest names users.
    let number = description.and_then(aadsts).unwrap_or_default();
    let (told, reference) = match (error, subcode) {
        ("access_denied", _) | (_, Some("cancel")) => OAuthError::referring(
            Code::AccessDenied,
            "the user did not sign in or did not agree, or an administrator has to",
        ),
        ("consent_required" | "interaction_required" | "login_required", _) => {
            OAuthError::referring(
                Code::AccessDenied,
                "the user or an administrator has to consent first",
            )
        }
        ("temporarily_unavailable" | "server_error", _) => {
            (OAuthError::unavailable(None), String::new())
        }
        _ => {
            let (told, reference) = misconfigured();
            throttled!(
                error,
                log,
                ("Entra does not take the request", known.unwrap_or_default()),
                error = %shown,
                number,
                reference,
                "Entra does not take the request of this server; compare scopes, client id and \
                 redirect URI with the app registration"
            );
            (told, reference)
        }
    };
    throttled!(
        warn,
        log,
        ("Entra refused a sign-in", known.unwrap_or_default()),
        error = %shown,
        number,
        reference,
        "Entra refused a sign-in; its sign-in log says more"
    );
    told
}

/// The number of Entra's error, at the beginning of its description.
fn aadsts(description: &str) -> Option<String> {
    let digits = description.strip_prefix("AADSTS")?;
    let digits = digits.chars().take_while(char::is_ascii_digit);
    Some(format!("AADSTS{}", digits.take(9).collect::<String>()))
}

/// What a client is told when Entra's token endpoint refuses; what the operator has to know was logged
/// with the request, but for what this is about.
pub(crate) fn refused_tokens(log: &RefusalLog, error: &TokenError) -> OAuthError {
    let denied = |text| OAuthError::referring(Code::AccessDenied, text);
    let (told, reference) = match error.kind() {
        TokenErrorKind::Denied => denied("the user or a policy said no"),
        TokenErrorKind::InteractionRequired | TokenErrorKind::ConsentRequired => {
            denied("Entra demands more of this sign-in")
        }
        TokenErrorKind::InvalidGrant => denied("Entra did not accept this sign-in; begin again"),
        // What does not speak as Entra does stands in between, and goes away again.
        TokenErrorKind::Throttled
        | TokenErrorKind::Unavailable
        | TokenErrorKind::NoAnswer
        | TokenErrorKind::BadAnswer => {
            return OAuthError::unavailable(error.retry_after());
        }
        kind => {
            let (told, reference) = misconfigured();
            throttled!(
                error,
                log,
                ("Entra does not accept this server", kind.as_str()),
                class = kind.as_str(),
                error_codes = error.error_codes(),
                correlation_id = error.correlation_id(),
                remedy = error.remedy(),
                reference,
                "Entra does not accept this server; nobody signs in until that is mended"
            );
            // A file or a function that fails now may be there in a moment.
            if kind == TokenErrorKind::NoCredential {
                return OAuthError::unavailable(None);
            }
            return told;
        }
    };
    throttled!(
        info,
        log,
        ("Entra refused tokens", error.kind().as_str()),
        class = error.kind().as_str(),
        error_codes = error.error_codes(),
        correlation_id = error.correlation_id(),
        reference,
        "Entra refused tokens for a user"
    );
    told
}

/// Never `invalid_client`, whatever Entra says of us: the client would forget its registration.
fn misconfigured() -> (OAuthError, String) {
    OAuthError::referring(
        Code::ServerError,
        "this server and Entra do not agree; the reason is in the server's log",
    )
}

/// What Entra sent is not of this sign-in, or not as it should be.
fn mismatch(log: &RefusalLog, what: &'static str) -> OAuthError {
    let (told, reference) = misconfigured();
    throttled!(
        error,
        log,
        ("the tokens are refused", what),
        what,
        reference,
        "the tokens that Entra sent are refused"
    );
    told
}

/// What Entra says of a user does not fit into a token that the Layer reads.
fn too_long(log: &RefusalLog, claim: &'static str, bytes: usize) -> OAuthError {
    let (told, reference) = OAuthError::referring(
        Code::AccessDenied,
        "this account has more app roles than fit into a token; an administrator has to take some away",
    );
    throttled!(
        warn,
        log,
        ("a token would be too long", claim),
        claim,
        bytes,
        reference,
        "an account has more claims than fit into a token of this server, and is not signed in without \
         them; if it is roles, give it fewer app roles, or app roles with shorter values"
    );
    told
}

/// The claims of an id token. It comes from Entra itself, by TLS, so its signature tells nothing more
/// (OpenID Connect Core §3.1.3.7).
fn payload(id_token: &str) -> Option<Value> {
    serde_json::from_slice(&from_base64url(id_token.split('.').nth(1)?)?).ok()
}
