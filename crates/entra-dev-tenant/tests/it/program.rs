//! Tests of the program: its output, and the roles in its tokens.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::browser;
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
        "\nIt creates new keys at every start: after a restart, old tokens are refused \
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
        (&["--app-role", "Job", "--role", "Admin"], &["Job", "Admin"]),
        (&["--app-role", "Job", "--user-role", "Admin"], &["Job"]),
        (&["--user-role", "Admin"], &["Reports.Read.All"]),
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
        assert_eq!(token["roles"], json!(roles));
    }
}

#[tokio::test]
async fn users_have_the_roles_that_are_named_for_them_and_none_by_default() {
    for (arguments, roles) in [
        (&[][..], json!(null)),
        (&["--app-role", "Job"], json!(null)),
        (
            &["--user-role", "Editor", "--app-role", "Job"],
            json!(["Editor"]),
        ),
        (
            &["--user-role", "Editor", "--role", "Admin"],
            json!(["Editor", "Admin"]),
        ),
    ] {
        let running = Running::start(&[&["--print-tokens"], arguments].concat());
        let printed = running.1.lines().find(|line| line.starts_with("eyJ"));
        assert_eq!(decoded(printed.unwrap(), 1)["roles"], roles);
        let token = token_of_ada(running.token_endpoint()).await;
        assert_eq!(decoded(&token, 1)["roles"], roles);
    }
}

/// Signs ada in, and returns the access token.
async fn token_of_ada(endpoint: &str) -> String {
    let scope = format!("api://{API}/Reports.Read");
    let redirect = "http://localhost/callback";
    let authorize = endpoint.replace("/token", "/authorize");
    let query =
        format!("client_id={CLIENT}&response_type=code&scope={scope}&redirect_uri={redirect}");
    let signed_in = browser::submit(&format!("{authorize}?{query}"), &[("user", "ada")]).await;
    let code = &browser::parameters(&signed_in.location())["code"];
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("client_secret", "dev-secret"),
        ("code", code),
        ("redirect_uri", redirect),
        ("scope", &scope),
    ];
    let answer = client().post(endpoint).form(&form).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_single_page_is_registered_beside_the_others() {
    const PAGE: &str = "http://127.0.0.1:3000/page";
    let running = Running::start(&["--spa-redirect-uri", PAGE]);
    for line in [
        "\n  http://localhost/callback\n",
        "\n  http://127.0.0.1:3000/page (single-page application)\n",
    ] {
        assert!(running.1.contains(line), "{line} in {}", running.1);
    }
    // Without PKCE it is refused, as only a single page is.
    let authorize = running.token_endpoint().replace("/token", "/authorize");
    let query = format!(
        "client_id={CLIENT}&response_type=code&scope=api://{API}/Reports.Read&redirect_uri={PAGE}"
    );
    let answer = browser::open(&format!("{authorize}?{query}")).await;
    assert_eq!(browser::redirected_refusal(&answer.location()).1, 9_002_325);
}

#[test]
fn the_version_is_printed() {
    let version = format!("entra-dev-tenant {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run("--version"), version);
}
