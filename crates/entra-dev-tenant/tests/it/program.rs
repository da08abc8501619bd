//! Tests of the program: its output, and the roles in its tokens.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{API, CLIENT, client, decoded};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entra-dev-tenant");

/// The running program, and its output.
struct Running(Child, String);

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Self(child, String::new());
        for line in lines.map(Result::unwrap) {
            if line == "Ctrl-C ends it." {
                break;
            }
            running.1.push_str(&line);
            running.1.push('\n');
        }
        running
    }

    /// Returns the URL of the token endpoint, from the printed command that requests a token.
    fn token_endpoint(&self) -> &str {
        let (_, command) = self.1.split_once("TOKEN=$(curl -s ").unwrap();
        command.split_whitespace().next().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(argument: &str) -> String {
    let output = Command::new(PROGRAM).arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_printed_has_at_most_a_hundred_columns_and_no_token() {
    let running = Running::start(&[]);
    for line in running.1.lines().chain(run("--help").lines()) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for part in [
        "\nIts keys are made when it starts: get new tokens then, as old ones are refused \
         (unknown_key).\n",
        "\nA token of the user ada; users sign in at $ENTRA/authorize, where curl picks ada:\n",
    ] {
        assert!(running.1.contains(part), "{part} in {}", running.1);
    }
    assert!(!running.1.contains("eyJ"), "{}", running.1);
}

#[test]
fn tokens_are_printed_for_scripts_that_ask_for_them() {
    let running = Running::start(&["--print-tokens", "--user", "grace", "--role", "Admin"]);
    let mut lines = running.1.lines();
    let mut token_after = |label| {
        lines.find(|line| *line == label).unwrap();
        decoded(lines.next().unwrap(), 1)
    };
    let good = token_after("# user grace, scope Reports.Read");
    let expired = token_after("# the same, expired");
    assert_eq!(
        (&good["name"], &good["roles"][0]),
        (&"grace".into(), &"Admin".into())
    );
    assert!(expired["exp"].as_i64() < good["exp"].as_i64());
}

#[tokio::test]
async fn the_application_has_the_roles_that_are_named_or_one_by_default() {
    for (arguments, roles) in [
        (&[][..], &["Reports.Read.All"][..]),
        (&["--role", "Admin", "--role", "Audit"], &["Admin", "Audit"]),
    ] {
        let running = Running::start(arguments);
        let scope = format!("api://{API}/.default");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", "dev-secret"),
            ("scope", &scope),
        ];
        let endpoint = running.token_endpoint();
        let answer = client().post(endpoint).form(&form).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let token = decoded(answer["access_token"].as_str().unwrap(), 1);
        assert_eq!(token["roles"], serde_json::json!(roles));
    }
}

#[test]
fn the_version_is_printed() {
    let version = format!("entra-dev-tenant {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run("--version"), version);
}
