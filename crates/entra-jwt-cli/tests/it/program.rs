//! Tests of exit status, input, colours and wrong usage.

use crate::support::{API, Desk, TextFile, assert_fits, run, run_with};

#[tokio::test(start_paused = true)]
async fn the_exit_status_is_zero_for_an_accepted_token_only() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    assert_eq!(desk.explain_text(&good, &[]).status, 0);
    assert_eq!(
        desk.explain_text(&good, &["--scope", "Reports.Read"])
            .status,
        0
    );
    assert_eq!(desk.explain_text(&good, &["--scope", "Other"]).status, 1);
    assert_eq!(desk.explain(desk.user().expired(), &[]).status, 1);
    assert_eq!(desk.explain(desk.app(), &[]).status, 1);
    assert_eq!(desk.explain_text("garbage", &[]).status, 1);
    // Without keys, any token may be forged.
    assert_eq!(desk.run(&good, &[]).status, 1);
    let later = ["--at", "4102444800"];
    assert_eq!(desk.explain_text(&good, &later).status, 1);
}

#[tokio::test(start_paused = true)]
async fn the_token_is_read_from_a_file_or_standard_input_never_from_the_command_line() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    for text in [
        format!("{good}\n"),
        format!("  {good}\r\n"),
        format!("Bearer {good}"),
        format!("bearer  {good}\n"),
    ] {
        assert_eq!(desk.explain_text(&text, &[]).status, 0);
        let file = TextFile::new(&text);
        assert_eq!(desk.explain_text("", &[file.path()]).status, 0);
    }
    assert_eq!(desk.explain_text(&good, &["-"]).status, 0);
    let bearer = format!("Bearer {good}");
    for arguments in [
        &["explain", &good][..],
        &["explain", &bearer],
        &["explain", "--keys", &good],
        &["explain", "--tenant", &good],
        &[&format!("--{good}")],
        &[&good],
    ] {
        let ran = run(arguments, "");
        assert_eq!((ran.status, &*ran.out), (2, ""));
        assert!(ran.err.contains("shell's history"), "{}", ran.err);
        assert!(!ran.err.contains("eyJ"), "{}", ran.err);
    }
    let ran = desk.explain_text(" \n", &[]);
    assert!(ran.err.contains("no token"), "{}", ran.err);
    let ran = desk.explain_text("", &["/no/such/file"]);
    assert!(ran.err.contains("/no/such/file: "), "{}", ran.err);
    let ran = desk.explain_text(&"A".repeat(2 << 20), &[]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("more than 1 MiB"), "{}", ran.err);
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_the_report_may_stop_early() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    for (options, status) in [
        (&[][..], 0),
        (&["--json"], 0),
        (&["--color", "always"], 0),
        (&["--scope", "Other"], 1),
    ] {
        let ran = desk.explain_to_no_reader(&good, options);
        assert_eq!((ran.status, &*ran.err), (status, ""), "{options:?}");
    }
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_token_is_read_from_a_pipe_that_has_a_name_as_shells_give_one() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    assert_eq!(desk.explain_text(&good, &["/dev/stdin"]).status, 0);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn no_file_is_read_further_than_one_mebibyte_whatever_it_is() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    for (options, token) in [
        (["/dev/zero"].as_slice(), ""),
        (&["--keys", "/dev/zero"], &good),
    ] {
        let ran = desk.run(token, options);
        assert_eq!(ran.status, 2);
        let expected = "/dev/zero: more than 1 MiB";
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
    let directory = env!("CARGO_TARGET_TMPDIR");
    for (options, token) in [
        ([directory].as_slice(), ""),
        (&["--keys", directory], &good),
    ] {
        let ran = desk.run(token, options);
        assert_eq!(ran.status, 2);
        assert!(ran.err.contains(&format!("{directory}: ")), "{}", ran.err);
    }
}

/// Checks `--live`. The tenant serves on another thread than the one that waits for the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_keys_are_fetched_and_their_absence_is_told() {
    let desk = Desk::new().await;
    let token = desk.user().mint();
    let explain = || {
        let variables = [
            ("ENTRA_TENANT_ID", desk.tenant.id()),
            ("ENTRA_CLIENT_ID", API),
            ("ENTRA_METADATA_ENDPOINT", desk.tenant.url()),
        ];
        tokio::task::block_in_place(|| run_with(&["explain", "--live"], &token, &variables))
    };
    let ran = explain();
    assert_eq!((ran.status, &*ran.err), (0, ""), "{}", ran.out);
    assert_eq!(desk.tenant.key_endpoint().hits(), 1);
    desk.tenant.discovery_endpoint().fail_with(503);
    let ran = explain();
    assert_eq!((ran.status, &*ran.out), (2, ""));
    assert!(ran.err.contains("cannot fetch the keys"), "{}", ran.err);
    assert!(ran.err.contains("--metadata-endpoint"), "{}", ran.err);
    assert!(!ran.err.contains("ENTRA_"), "{}", ran.err);
}

#[tokio::test(start_paused = true)]
async fn colours_are_for_terminals_or_when_asked_for() {
    let desk = Desk::new().await;
    let token = desk.user().mint();
    let plain = desk.explain_text(&token, &[]).out;
    assert!(!plain.contains('\u{1b}'));
    assert_eq!(desk.explain_text(&token, &["--color", "never"]).out, plain);
    let plain_by_variable = |variable| {
        let arguments = ["explain", "--tenant", desk.tenant.id(), "--client-id", API];
        run_with(&arguments, &token, &[variable]).out
    };
    assert!(!plain_by_variable(("NO_COLOR", "1")).contains('\u{1b}'));
    let coloured = desk.explain_text(&token, &["--color", "always"]).out;
    assert!(coloured.contains('\u{1b}'));
    let json = desk
        .explain_text(&token, &["--color", "always", "--json"])
        .out;
    assert!(!json.contains('\u{1b}'));
}

#[tokio::test(start_paused = true)]
async fn what_a_token_says_cannot_write_to_the_terminal_and_is_no_secret() {
    let desk = Desk::new().await;
    let token = desk
        .user()
        .audience("api://a\u{1b}[31m\nverdict accepted")
        .mint();
    let ran = desk.explain_text(&token, &[]);
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
    assert!(!ran.out.contains("\nverdict accepted"), "{}", ran.out);
    let json = desk
        .explain(
            desk.user().audience("\u{9b}31m\u{202e}\u{7f}é🔑"),
            &["--json"],
        )
        .out;
    assert!(json.is_ascii(), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let checks = json["checks"].as_array().unwrap();
    let audience = checks.iter().find(|check| check["check"] == "audience");
    assert_eq!(audience.unwrap()["found"], "\u{9b}31m\u{202e}\u{7f}é🔑");
    let ran = desk.explain_text("", &["/no/\u{1b}[31msuch"]);
    assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);

    let signature = token.rsplit('.').next().unwrap();
    for secret in [signature, "\"ada", "ada@"] {
        assert!(!ran.out.contains(secret), "{secret} in {}", ran.out);
    }
}

#[test]
fn wrong_settings_are_told_all_at_once_by_their_options() {
    let ran = run(
        &[
            "explain",
            "--tenant",
            "contoso",
            "--external-id",
            "contoso",
            "--allowed-client",
            "x",
        ],
        "",
    );
    assert_eq!((ran.status, &*ran.out), (2, ""));
    for option in [
        "--tenant: ",
        "--client-id: ",
        "--external-id: ",
        "--allowed-client: ",
    ] {
        assert!(ran.err.contains(option), "{option} in {}", ran.err);
    }
    let id = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    for (options, says) in [
        (&[][..], "--tenant: not set: provide --tenant; copy"),
        (
            &["--tenant", id],
            "--client-id: not set: provide --client-id; copy",
        ),
        (&["--client-id", "api://x"], "which belongs in --audience;"),
        (
            &[
                "--tenant",
                id,
                "--client-id",
                API,
                "--external-id",
                "contoso.ciamlogin.com",
                "--accept-v1-tokens",
            ],
            "--accept-v1-tokens: External ID issues v2 tokens only; remove the setting",
        ),
    ] {
        let ran = run(&[&["explain"], options].concat(), "");
        assert!(ran.err.contains(says), "{says} in {}", ran.err);
        // A service's names for its settings mean nothing here.
        assert!(
            !ran.err.contains("ENTRA_") && !ran.err.contains("()"),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("(..)"), "{}", ran.err);
    }
    let settings = ["explain", "--tenant", id, "--client-id", API];
    for (options, says) in [
        (&["--scope", "openid"][..], "never in an access token"),
        (&["--scope", "api://orders/read"], "use \"read\""),
        (&["--keys", "/no/such/file"], "/no/such/file"),
        (&["--at", "soon"], "--at"),
        (&["--color", "blue"], "--color"),
        (&["--cloud", "mars"], "public, usgovernment and china"),
        (&["--clock-skew", "x"], "--clock-skew"),
        (&["--clock-skew", "601"], "at most 600 s"),
        (&["--max-token-length", "1"], "1024 to 256000"),
        (&["--claim", "x"], "NAME=VALUE"),
        (&["--live", "--keys", "x"], "one place"),
        (&["--metadata-endpoint", "https://x"], "for --live"),
        (&["--nonsense"], "--help"),
        (&["--tenant"], "tenant"),
        (&["a-file", "another"], "--help"),
    ] {
        let ran = run(&[&settings, options].concat(), "token");
        assert_eq!((ran.status, &*ran.out), (2, ""), "{options:?}");
        assert!(ran.words().contains(says), "{says} in {}", ran.err);
    }
    let file = TextFile::new("{}");
    let ran = run(&[&settings[..], &["--keys", file.path()]].concat(), "token");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("not a JWKS document"), "{}", ran.err);
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_a_service_are_options_too() {
    let desk = Desk::new().await;
    let long = desk.user().claim("extn.x", "x".repeat(16_000));
    let long = long.mint();
    assert_eq!(desk.explain_text(&long, &[]).status, 1);
    let longer = ["--max-token-length", "65536"];
    assert_eq!(desk.explain_text(&long, &longer).status, 0);
    let hour = std::time::Duration::from_secs(3_600);
    let late = || desk.user().issued_ago(hour).expires_in(-400);
    assert_eq!(desk.explain(late(), &[]).status, 1);
    assert_eq!(desk.explain(late(), &["--clock-skew", "450"]).status, 0);
    let claim = || desk.user().claim("department", "sales");
    assert_eq!(
        desk.explain(claim(), &["--claim", "department=sales"])
            .status,
        0
    );
    assert_eq!(
        desk.explain(claim(), &["--claim", "department=it"]).status,
        1
    );
    let group = "5d0c5f51-3c1e-4c0a-9d0f-2b8f4f7b1c11";
    let kept_out = ["--not-in-group", group];
    assert_eq!(desk.explain(desk.user().group(group), &kept_out).status, 1);
    let other = desk.user().group("7e1d6a62-4d2f-4d1b-8e1a-3c9a5a8c2d22");
    assert_eq!(desk.explain(other, &kept_out).status, 0);
}

#[test]
fn help_and_version_are_printed() {
    for arguments in [&["--help"][..], &["-h"], &["explain", "--help"]] {
        let ran = run(arguments, "");
        assert_eq!((ran.status, &*ran.err), (0, ""));
        assert!(ran.out.contains("usage: entra-jwt explain"));
    }
    let usage = run(&["--help"], "").out;
    assert_fits(&usage);
    let ran = run(&[], "");
    assert_eq!((ran.status, &*ran.out, &*ran.err), (2, "", &*usage));
    let ran = run(&["--version"], "");
    assert_eq!(
        ran.out,
        format!("entra-jwt {}\n", env!("CARGO_PKG_VERSION"))
    );
    let ran = run(&["decode"], "");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("entra-jwt explain"), "{}", ran.err);
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
    let good = [
        "--tenant",
        "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "--client-id",
        API,
    ];
    for url in WITH_SECRETS {
        let joined = format!("--live={url}");
        for arguments in [
            &["--tenant", url][..],
            &["--client-id", url],
            &["--audience", url],
            &["--cloud", url],
            &["--external-id", url],
            &["--allowed-client", url],
            &["--allow-roleless-client", url],
            &["--metadata-endpoint", url, "--keys", "x"],
            &["--clock-skew", url],
            &["one", url],
            &[&joined],
        ] {
            let whole = [&["explain"], &good[..], arguments].concat();
            let ran = run(&whole, "garbage");
            let printed = format!("{} {}", ran.out, ran.err);
            assert!(!printed.contains("hunter2"), "{arguments:?}: {printed}");
        }
        let ran = run(&[url], "");
        assert!(!ran.err.contains("hunter2"), "{}", ran.err);
        for variable in [
            "ENTRA_METADATA_ENDPOINT",
            "AZURE_AUTHORITY_HOST",
            "ENTRA_CLOUD",
        ] {
            let whole = [&["explain"], &good[..]].concat();
            let ran = run_with(&whole, "garbage", &[(variable, url)]);
            assert!(!ran.err.contains("hunter2"), "{variable}: {}", ran.err);
        }
    }
}
