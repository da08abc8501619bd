//! `entra-dev-tenant`: serves a local tenant and prints tokens to try.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;

use entra_dev_tenant::{AppRegistration, DevTenant};
use lexopt::prelude::{Long, Short, ValueExt as _};

const USAGE: &str = "\
A local Microsoft Entra ID tenant for tests and first steps.

usage: entra-dev-tenant [--listen ADDRESS] [--url URL] [--tenant ID] [--user NAME]...
                        [--api ID] [--scope NAME]...
                        [--client ID] [--secret SECRET] [--redirect-uri URI]...

  --listen ADDRESS    where to serve; default 127.0.0.1:7580
  --url URL           by which others reach it, such as http://tenant:7580 between containers;
                      default http://ADDRESS
  --tenant ID         the tenant's id
  --user NAME         who can sign in; default ada and grace
  --api ID            the client id of the API that the printed tokens are for
  --scope NAME        a scope that the API exposes; default: any that is asked for
  --client ID         the client id of the application that asks for tokens; it may be the API's
  --secret SECRET     its secret; default dev-secret
  --redirect-uri URI  where its users come back to; default /callback and /auth/callback on any
                      port of http://localhost and http://127.0.0.1
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
    client: String,
    secret: String,
    redirect_uris: Vec<String>,
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
    let Some(arguments) = arguments()? else {
        print!("{USAGE}");
        return Ok(());
    };
    let builder = DevTenant::builder()
        .listen(arguments.listen)
        .api(&arguments.api, texts(&arguments.scopes))
        .web_client(
            &arguments.client,
            &arguments.secret,
            texts(&arguments.redirect_uris),
        )
        .register(AppRegistration::new(&arguments.client).role("Reports.Read.All"));
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
    print_sign_in(&tenant, &arguments);
    print_tokens(&tenant, &arguments);
    println!("Ctrl-C ends it.");

    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn texts(owned: &[String]) -> impl Iterator<Item = &str> {
    owned.iter().map(String::as_str)
}

fn print_addresses(tenant: &DevTenant, arguments: &Arguments) {
    let (id, url, api) = (tenant.id(), tenant.url(), &arguments.api);
    let (client, secret) = (&arguments.client, &arguments.secret);
    println!(
        "A local Entra tenant. Everybody who reaches it can have a token: development only.\n"
    );
    println!("tenant     {id}");
    println!("discovery  {url}/{id}/v2.0/.well-known/openid-configuration");
    println!("keys       {url}/{id}/discovery/v2.0/keys");
    println!("API        {api}\n");
    println!("For a service that uses tower-entra-auth:\n");
    println!("  export ENTRA_TENANT_ID={id}");
    println!("  export ENTRA_CLIENT_ID={api}");
    println!("  export ENTRA_METADATA_ENDPOINT={url}\n");
    println!("A token of the application {client}, as often as you like:\n");
    println!("  curl -s {url}/{id}/oauth2/v2.0/token -d grant_type=client_credentials \\");
    println!("    -d client_id={client} -d client_secret={secret} \\");
    println!("    -d scope=api://{api}/.default\n");
}

fn print_sign_in(tenant: &DevTenant, arguments: &Arguments) {
    let endpoints = format!("{}/{}/oauth2/v2.0", tenant.url(), tenant.id());
    let (client, secret) = (&arguments.client, &arguments.secret);
    let api = format!("api://{}/{}", arguments.api, scope(arguments));
    let redirect_uri = &arguments.redirect_uris[0];
    let encoded: String = form_urlencoded::byte_serialize(redirect_uri.as_bytes()).collect();
    println!("A user signs in on this page; without a browser, curl picks ada there and prints");
    println!("where she is sent, with the code:\n");
    println!(
        "  curl -s -o /dev/null -w '%{{redirect_url}}\\n' -d user=ada '{endpoints}/authorize\
         ?client_id={client}&response_type=code&redirect_uri={encoded}\
         &scope=openid%20offline_access%20{api}'\n"
    );
    println!("Tokens for that code:\n");
    println!("  curl -s {endpoints}/token -d grant_type=authorization_code -d code=CODE \\");
    println!("    -d client_id={client} -d client_secret={secret} \\");
    println!("    -d redirect_uri={encoded} \\");
    println!("    -d 'scope=openid offline_access {api}'\n");
    println!("Redirect URIs that are registered (of localhost and 127.0.0.1 with any port):\n");
    for uri in &arguments.redirect_uris {
        println!("  {uri}");
    }
    println!();
}

fn print_tokens(tenant: &DevTenant, arguments: &Arguments) {
    println!("Tokens for an hour:\n");
    let scope = scope(arguments);
    let user = || tenant.user("ada").scope(scope).for_api(&arguments.api);
    for (label, token) in [
        (format!("user ada, scope {scope}"), user().mint()),
        ("the same, expired".to_owned(), user().expired().mint()),
    ] {
        println!("# {label}\n{token}\n");
    }
}

/// Returns the scope to try.
fn scope(arguments: &Arguments) -> &str {
    arguments
        .scopes
        .first()
        .map_or("Reports.Read", |scope| scope)
}

/// Reads the arguments; `None` where only the usage is asked for.
fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut arguments = Arguments {
        listen: ([127, 0, 0, 1], 7580).into(),
        url: None,
        tenant: None,
        users: Vec::new(),
        api: "6e74172b-be56-4843-9ff4-e66a39bb12e3".to_owned(),
        scopes: Vec::new(),
        client: "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b".to_owned(),
        secret: "dev-secret".to_owned(),
        redirect_uris: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => {
                arguments.listen = parser.value()?.parse().map_err(
                    |_| "--listen: an address and a port are expected, such as 127.0.0.1:7580",
                )?;
            }
            Long("url") => arguments.url = Some(parser.value()?.parse()?),
            Long("tenant") => arguments.tenant = Some(parser.value()?.parse()?),
            Long("user") => arguments.users.push(parser.value()?.parse()?),
            Long("api") => arguments.api = parser.value()?.parse()?,
            Long("scope") => arguments.scopes.push(parser.value()?.parse()?),
            Long("client") => arguments.client = parser.value()?.parse()?,
            Long("secret") => arguments.secret = parser.value()?.parse()?,
            Long("redirect-uri") => arguments.redirect_uris.push(parser.value()?.parse()?),
            Short('h') | Long("help") => return Ok(None),
            other => {
                return Err(format!("{}; --help shows those there are", other.unexpected()).into());
            }
        }
    }
    if arguments.redirect_uris.is_empty() {
        arguments.redirect_uris = REDIRECT_URIS.map(str::to_owned).to_vec();
    }
    Ok(Some(arguments))
}
