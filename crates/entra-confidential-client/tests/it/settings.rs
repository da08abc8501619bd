//! Tests of wrong settings, and of settings from the environment.

use std::process::Command;
use std::time::Duration;

use entra_confidential_client::{
    ConfidentialClient, ConfidentialClientBuilder, FederatedAssertion, Problem, Secret,
};

use crate::support::{AUTHORITY, CLIENT, ENDPOINT, Script};

fn problem_with(settings: ConfidentialClientBuilder) -> (String, String) {
    let error = settings.build().unwrap_err();
    let problems: Vec<_> = error.problems().collect();
    let [problem] = problems[..] else {
        panic!("one problem: {error}");
    };
    (problem.setting().to_owned(), problem.text().to_owned())
}

#[test]
fn all_problems_are_told_at_once_with_what_would_be_good() {
    let error = ConfidentialClient::builder()
        .authority("http://login.microsoftonline.com/t")
        .credential(Secret::new(""))
        .timeout(Duration::ZERO)
        .http_client(Script::default())
        .build()
        .unwrap_err();
    let expected = "cannot get tokens from Entra:\
        \n  - authority: the URL \"http://login.microsoftonline.com/t\" uses http, which only \
        loopback addresses may use; for example https://login.microsoftonline.com/<tenant id>\
        \n  - client_id: not set; copy \"Application (client) ID\" from the app registration's \
        Overview page\
        \n  - credential: the secret is empty; set the Value of a client secret from the app \
        registration's Certificates & secrets page\
        \n  - timeout: 0ns is out of range; set more than 0 and at most 5 min, such as 10 s";
    assert_eq!(error.to_string(), expected);
    assert_eq!(format!("{error:?}"), expected);

    let error = ConfidentialClient::builder().build().unwrap_err();
    let missing: Vec<_> = error.problems().map(Problem::setting).collect();
    assert_eq!(missing[..3], ["authority", "client_id", "credential"]);
    // Without the feature `reqwest`, a client must be set.
    let others: &[&str] = if cfg!(feature = "reqwest") {
        &[]
    } else {
        &["http_client"]
    };
    assert_eq!(missing[3..], *others);
}

#[test]
fn each_wrong_setting_is_named() {
    let script = Script::default();
    let good = || script.settings(Secret::new("secret"));
    assert!(good().build().is_ok());
    for (settings, setting, text) in [
        (
            good().client_id("reports"),
            "client_id",
            "\"reports\" is not a GUID",
        ),
        (
            good().client_id(format!("{{{CLIENT}}}")),
            "client_id",
            "has braces around it; remove them",
        ),
        (
            good().client_id(format!("\"{CLIENT}\"")),
            "client_id",
            "has quotes in it, which an environment file keeps; remove them",
        ),
        (
            good().authority(format!("'{AUTHORITY}'")),
            "authority",
            "has quotes in it, which an environment file keeps; remove them",
        ),
        (
            good().client_id(CLIENT.replace('-', "")),
            "client_id",
            "not a GUID",
        ),
        (good().client_id(" "), "client_id", "not set"),
        (
            good().authority(format!("{AUTHORITY}?secret=x")),
            "authority",
            "query",
        ),
        (
            good().timeout(Duration::from_secs(301)),
            "timeout",
            "at most 5 min",
        ),
    ] {
        let (found, why) = problem_with(settings);
        assert_eq!(found, setting);
        assert!(why.contains(text) && !why.contains("secret"), "{why}");
    }
}

#[test]
fn a_secret_that_is_a_guid_is_the_id_of_one() {
    let script = Script::default();
    let secret_id = "0f9c1f4e-6f0b-4d2e-9b0a-0d3f5f7a1c2b";
    for secret in [secret_id.to_owned(), secret_id.to_uppercase()] {
        let (setting, text) = problem_with(script.settings(Secret::new(&secret)));
        assert_eq!(setting, "credential");
        assert_eq!(
            text,
            "the secret is a GUID; configure the Value of a client secret, not its Secret ID; the \
             secret must belong to the app registration with this client id"
        );
    }
    for secret in [secret_id.replace('-', ""), format!("{secret_id}~")] {
        assert!(script.settings(Secret::new(secret)).build().is_ok());
    }
}

#[test]
fn a_secret_in_quotes_is_said_without_the_secret() {
    let script = Script::default();
    for secret in ["\"s3cr3t~s3cr3t\"", "'s3cr3t~s3cr3t'"] {
        let (setting, text) = problem_with(script.settings(Secret::new(secret)));
        assert_eq!(
            (&*setting, &*text),
            (
                "credential",
                "the secret is in quotes, which an environment file keeps; remove them"
            )
        );
    }
    let within = Secret::new("s3\"cr3t");
    assert!(script.settings(within).build().is_ok());
}

#[test]
fn settings_are_cloned_for_several_clients() {
    const OTHER: &str = "0f9c1f4e-6f0b-4d2e-9b0a-0d3f5f7a1c2b";
    let settings = Script::default().settings(Secret::new("secret"));
    let other = settings.clone().client_id(OTHER).build().unwrap();
    assert_eq!(other.client_id(), OTHER);
    assert_eq!(settings.build().unwrap().client_id(), CLIENT);
}

#[test]
fn a_client_id_is_taken_in_any_case_and_sent_in_lower() {
    let script = Script::default();
    let settings = script.settings(Secret::new("secret"));
    let settings = settings.client_id(format!(" {} ", CLIENT.to_uppercase()));
    let entra = settings.build().unwrap();
    assert_eq!(
        (entra.client_id(), entra.token_endpoint()),
        (CLIENT, ENDPOINT)
    );
}

#[test]
fn an_authority_is_told_as_it_should_be() {
    let example = "for example https://login.microsoftonline.com/<tenant id>";
    let error = ConfidentialClient::builder().build().unwrap_err();
    let problem = error.problems().next().unwrap();
    let expected = format!("authority: not set; {example}");
    assert_eq!(problem.to_string(), expected);

    let script = Script::default();
    let good = || script.settings(Secret::new("secret"));
    for url in [
        ENDPOINT.to_owned(),
        format!("{AUTHORITY}/v2.0"),
        format!("{AUTHORITY}/v2.0/.well-known/openid-configuration"),
    ] {
        let expected =
            format!("the URL {url:?} has more than the tenant in its path; set {AUTHORITY}");
        assert_eq!(
            problem_with(good().authority(url)),
            ("authority".to_owned(), expected)
        );
    }
    let expected =
        format!("the URL \"https://login.microsoftonline.com/\" names no tenant; {example}");
    assert_eq!(
        problem_with(good().authority("https://login.microsoftonline.com/")),
        ("authority".to_owned(), expected)
    );

    let with_slash = good().authority(format!("{AUTHORITY}/")).build().unwrap();
    assert_eq!(
        (with_slash.authority(), with_slash.token_endpoint()),
        (AUTHORITY, ENDPOINT)
    );
}

#[test]
fn the_client_is_a_handle_for_every_task() {
    fn assert<T: Clone + Send + Sync + 'static>(_: &T) {}
    let entra = Script::default().client();
    assert(&entra);
    let future = entra.send(crate::support::refresh());
    assert!(size_of_val(&future) < 512, "{}", size_of_val(&future));
}

/// Runs an ignored test in a process of its own, because environment variables belong to the whole
/// process.
fn child(test: &str, variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([
            &format!("settings::{test}"),
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env_remove("AZURE_FEDERATED_TOKEN_FILE")
        .env_remove("ENTRA_CLIENT_SECRET")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_environment_has_the_secret_and_the_place_of_the_federated_token() {
    let child = |variables: &[_]| child("child_that_reads_the_environment", variables);
    let none = child(&[]);
    assert!(none.contains("ENTRA_CLIENT_SECRET: not set"), "{none}");
    assert!(
        none.contains("AZURE_FEDERATED_TOKEN_FILE: not set"),
        "{none}"
    );
    let empty = child(&[
        ("ENTRA_CLIENT_SECRET", " "),
        ("AZURE_FEDERATED_TOKEN_FILE", ""),
    ]);
    assert!(empty.contains("ENTRA_CLIENT_SECRET: empty"), "{empty}");
    assert!(
        empty.contains("AZURE_FEDERATED_TOKEN_FILE: not set"),
        "{empty}"
    );
    let both = child(&[
        ("ENTRA_CLIENT_SECRET", "secret\n"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/token"),
    ]);
    assert!(both.contains("<secret>"), "{both}");
    assert!(
        both.contains("FederatedAssertion(\"/var/token\")"),
        "{both}"
    );
}

#[test]
#[ignore = "a child process of another test"]
fn child_that_reads_the_environment() {
    match Secret::from_env("ENTRA_CLIENT_SECRET") {
        Ok(secret) => println!("<{}>", secret.expose_secret()),
        Err(error) => println!("{error:?}"),
    }
    match FederatedAssertion::from_env() {
        Ok(assertion) => println!("{assertion:?}"),
        Err(error) => println!("{error}"),
    }
}

/// URLs that contain a secret.
const WITH_SECRETS: [&str; 4] = [
    "https://user:hunter2@host.example/",
    "https://user:hunter2%40host.example/",
    "https://host.example/cb?sig=hunter2",
    "https://host.example/cb#hunter2",
];

#[test]
fn nothing_secret_in_a_url_is_printed() {
    let script = Script::default();
    let good = || script.settings(Secret::new("secret"));
    for url in WITH_SECRETS {
        let path = format!("{url}/oauth2/v2.0/token");
        for settings in [
            good().authority(url),
            good().authority(path),
            good().client_id(url),
        ] {
            let printed = format!("{settings:?}");
            assert!(!printed.contains("hunter2"), "{printed}");
            let error = settings.build().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
