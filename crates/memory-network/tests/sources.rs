//! Rules for the sources of the whole workspace.
//!
//! No test opens a socket while its clock is paused. No server or client that users may copy lets
//! small writes wait.

use std::fs;
use std::path::{Path, PathBuf};

/// Code that uses the operating system, or runs in a thread that a paused clock does not stop.
const NOT_WHILE_PAUSED: [&str; 11] = [
    "TcpListener::",
    "TcpStream::",
    "TcpSocket::",
    "UdpSocket::",
    "UnixStream::",
    "reqwest::Client",
    "reqwest::get(",
    "HttpConnector",
    "thread::spawn(",
    "DiskStore::",
    ".data_directory(",
];

const SOCKETS: [&str; 2] = ["TcpListener::bind(", "TcpStream::connect("];

const PAUSES: [&str; 2] = ["start_paused", "time::pause()"];

/// Code that makes connections whose small writes wait for each other, unless another call prevents
/// it.
const CONNECTS: [&str; 6] = [
    "axum::serve(",
    "serve_with_incoming(",
    "HttpConnector::new()",
    ".build_http",
    "connect_async",
    "TcpStream::connect(",
];

/// Code that accepts such connections, if it is about TCP.
const ACCEPTS: [&str; 2] = [".accept()", "::accept("];

/// Code that prevents the wait. The last text is an argument of `connect_async_with_config`.
const WITHOUT_DELAY: [&str; 3] = ["nodelay(true)", "nodelay(Some(true))", ", None, true)"];

#[test]
fn no_test_opens_a_socket_while_its_clock_is_paused() {
    let mut problems = Vec::new();
    let mut paused = 0;
    for file in files(&["crates", "examples", "benches", "interop"], "rs") {
        if file.starts_with("crates/memory-network") {
            continue;
        }
        let source = read(&file);
        for function in functions(&source) {
            paused += usize::from(is_paused(&function));
            problems.extend(problem_of(&file, &function).map(|problem| {
                let name = function.name;
                format!("{}: {name}: {problem}", file.display())
            }));
        }
        problems.extend(problems_of_blocks(&file, &documentation(&source)));
    }
    for file in files(&["crates"], "md").chain(["README.md".into()]) {
        problems.extend(problems_of_blocks(&file, &read(&file)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(paused > 300, "only {paused} found");
}

#[test]
fn what_connects_in_examples_and_documentation_sends_small_writes_at_once() {
    let mut problems = Vec::new();
    let mut found = 0;
    for file in files(&["examples", "crates/entra-dev-tenant/src"], "rs") {
        let source = read(&file);
        for function in functions(&source) {
            found += connections(function.text);
            if waits(function.text) {
                problems.push(format!("{}: {}", file.display(), function.name));
            }
        }
    }
    for file in files(&["crates", "examples"], "md").chain(["README.md".into()]) {
        let text = read(&file);
        for block in blocks(&text) {
            found += connections(block);
            if waits(block) {
                problems.push(format!("{}: {block}", file.display()));
            }
        }
    }
    let problems = problems.join("\n");
    assert!(problems.is_empty(), "set TCP_NODELAY:\n{problems}");
    assert!(found > 15, "only {found} found");
}

#[test]
fn no_test_looks_at_the_log_of_one_thread_without_a_subscriber_for_all() {
    // If a test on another thread reaches a line of the log first, it can switch that line off.
    let mut found = 0;
    for file in files(&["crates", "examples"], "rs") {
        let source = read(&file);
        if !file.ends_with("tests/sources.rs")
            && has_any(&source, &[" set_default(", "subscriber::set_default("])
        {
            let has_one = has_any(&source, &["set_global_default(", "for_all_threads()"]);
            assert!(has_one, "{}", file.display());
            found += 1;
        }
    }
    assert!(found >= 4, "only {found} found");
}

/// Checks that the search for sockets finds them, so that the test that uses it can fail.
#[test]
fn a_socket_is_found_where_it_is_and_nowhere_else() {
    let source = |attribute: &str, body: &str| {
        format!("{attribute}\nasync fn one() {{\n    {body}\n}}\n\n#[test]\nfn two() {{}}\n")
    };
    let found = |path: &str, source: &str| {
        let functions = functions(source);
        assert_eq!(functions.len(), 2, "{source}");
        problem_of(Path::new(path), &functions[0])
    };
    let it = "crates/x/tests/it/a.rs";
    for body in NOT_WHILE_PAUSED {
        let paused = source("#[tokio::test(start_paused = true)]", body);
        assert!(found(it, &paused).is_some(), "{body}");
        let by_hand = source("#[tokio::test]", &format!("time::pause(); {body}"));
        assert!(found(it, &by_hand).is_some(), "{body}");
        let resumed = format!("time::pause(); time::resume(); {body}");
        assert_eq!(found(it, &source("#[tokio::test]", &resumed)), None);
        assert_eq!(found(it, &source("#[tokio::test]", body)), None);
    }
    for body in SOCKETS {
        assert!(found(it, &source("", body)).is_some(), "{body}");
        let refuses = format!("memory_network::assert_clock_runs(); {body}");
        assert_eq!(found(it, &source("", &refuses)), None);
        assert_eq!(found("crates/x/src/a.rs", &source("", body)), None);
    }

    let documented = |block: &str| format!("Text.\n\n```rust\n{block}\n```\n\nText.\n");
    let is_found = |block| !problems_of_blocks(Path::new("a.md"), &documented(block)).is_empty();
    assert!(is_found("start_paused metadata_endpoint("));
    assert!(is_found("start_paused TcpStream::connect"));
    assert!(!is_found("start_paused metadata_endpoint( http_client("));
    assert!(!is_found("metadata_endpoint( TcpStream::connect"));
}

/// Checks that the search for waiting writes finds them, so that the test that uses it can fail.
#[test]
fn what_lets_small_writes_wait_is_found() {
    for connects in CONNECTS.iter().chain(&ACCEPTS) {
        let connects = format!("TcpListener; {connects}");
        assert!(waits(&connects), "{connects}");
        for without_delay in WITHOUT_DELAY {
            assert!(!waits(&format!("{connects}; {without_delay}")));
            assert!(waits(&format!("{connects}; {connects}; {without_delay}")));
            for comment in ["//", "///", "    // one;"] {
                assert!(waits(&format!("{connects};\n{comment} {without_delay}\n")));
                assert!(!waits(&format!("{comment} {connects}\n")));
            }
            assert!(waits(&format!("{connects}; // {without_delay}")));
        }
        assert!(waits(&format!("{connects}; x.set_nodelay(false)")));
    }
    assert!(!waits("in_memory.accept()"));
    let text = "```rust\naxum::serve(\n```\nnodelay(true)\n```\nx\n```\n";
    let found: Vec<bool> = blocks(text).map(waits).collect();
    assert_eq!(found, [true, false]);
}

struct Function<'s> {
    name: &'s str,
    /// The function with its attributes.
    text: &'s str,
    is_test: bool,
}

/// Finds the functions of a source that rustfmt has formatted. A function within another is part of
/// it.
fn functions(source: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut attributes = 0;
    let mut offset = 0;
    while let Some((line, after)) = rest.split_once('\n') {
        let start = offset;
        offset += line.len() + 1;
        rest = after;
        let code = line.trim_start();
        if code.starts_with("#[") || code.starts_with("//") {
            continue;
        }
        let declared = code.split_once("fn ").filter(|(before, _)| {
            let mut words = before.split_whitespace();
            words.all(|word| word.starts_with("pub") || ["async", "const"].contains(&word))
        });
        if let Some((_, declared)) = declared {
            let name = declared.split(['(', '<']).next().unwrap_or_default();
            if !line.ends_with(['}', ';']) {
                let end = format!("\n{}}}\n", &line[..line.len() - code.len()]);
                let length = rest.find(&end).map_or(rest.len(), |at| at + end.len());
                offset += length;
                rest = &rest[length..];
            }
            let text = &source[attributes..offset];
            let is_test = source[attributes..start].lines().any(|attribute| {
                let attribute = attribute.trim_start();
                attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test")
            });
            found.push(Function {
                name,
                text,
                is_test,
            });
        }
        attributes = offset;
    }
    found
}

fn is_paused(function: &Function<'_>) -> bool {
    has_any(function.text, &PAUSES) && !function.text.contains("resume()")
}

fn problem_of(file: &Path, function: &Function<'_>) -> Option<String> {
    let text = function.text;
    let of_tenant = file.starts_with("crates/entra-dev-tenant");
    if is_paused(function) && !of_tenant {
        let found = NOT_WHILE_PAUSED.iter().find(|found| text.contains(**found));
        return found.map(|found| format!("{found} while the clock is paused"));
    }
    let is_helper = !function.is_test && file.iter().any(|part| part == "tests");
    // The tenant's own server refuses requests that come by a socket while the clock is paused.
    if is_helper && !of_tenant && has_any(text, &SOCKETS) && !text.contains("memory_network::") {
        return Some("a helper that opens a socket without assert_clock_runs()".to_owned());
    }
    None
}

/// Returns the code blocks of a Markdown text.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").skip(1).step_by(2)
}

fn problems_of_blocks(file: &Path, text: &str) -> Vec<String> {
    let paused = blocks(text).filter(|block| has_any(block, &PAUSES));
    paused
        .filter_map(|block| {
            let without_client =
                block.contains("metadata_endpoint(") && !block.contains("http_client(");
            let is_wrong = without_client || has_any(block, &NOT_WHILE_PAUSED);
            is_wrong.then(|| format!("{}: a socket while the clock is paused", file.display()))
        })
        .collect()
}

/// Returns the number of connections in the code, made or served, whose small writes could wait.
fn connections(source: &str) -> usize {
    let code = without_comments(source);
    let is_tcp = has_any(&code, &["TcpListener", "TcpStream"]);
    let accepts = ACCEPTS.into_iter().filter(|_| is_tcp);
    count(&code, CONNECTS.into_iter().chain(accepts))
}

/// Returns whether the small writes of any connection in the code wait.
fn waits(source: &str) -> bool {
    connections(source) > count(&without_comments(source), WITHOUT_DELAY.into_iter())
}

fn count(text: &str, found: impl Iterator<Item = &'static str>) -> usize {
    found.map(|found| text.matches(found).count()).sum()
}

fn without_comments(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    let code = lines.filter(|line| !line.starts_with("//"));
    let code = code.map(|line| line.split(" //").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

fn has_any(text: &str, found: &[&str]) -> bool {
    found.iter().any(|found| text.contains(found))
}

/// Returns the documentation comments of a source.
fn documentation(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    let text = lines.filter_map(|line| line.strip_prefix("///").or(line.strip_prefix("//!")));
    text.collect::<Vec<_>>().join("\n")
}

/// Checks the Layer's threat model, which names the test of each attack. If a test moves to another
/// file, the document must follow.
#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let document = read(Path::new("crates/tower-entra-auth/docs/threat-model.md"));
    let words = document.split('`').skip(1).step_by(2);
    let mut named = 0;
    for word in words.filter(|word| word.ends_with(".rs")) {
        let (folder, file) = match word.split_once('/') {
            Some(("core", file)) => ("crates/entra-jwt-core/tests", file),
            Some(("layer", file)) => ("crates/tower-entra-auth/tests/it", file),
            // The test is beside the code.
            Some(_) => ("crates/tower-entra-auth/src", word),
            None => ("crates/tower-entra-auth/tests", word),
        };
        assert!(root().join(folder).join(file).is_file(), "{word}");
        named += 1;
    }
    assert!(named > 50, "{named}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Finds all files with this extension. Their paths begin at the root.
fn files<'f>(folders: &'f [&str], extension: &'f str) -> impl Iterator<Item = PathBuf> + 'f {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir()
                && !["target", "node_modules"]
                    .iter()
                    .any(|skipped| name == *skipped)
            {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    assert!(!found.is_empty(), "{folders:?}");
    found.into_iter()
}
