//! A tenant on paused time, so that every text is the same in each run, and the program.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use entra_dev_tenant::{DevTenant, TokenBuilder};

pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// The program's output and its exit status.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Returns the program's standard error as one line.
    pub(crate) fn words(&self) -> String {
        let words: Vec<&str> = self.err.split_whitespace().collect();
        words.join(" ")
    }
}

/// Checks that each line has at most 80 characters.
pub(crate) fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

pub(crate) fn run(arguments: &[&str], input: &str) -> Ran {
    run_with(arguments, input, &[])
}

/// Runs the program with these environment variables and no others.
pub(crate) fn run_with(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Ran {
    finish(start(arguments, variables), input)
}

fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_entra-jwt"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Gives the program its input, and waits for its end.
fn finish(mut child: Child, input: &str) -> Ran {
    // A program that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A file that is deleted when the value is dropped.
pub(crate) struct TextFile(PathBuf);

impl TextFile {
    pub(crate) fn new(text: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}.txt", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A tenant, and the options that describe an API in it.
pub(crate) struct Desk {
    pub(crate) tenant: DevTenant,
    keys: TextFile,
}

impl Desk {
    pub(crate) async fn new() -> Self {
        Self::of(DevTenant::start().await.unwrap())
    }

    pub(crate) fn of(tenant: DevTenant) -> Self {
        let keys = TextFile::new(&tenant.signing_keys().document_of(tenant.id()));
        Self { tenant, keys }
    }

    /// Uses the keys of `common`, which include those of others.
    pub(crate) fn with_all_keys(mut self) -> Self {
        self.keys = TextFile::new(&self.tenant.signing_keys().document_of("common"));
        self
    }

    pub(crate) fn user(&self) -> TokenBuilder<'_> {
        self.tenant.user("ada").scope("Reports.Read").for_api(API)
    }

    pub(crate) fn app(&self) -> TokenBuilder<'_> {
        self.tenant.app(CLIENT).for_api(API)
    }

    /// Runs `entra-jwt explain` with the tenant's keys, at the tenant's time.
    pub(crate) fn explain(&self, token: TokenBuilder<'_>, options: &[&str]) -> Ran {
        self.explain_text(&token.mint(), options)
    }

    pub(crate) fn explain_text(&self, token: &str, options: &[&str]) -> Ran {
        let keys = ["--keys", self.keys.path()];
        self.run(token, &[&keys, options].concat())
    }

    /// Explains the token like `explain_text`, to a reader that has gone before the program writes.
    pub(crate) fn explain_to_no_reader(&self, token: &str, options: &[&str]) -> Ran {
        let keys = ["--keys", self.keys.path()];
        self.with_arguments(&[&keys, options].concat(), |arguments| {
            let mut child = start(arguments, &[]);
            drop(child.stdout.take());
            finish(child, token)
        })
    }

    pub(crate) fn run(&self, token: &str, options: &[&str]) -> Ran {
        self.with_arguments(options, |arguments| run(arguments, token))
    }

    /// Runs the program by `run`, with the arguments that describe the API.
    fn with_arguments(&self, options: &[&str], run: impl FnOnce(&[&str]) -> Ran) -> Ran {
        let now = (self.tenant.clock())().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_secs().to_string();
        let tenant = ["explain", "--tenant", self.tenant.id()];
        let client = ["--client-id", API, "--at", &now];
        // An option that comes later wins.
        run(&[&tenant, &client[..], options].concat())
    }

    /// Returns the text without the key ids, which differ from run to run.
    pub(crate) fn stable(&self, text: &str) -> String {
        let text = text.replace(
            &self.tenant.signing_keys().current_id(),
            "THE-KEY-OF-THE-TENANT-00000",
        );
        let personal: serde_json::Value =
            serde_json::from_str(&self.tenant.signing_keys().document_of("consumers")).unwrap();
        match personal["keys"][0]["kid"].as_str() {
            Some(kid) => text.replace(kid, "THE-KEY-OF-PERSONAL-ACCOUNT"),
            None => text,
        }
    }
}
