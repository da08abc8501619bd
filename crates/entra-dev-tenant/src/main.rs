//! `entra-dev-tenant`: serves a local tenant and prints tokens to try.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;

use entra_dev_tenant::DevTenant;
use lexopt::prelude::{Long, Short, ValueExt as _};

const USAGE: &str = "\
A local Microsoft Entra ID tenant for tests and first steps.

usage: entra-dev-tenant [--listen ADDRESS] [--url URL] [--tenant ID] [--api ID]

  --listen ADDRESS   where to serve; default 127.0.0.1:7580
  --url URL          by which others reach it, such as http://tenant:7580 between containers;
                     default http://ADDRESS
  --tenant ID        the tenant's id
  --api ID           the client id of the API that the printed tokens are for
";

const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
const SECRET: &str = "dev-secret";

struct Arguments {
    listen: SocketAddr,
    url: Option<String>,
    tenant: Option<String>,
    api: String,
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
    let api = arguments.api;
    let mut builder =
        DevTenant::builder()
            .listen(arguments.listen)
            .client(CLIENT, SECRET, ["Reports.Read.All"]);
    if let Some(url) = arguments.url {
        builder = builder.url(&url);
    }
    if let Some(id) = arguments.tenant {
        builder = builder.id(&id);
    }
    let tenant = builder.start().await.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => error.to_string(),
        _ => format!("cannot listen on {}: {error}", arguments.listen),
    })?;
    let (id, url) = (tenant.id(), tenant.url());

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
    println!("A token of the application {CLIENT}, as often as you like:\n");
    println!("  curl -s {url}/{id}/oauth2/v2.0/token -d grant_type=client_credentials \\");
    println!("    -d client_id={CLIENT} -d client_secret={SECRET} \\");
    println!("    -d scope=api://{api}/.default\n");
    println!("Tokens for an hour:\n");
    let user = tenant.user("ada").scope("Reports.Read").for_api(&api);
    let expired = tenant.user("ada").scope("Reports.Read").for_api(&api);
    for (label, token) in [
        ("user ada, scope Reports.Read", user.mint()),
        ("the same, expired", expired.expired().mint()),
    ] {
        println!("# {label}\n{token}\n");
    }
    println!("Ctrl-C ends it.");

    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// `None` where only the usage is asked for.
fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut arguments = Arguments {
        listen: ([127, 0, 0, 1], 7580).into(),
        url: None,
        tenant: None,
        api: "6e74172b-be56-4843-9ff4-e66a39bb12e3".to_owned(),
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
            Long("api") => arguments.api = parser.value()?.parse()?,
            Short('h') | Long("help") => return Ok(None),
            other => {
                return Err(format!("{}; --help shows those there are", other.unexpected()).into());
            }
        }
    }
    Ok(Some(arguments))
}
