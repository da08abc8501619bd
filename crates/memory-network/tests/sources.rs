//! What must hold in the sources of the whole workspace: no socket while a clock is paused, and no
//! server to copy that lets small writes wait.

use std::fs;
use std::path::{Path, PathBuf};

/// What goes through the system, or runs in a thread that no clock stops.
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
fn every_server_of_an_example_and_of_the_tenant_sends_small_writes_at_once() {
    let mut servers = 0;
    for file in files(&["examples", "crates/entra-dev-tenant/src"], "rs") {
        let source = read(&file);
        if let Some(problem) = waits(&source) {
            panic!("{}: {problem}", file.display());
        }
        servers += usize::from(source.contains("nodelay"));
    }
    assert!(servers > 10, "only {servers} found");
}

/// The check itself can fail.
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

    for server in [
        "axum::serve(",
        "serve_with_incoming(",
        "x.accept().await",
        "HttpConnector::new()",
    ] {
        assert!(waits(server).is_some(), "{server}");
        assert_eq!(waits(&format!("{server} nodelay")), None);
    }
}

struct Function<'s> {
    name: &'s str,
    /// With its attributes.
    text: &'s str,
    is_test: bool,
}

/// The functions of a source that rustfmt has formatted; those within another are part of it.
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
            if !line.ends_with('}') {
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
    // The tenant's own server refuses.
    if is_helper && !of_tenant && has_any(text, &SOCKETS) && !text.contains("memory_network::") {
        return Some("a helper that opens a socket without assert_clock_runs()".to_owned());
    }
    None
}

fn problems_of_blocks(file: &Path, text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let paused = blocks.filter(|block| has_any(block, &PAUSES));
    paused
        .filter_map(|block| {
            let without_client =
                block.contains("metadata_endpoint(") && !block.contains("http_client(");
            let is_wrong = without_client || has_any(block, &NOT_WHILE_PAUSED);
            is_wrong.then(|| format!("{}: a socket while the clock is paused", file.display()))
        })
        .collect()
}

fn waits(source: &str) -> Option<&'static str> {
    const SERVERS: [&str; 4] = [
        "axum::serve(",
        "serve_with_incoming(",
        ".accept()",
        "HttpConnector::new()",
    ];
    (has_any(source, &SERVERS) && !source.contains("nodelay"))
        .then_some("small writes wait for each other: set TCP_NODELAY")
}

fn has_any(text: &str, found: &[&str]) -> bool {
    found.iter().any(|found| text.contains(found))
}

/// The comments that are documentation.
fn documentation(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    let text = lines.filter_map(|line| line.strip_prefix("///").or(line.strip_prefix("//!")));
    text.collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// All files with this extension, by their path from the root.
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
