//! `entra-dev-tenant`: serves a local tenant and prints how to get its tokens.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;

use entra_dev_tenant::{AppRegistration, DevTenant, TokenBuilder};
use lexopt::prelude::{Long, Short, ValueExt as _};

const USAGE: &str = "\
A local Microsoft Entra ID tenant for tests and first steps.

usage: entra-dev-tenant [--listen ADDRESS] [--url URL] [--tenant ID] [--user NAME]...
                        [--api ID] [--scope NAME]... [--user-role NAME]...
                        [--app-role NAME]... [--role NAME]... [--client ID]
                        [--secret SECRET] [--redirect-uri URI]...
                        [--spa-redirect-uri URI]... [--print-tokens]

  --listen ADDRESS    the address to listen on; default 127.0.0.1:7580
  --url URL           the URL at which clients reach the tenant, such as
                      http://tenant:7580 between containers; default http://ADDRESS
  --tenant ID         the tenant's id
  --user NAME         a user who can sign in; default ada and grace
  --api ID            the client id of the API that the tokens are for
  --scope NAME        a scope that the API exposes; default: any requested scope
  --user-role NAME    an app role of the API that every user has; default: none
  --app-role NAME     an app role of the API that the application has; default
                      Reports.Read.All
  --role NAME         an app role of the API that the users and the application have
  --client ID         the client id of the application that requests tokens; it may be
                      the API's
  --secret SECRET     the application's secret; default dev-secret
  --redirect-uri URI  a redirect URI of the application; default /callback and
                      /auth/callback on any port of http://localhost and http://127.0.0.1
  --spa-redirect-uri URI
                      a redirect URI of the application for a single-page application, which
                      sends PKCE in place of the secret
  --print-tokens      prints two tokens of the first user, one of which has expired, for
                      scripts: each is a line of more than 1,000 characters
  --version           prints the version
";

const REDIRECT_URIS: [&str; 4] = [
    "http://localhost/callback",
    "http://localhost/auth/callback",
    "http://127.0.0.1/callback",
    "http://127.0.0.1/auth/callback",
];

struct Arguments {
    listen: SocketAddr,
    url: Option<String>,
    tenant: Option<String>,
    users: Vec<String>,
    api: String,
    scopes: Vec<String>,
    user_roles: Vec<String>,
    app_roles: Vec<String>,
    client: String,
    secret: String,
    redirect_uris: Vec<String>,
    spa_redirect_uris: Vec<String>,
    prints_tokens: bool,
}

/// A command of the program, parsed from its arguments.
enum Command {
    Serve(Box<Arguments>),
    Help,
    Version,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("entra-dev-tenant: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let arguments = match arguments()? {
        Command::Serve(arguments) => arguments,
        Command::Help => {
            print!("{USAGE}");
            return Ok(());
        }
        Command::Version => {
            println!("entra-dev-tenant {}", env!("CARGO_PKG_VERSION"));
            return Ok(());
        }
    };
    let api = AppRegistration::new(&arguments.api);
    let client = AppRegistration::new(&arguments.client);
    let default = arguments.app_roles.is_empty().then_some("Reports.Read.All");
    let app_roles = texts(&arguments.app_roles).chain(default);
    let client = app_roles.fold(client, AppRegistration::role);
    let client =
        texts(&arguments.spa_redirect_uris).fold(client, AppRegistration::spa_redirect_uri);
    let builder = DevTenant::builder()
        .listen(arguments.listen)
        .api(&arguments.api, texts(&arguments.scopes))
        .web_client(
            &arguments.client,
            &arguments.secret,
            &arguments.redirect_uris,
        )
        .register(texts(&arguments.user_roles).fold(api, AppRegistration::user_role))
        .register(client);
    let builder = match &arguments.users[..] {
        [] => builder,
        users => builder.users(texts(users)),
    };
    let builder = match &arguments.url {
        Some(url) => builder.url(url),
        None => builder,
    };
    let builder = match &arguments.tenant {
        Some(id) => builder.id(id),
        None => builder,
    };
    let tenant = builder.start().await.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => error.to_string(),
        _ => format!("cannot listen on {}: {error}", arguments.listen),
    })?;
    print_addresses(&tenant, &arguments);
    print_token_of_application(&tenant, &arguments);
    print_sign_in(&tenant, &arguments);
    if arguments.prints_tokens {
        print_tokens(&tenant, &arguments);
    }
    println!("Ctrl-C ends it.");

    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn texts(owned: &[String]) -> impl Iterator<Item = &str> {
    owned.iter().map(String::as_str)
}

fn print_addresses(tenant: &DevTenant, arguments: &Arguments) {
    let (id, url, api) = (tenant.id(), tenant.url(), &arguments.api);
    println!(
        "A local Entra tenant. Anyone who can reach it can get a token: for development only."
    );
    println!(
        "It creates new keys at every start: after a restart, old tokens are refused \
         (unknown_key).\n"
    );
    println!("tenant  {id}\nAPI     {api}\n");
    println!("Its discovery document and its keys:\n");
    println!("  {url}/{id}/v2.0/.well-known/openid-configuration");
    println!("  {url}/{id}/discovery/v2.0/keys\n");
    println!("For a service that uses tower-entra-auth:\n");
    println!("  export ENTRA_TENANT_ID={id}");
    println!("  export ENTRA_CLIENT_ID={api}");
    println!("  export ENTRA_METADATA_ENDPOINT={url}\n");
}

/// A shell command that extracts the access token from a response of the token endpoint, without
/// `jq`.
const TAKE_TOKEN: &str = r#"sed 's/.*"access_token":"\([^"]*\).*/\1/'"#;

fn print_token_of_application(tenant: &DevTenant, arguments: &Arguments) {
    let (client, secret, api) = (&arguments.client, &arguments.secret, &arguments.api);
    println!("A token of the application, valid for an hour:\n");
    println!("  TOKEN=$(curl -s {}/token \\", endpoints(tenant));
    println!("    -d grant_type=client_credentials -d client_id={client} \\");
    println!("    -d client_secret={secret} -d scope=api://{api}/.default |");
    println!("    {TAKE_TOKEN})\n");
}

fn print_sign_in(tenant: &DevTenant, arguments: &Arguments) {
    let (client, secret) = (&arguments.client, &arguments.secret);
    let user = user(arguments);
    let picked = encoded(user);
    println!(
        "A token of the user {user}; users sign in at $ENTRA/authorize, where curl picks {user}:\n"
    );
    println!("  ENTRA={}", endpoints(tenant));
    println!("  BACK={}", encoded(&arguments.redirect_uris[0]));
    println!(
        "  SCOPE=openid%20offline_access%20api://{}/{}",
        arguments.api,
        scope(arguments)
    );
    println!("  ASK=\"client_id={client}&response_type=code\"");
    println!("  CODE=$(curl -s -o /dev/null -w '%{{redirect_url}}' -d user={picked} \\");
    println!("    \"$ENTRA/authorize?$ASK&redirect_uri=$BACK&scope=$SCOPE\" |");
    println!("    sed 's/.*code=\\([^&]*\\).*/\\1/')");
    println!("  TOKEN=$(curl -s $ENTRA/token -d grant_type=authorization_code -d code=$CODE \\");
    println!("    -d client_id={client} -d client_secret={secret} \\");
    println!("    -d redirect_uri=$BACK -d scope=$SCOPE |");
    println!("    {TAKE_TOKEN})\n");
    println!("Send it: curl -H \"Authorization: Bearer $TOKEN\" http://…\n");
    println!("Registered redirect URIs (for localhost and 127.0.0.1, any port):\n");
    for uri in &arguments.redirect_uris {
        println!("  {uri}");
    }
    for uri in &arguments.spa_redirect_uris {
        println!("  {uri} (single-page application)");
    }
    println!();
}

fn print_tokens(tenant: &DevTenant, arguments: &Arguments) {
    let (user, scope) = (user(arguments), scope(arguments));
    let token = || {
        let token = tenant.user(user).scope(scope).for_api(&arguments.api);
        texts(&arguments.user_roles).fold(token, TokenBuilder::role)
    };
    println!("# user {user}, scope {scope}\n{}\n", token().mint());
    println!("# the same, expired\n{}\n", token().expired().mint());
}

/// Returns the base URL of `/authorize` and `/token`.
fn endpoints(tenant: &DevTenant) -> String {
    format!("{}/{}/oauth2/v2.0", tenant.url(), tenant.id())
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Returns the user of the printed examples: the first configured one, or `ada`.
fn user(arguments: &Arguments) -> &str {
    arguments.users.first().map_or("ada", |user| user)
}

/// Returns the scope of the printed examples: the first configured one, or `Reports.Read`.
fn scope(arguments: &Arguments) -> &str {
    arguments
        .scopes
        .first()
        .map_or("Reports.Read", |scope| scope)
}

/// Parses the command-line arguments.
fn arguments() -> Result<Command, Box<dyn Error>> {
    let mut arguments = Arguments {
        listen: ([127, 0, 0, 1], 7580).into(),
        url: None,
        tenant: None,
        users: Vec::new(),
        api: "6e74172b-be56-4843-9ff4-e66a39bb12e3".to_owned(),
        scopes: Vec::new(),
        user_roles: Vec::new(),
        app_roles: Vec::new(),
        client: "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b".to_owned(),
        secret: "dev-secret".to_owned(),
        redirect_uris: Vec::new(),
        spa_redirect_uris: Vec::new(),
        prints_tokens: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => {
                arguments.listen = parser.value()?.parse().map_err(
                    |_| "--listen: expected an address and a port, such as 127.0.0.1:7580",
                )?;
            }
            Long("url") => arguments.url = Some(parser.value()?.parse()?),
            Long("tenant") => arguments.tenant = Some(parser.value()?.parse()?),
            Long("user") => arguments.users.push(parser.value()?.parse()?),
            Long("api") => arguments.api = parser.value()?.parse()?,
            Long("scope") => arguments.scopes.push(parser.value()?.parse()?),
            Long("user-role") => arguments.user_roles.push(parser.value()?.parse()?),
            Long("app-role") => arguments.app_roles.push(parser.value()?.parse()?),
            Long("role") => {
                let role: String = parser.value()?.parse()?;
                arguments.user_roles.push(role.clone());
                arguments.app_roles.push(role);
            }
            Long("client") => arguments.client = parser.value()?.parse()?,
            Long("secret") => arguments.secret = parser.value()?.parse()?,
            Long("redirect-uri") => arguments.redirect_uris.push(parser.value()?.parse()?),
            Long("spa-redirect-uri") => {
                arguments.spa_redirect_uris.push(parser.value()?.parse()?);
            }
            Long("print-tokens") => arguments.prints_tokens = true,
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            other => {
                return Err(format!("{}; see --help for all options", other.unexpected()).into());
            }
        }
    }
    if arguments.redirect_uris.is_empty() {
        arguments.redirect_uris = REDIRECT_URIS.map(str::to_owned).to_vec();
    }
    Ok(Command::Serve(Box::new(arguments)))
}
