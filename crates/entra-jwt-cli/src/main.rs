//! `entra-jwt`: explains a token of Microsoft Entra ID.
//!
//! | module | task |
//! |---|---|
//! | `arguments` | Turns the command line into settings of the Layer, and these into a report about the token. |
//! | `input`, `pasted` | Read the keys and the token, and find the token in pasted text. |
//! | `claims` | Reads the facts that the token states about itself, for people, and finds the fix. |
//! | `text`, `json` | Write the report, for people or for programs. |

mod arguments;
mod claims;
mod input;
mod json;
mod pasted;
mod text;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anstream::AutoStream;
use entra_jwt_core::explain::{Report, Verdict};

use crate::arguments::{Arguments, Command, USAGE, report};

/// Exit codes on which programs may rely: accepted, not accepted, and nothing judged.
const ACCEPTED: u8 = 0;
const NOT_ACCEPTED: u8 = 1;
const NOT_JUDGED: u8 = 2;

/// The printed text about the optional claims by which agents are recognized.
const AGENTS: &str = r#"
agents are recognized by claims that Entra emits only if the API's manifest has
  "optionalClaims": { "accessToken": [
    { "name": "xms_par_app_azp" }, { "name": "xms_act_fct" },
    { "name": "xms_sub_fct" }, { "name": "idtyp" }
  ] }
"#;

fn main() -> ExitCode {
    let status = match arguments::read() {
        Ok(Command::Explain(arguments)) => explain(&arguments),
        Ok(Command::None) => {
            eprint!("{USAGE}");
            Ok(NOT_JUDGED)
        }
        Ok(Command::Help) => print(USAGE).map(|()| ACCEPTED),
        Ok(Command::Version) => {
            print(&format!("entra-jwt {}\n", env!("CARGO_PKG_VERSION"))).map(|()| ACCEPTED)
        }
        Err(error) => Err(error.into()),
    };
    ExitCode::from(status.unwrap_or_else(|error| {
        eprint!("{}", text::wrapped(&format!("entra-jwt: {error}")));
        NOT_JUDGED
    }))
}

fn explain(arguments: &Arguments) -> Result<u8, Box<dyn Error>> {
    let (token, notes, report) = report(arguments)?;
    let facts = claims::facts(&report, &token, arguments.shows_names);
    let fix = claims::fix(&report, &token);
    if arguments.json {
        print(&json::of(&report, fix.as_deref(), &facts, &notes)?)?;
    } else {
        let mut text = text::of(&report, fix.as_deref(), &facts, &notes);
        let is_of_agent = facts.iter().any(|fact| fact.name == "marked_by");
        if arguments.refuses_agents && !is_of_agent {
            text.push_str(AGENTS);
        }
        write(AutoStream::new(io::stdout(), arguments.color), &text)?;
    }
    Ok(status_of(&report))
}

fn status_of(report: &Report) -> u8 {
    match report.verdict() {
        Verdict::Accepted => ACCEPTED,
        _ => NOT_ACCEPTED,
    }
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    Ok(write(io::stdout(), text)?)
}

/// Writes the text. A reader that stops early, as in `entra-jwt … | head -1`, is no error.
fn write(mut output: impl Write, text: &str) -> io::Result<()> {
    match output.write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
