//! The command line, and the [report](report()) that it asks for.

mod report;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anstream::ColorChoice;
use entra_jwt_core::{Cloud, integration::EscapedUrl};
use lexopt::prelude::{Long, Short, Value, ValueExt as _};

pub(crate) use self::report::report;

pub(crate) const USAGE: &str = "\
Explains a Microsoft Entra ID token: which checks it passes, and what to change.

usage: entra-jwt explain [options] [FILE]

The token is read from FILE or from standard input, so that it stays out of the
shell history. The JSON response of a token endpoint is accepted, too.

the API that the token is for (in brackets: the variable with the default)
  --tenant ID               tenant id, several separated by commas, or one of
                            organizations, common, consumers [ENTRA_TENANT_ID]
  --client-id ID            application (client) id of the API [ENTRA_CLIENT_ID]
  --audience URI            a further audience, such as the Application ID URI
  --cloud NAME              public, usgovernment or china [ENTRA_CLOUD]
  --external-id HOST        a tenant of External ID: contoso.ciamlogin.com
  --accept-v1-tokens        accept v1 tokens in addition to v2 tokens
  --allowed-client ID       a client application that may call; others may not
  --allow-roleless-client ID
                            a client that needs neither scope nor role
  --refuse-guests           refuse guests of the tenant
  --refuse-agents           refuse agents, if the token marks them
  --clock-skew SECONDS      default: 300
  --max-token-length BYTES  default: 16384

what the route requires (of several, one is enough: to check all, run it once
for each)
  --scope NAME              --user-role NAME            --app-permission NAME
  --group ID                --not-in-group ID           --claim NAME=VALUE
  --authentication-context ID

the keys; without them the signature is not checked
  --keys FILE               a JWKS document
  --live                    fetch the keys from Entra now
  --metadata-endpoint URL   fetch them from there [ENTRA_METADATA_ENDPOINT]

output
  --json                    write the report for programs
  --show-names              also show the names of the user and the client
  --color WHEN              auto, always or never; NO_COLOR is honoured
  --at SECONDS              check at this time (seconds since 1970), not now

exit status: 0 accepted; 1 refused or not verified; 2 nothing was checked
";

pub(crate) enum Command {
    Explain(Box<Arguments>),
    None,
    Help,
    Version,
}

#[derive(Default)]
pub(crate) struct Arguments {
    tenant: Option<String>,
    client_id: Option<String>,
    audiences: Vec<String>,
    cloud: Option<Cloud>,
    external_id: Option<String>,
    accepts_v1: bool,
    allowed_clients: Vec<String>,
    roleless_clients: Vec<String>,
    refuses_guests: bool,
    pub(crate) refuses_agents: bool,
    clock_skew: Option<Duration>,
    max_token_length: Option<usize>,
    required: Vec<Required>,
    keys: Keys,
    metadata_endpoint: Option<String>,
    pub(crate) json: bool,
    pub(crate) shows_names: bool,
    pub(crate) color: ColorChoice,
    now: Option<SystemTime>,
    /// The file with the token. `None` means standard input.
    token_file: Option<PathBuf>,
}

/// An alternative among the requirements of the route.
enum Required {
    Scope(String),
    UserRole(String),
    AppPermission(String),
    Group(String),
    NotInGroup(String),
    Claim(String, String),
    AuthenticationContext(String),
}

/// The source of the keys.
#[derive(Default)]
enum Keys {
    #[default]
    None,
    File(PathBuf),
    Live,
}

pub(crate) fn read() -> Result<Command, lexopt::Error> {
    // This comes first, before an error could repeat the token.
    if std::env::args_os()
        .skip(1)
        .any(|argument| has_token(&argument))
    {
        return Err(
            "a token belongs in a file or standard input, not on the command line, where the \
             shell's history stores it"
                .into(),
        );
    }
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Value(command)) if command == "explain" => {}
        None => return Ok(Command::None),
        Some(Short('h') | Long("help")) => return Ok(Command::Help),
        Some(Short('V') | Long("version")) => return Ok(Command::Version),
        Some(Value(command)) => {
            let command = command.to_string_lossy();
            let command = EscapedUrl(&command);
            return Err(
                format!("unknown command \"{command}\"; the command is entra-jwt explain").into(),
            );
        }
        Some(other) => return Err(with_hint(&other.unexpected())),
    }

    let mut arguments = Arguments::default();
    while let Some(argument) = parser.next().map_err(|error| with_hint(&error))? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long(name) => {
                let name = name.to_owned();
                option(&mut arguments, &name, &mut parser)?;
            }
            Value(path) if path == "-" => arguments.token_file = None,
            Value(path) if arguments.token_file.is_none() => {
                arguments.token_file = Some(path.into());
            }
            other => return Err(with_hint(&other.unexpected())),
        }
    }
    if arguments.metadata_endpoint.is_some() && !matches!(arguments.keys, Keys::Live) {
        return Err("--metadata-endpoint is for --live: without it no keys are fetched".into());
    }
    Ok(Command::Explain(Box::new(arguments)))
}

fn option(
    arguments: &mut Arguments,
    name: &str,
    parser: &mut lexopt::Parser,
) -> Result<(), lexopt::Error> {
    let mut text = || parser.value()?.string();
    match name {
        "tenant" => arguments.tenant = Some(text()?),
        "client-id" => arguments.client_id = Some(text()?),
        "audience" => arguments.audiences.push(text()?),
        "cloud" => {
            let cloud = text()?.parse();
            arguments.cloud = Some(cloud.map_err(|error| format!("--cloud: {error}"))?);
        }
        "external-id" => arguments.external_id = Some(text()?),
        "accept-v1-tokens" => arguments.accepts_v1 = true,
        "allowed-client" => arguments.allowed_clients.push(text()?),
        "allow-roleless-client" => arguments.roleless_clients.push(text()?),
        "refuse-guests" => arguments.refuses_guests = true,
        "refuse-agents" => arguments.refuses_agents = true,
        "clock-skew" => {
            let seconds = number("--clock-skew", &text()?)?;
            arguments.clock_skew = Some(Duration::from_secs(seconds));
        }
        "max-token-length" => {
            let bytes = number("--max-token-length", &text()?)?;
            arguments.max_token_length = Some(bytes);
        }
        "scope" => arguments.required.push(Required::Scope(text()?)),
        "user-role" => arguments.required.push(Required::UserRole(text()?)),
        "app-permission" => arguments.required.push(Required::AppPermission(text()?)),
        "group" => arguments.required.push(Required::Group(text()?)),
        "not-in-group" => arguments.required.push(Required::NotInGroup(text()?)),
        "claim" => {
            let claim = text()?;
            let (name, value) = claim
                .split_once('=')
                .ok_or("--claim: expected NAME=VALUE")?;
            let required = Required::Claim(name.to_owned(), value.to_owned());
            arguments.required.push(required);
        }
        "authentication-context" => {
            let required = Required::AuthenticationContext(text()?);
            arguments.required.push(required);
        }
        "keys" | "live" if !matches!(arguments.keys, Keys::None) => {
            return Err("name one place for the keys: one --keys FILE, or --live".into());
        }
        "keys" => arguments.keys = Keys::File(parser.value()?.into()),
        "live" => arguments.keys = Keys::Live,
        "metadata-endpoint" => arguments.metadata_endpoint = Some(text()?),
        "json" => arguments.json = true,
        "show-names" => arguments.shows_names = true,
        "color" | "colour" => arguments.color = color(&text()?)?,
        "at" => arguments.now = Some(time(&text()?)?),
        other => return Err(with_hint(&Long(other).unexpected())),
    }
    Ok(())
}

fn color(when: &str) -> Result<ColorChoice, lexopt::Error> {
    match when {
        "auto" => Ok(ColorChoice::Auto),
        "always" => Ok(ColorChoice::Always),
        "never" => Ok(ColorChoice::Never),
        _ => Err("--color: expected auto, always or never".into()),
    }
}

fn number<N: std::str::FromStr>(option: &str, text: &str) -> Result<N, lexopt::Error> {
    text.parse()
        .map_err(|_| format!("{option}: expected a whole number").into())
}

fn time(seconds: &str) -> Result<SystemTime, lexopt::Error> {
    seconds
        .parse()
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or_else(|| "--at: expected seconds since 1970, such as 1767225600".into())
}

/// Returns whether an argument has the beginning of a JWT: `{"` in base64url.
fn has_token(argument: &std::ffi::OsStr) -> bool {
    argument.to_string_lossy().contains("eyJ")
}

fn with_hint(error: &lexopt::Error) -> lexopt::Error {
    const HINT: &str = "entra-jwt --help lists the options";

    // The argument may be the value of an option that the user left out.
    match error {
        lexopt::Error::UnexpectedArgument(value) => {
            let value = value.to_string_lossy();
            format!("unexpected argument \"{}\"; {HINT}", EscapedUrl(&value)).into()
        }
        lexopt::Error::UnexpectedValue { option, .. } => {
            format!("{option} takes no value; {HINT}").into()
        }
        _ => format!("{error}; {HINT}").into(),
    }
}
