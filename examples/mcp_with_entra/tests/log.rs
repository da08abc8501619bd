//! Tests of the log that error pages refer to.

use std::process::Command;

#[test]
fn the_log_is_on_standard_error_and_of_the_services_own_crates_alone() {
    let program = Command::new(env!("CARGO_BIN_EXE_mcp_with_entra"))
        .arg("--once")
        .env("NO_COLOR", "1")
        .env_remove("LISTEN")
        .env_remove("PUBLIC_URL")
        .output()
        .unwrap();
    let [said, log] = [program.stdout, program.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(program.status.success(), "{said}{log}");
    for line in [
        "clients sign in through this server issuer=\"http://127.0.0.1:",
        "a client registered itself count=1",
        "code=\"missing_scope\"",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!said.contains(" INFO "), "{said}");
    for line in log.lines() {
        let is_ours = [
            "entra_oauth_proxy",
            "tower_entra_auth",
            "entra_confidential_client",
        ]
        .iter()
        .any(|target| line.contains(&format!("{target}::")));
        assert!(is_ours, "{line}");
    }
}
