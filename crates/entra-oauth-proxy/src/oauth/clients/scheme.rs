//! Schemes of applications that may receive OAuth responses.

use std::sync::LazyLock;

/// A product whose scheme is not a domain name, with the place in its URIs that accepts OAuth
/// responses.
///
/// Such a scheme also opens files, runs commands and installs software.
struct Product {
    scheme: &'static str,
    place: Place,
}

enum Place {
    /// An extension of an editor, identified as `publisher.name`.
    Extension,
    /// This host with this path, and the paths below.
    At(&'static str, &'static str),
}

/// Products that are known to register themselves with MCP servers:
///
/// - `cursor`: `cursor://anysphere.cursor-mcp/oauth/callback`
///   (<https://github.com/modelcontextprotocol/python-sdk/issues/897>);
/// - `vscode`, `vscode-insiders`, `windsurf` and `cursor` by extensions such as Cline, which uses
///   the scheme of the editor that it runs in (`src/services/mcp/McpOAuthManager.ts` of
///   <https://github.com/cline/cline>, and for Windsurf
///   <https://github.com/Mermaid-Chart/issue-tracker/issues/145>);
/// - `warp`: `warp://mcp/oauth2callback` (<https://github.com/warpdotdev/warp>);
/// - `raycast`: `raycast://oauth?package_name=Extension`
///   (<https://developers.raycast.com/api-reference/oauth>).
const PRODUCTS: [Product; 6] = [
    Product::of("cursor", Place::Extension),
    Product::of("raycast", Place::At("oauth", "")),
    Product::of("vscode", Place::Extension),
    Product::of("vscode-insiders", Place::Extension),
    Product::of("warp", Place::At("mcp", "/oauth2callback")),
    Product::of("windsurf", Place::Extension),
];

/// The publishers of these editors, whose extensions also act upon other URIs.
///
/// For example, `vscode.git` clones, `anysphere.cursor-deeplink` installs MCP servers, and
/// `ms-vscode-remote.remote-containers` clones and starts a container
/// (<https://code.visualstudio.com/docs/devcontainers/containers>).
const MAKERS: [&str; 5] = ["anysphere", "codeium", "github", "microsoft", "vscode"];

/// Prefix of the other publisher names that Microsoft uses.
const OF_MICROSOFT: &str = "ms-";

/// The extensions of these publishers that accept OAuth responses.
const OF_MAKERS: [&str; 4] = [
    "anysphere.cursor-mcp",
    "anysphere.cursor-retrieval",
    "vscode.github-authentication",
    "vscode.microsoft-authentication",
];

/// Beginnings of domain names that belong to a system or a browser.
///
/// Each stands for itself, and for every name that continues it after a dot.
const OF_SYSTEMS: [&str; 26] = [
    // Domain names of infrastructure belong to no company.
    "arpa",
    // Top-level domains of makers of systems and browsers. No other company has a name below them.
    // Windows has `microsoft.windows.camera:`.
    "android",
    "apple",
    "chrome",
    "goog",
    "google",
    "microsoft",
    "samsung",
    "windows",
    "xbox",
    // Applications and settings of macOS and iOS.
    "com.apple",
    // Windows, and software that comes with it.
    "com.microsoft.builder3d",
    "com.microsoft.edge",
    "com.microsoft.print3d",
    "com.microsoft.windows",
    // Android, Google's services for it, and makers of telephones.
    "com.android",
    "com.google.android",
    "com.samsung.android",
    "com.sec.android",
    // Chrome and Chromium.
    "com.google.chrome",
    "org.chromium",
    // Firefox.
    "org.mozilla.firefox",
    // Addresses of Windows Communication Foundation, which are no domain names.
    "net.msmq",
    "net.p2p",
    "net.pipe",
    "net.tcp",
];

/// Schemes that no setting can permit: browsers execute or read them, or a system acts upon them.
const ACTED_UPON: [&str; 40] = [
    "about",
    "android-app",
    "blob",
    "content",
    "data",
    "dict",
    "facetime",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "geo",
    "gopher",
    "imap",
    "intent",
    "itms-services",
    "jar",
    "javascript",
    "ldap",
    "ldaps",
    "mailto",
    "mhtml",
    "rdp",
    "resource",
    "search",
    "search-ms",
    "sftp",
    "shell",
    "smb",
    "sms",
    "ssh",
    "tel",
    "telnet",
    "urn",
    "vbscript",
    "view-source",
    "vnc",
    "ws",
    "wss",
];

/// Beginnings of further schemes that no setting can permit.
const ACTED_UPON_BEGINNINGS: [&str; 6] =
    ["chrome", "microsoft-edge", "moz-", "ms-", "web+", "x-apple"];

static TOP_LEVEL_DOMAINS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("top_level_domains.txt").lines().collect());

impl Product {
    const fn of(scheme: &'static str, place: Place) -> Self {
        Self { scheme, place }
    }
}

/// Returns whether a scheme cannot be an application's, even if a setting names it.
pub(super) fn is_acted_upon(scheme: &str) -> bool {
    ACTED_UPON.contains(&scheme)
        || ACTED_UPON_BEGINNINGS
            .iter()
            .any(|beginning| scheme.starts_with(beginning))
        || scheme.ends_with("-extension")
        || OF_SYSTEMS.iter().any(|of| is_at_or_below(scheme, of))
}

/// Returns whether an application may use a scheme that no setting names.
///
/// These are domain names in reverse (RFC 8252 §7.1), and the scheme of a known product at the
/// place that accepts OAuth responses. `rest` is the text after the colon.
pub(super) fn is_private_use(scheme: &str, rest: &str) -> bool {
    is_domain_name_in_reverse(scheme)
        || PRODUCTS
            .iter()
            .any(|product| product.scheme == scheme && product.place.is_of(rest))
}

/// Returns whether a scheme's name is more likely the name of a host, as in `localhost:8080`.
///
/// Both ends of `app.example.com` are top-level domains. Without a colon, it counts as a host.
pub(super) fn is_taken_for_host(scheme: &str, has_colon: bool) -> bool {
    scheme == "localhost"
        || scheme.contains('.') && !is_domain_name_in_reverse(scheme)
        || !has_colon && is_domain_name(scheme)
}

/// Returns whether a text has at least two labels, and begins with a top-level domain.
fn is_domain_name_in_reverse(scheme: &str) -> bool {
    const MAX_BYTES: usize = 253;

    let mut labels = scheme.split('.');
    let is_below_the_root = labels
        .next()
        .is_some_and(|first| TOP_LEVEL_DOMAINS.binary_search(&first).is_ok());
    is_below_the_root && scheme.len() <= MAX_BYTES && scheme.contains('.') && labels.all(is_label)
}

/// Returns whether a text has at least two labels, and ends with a top-level domain.
fn is_domain_name(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, last)| TOP_LEVEL_DOMAINS.binary_search(&last).is_ok())
}

/// Returns whether a text is a label of a host name (RFC 1123 §2.1), in lower case.
fn is_label(label: &str) -> bool {
    let is_of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(is_of_label)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_at_or_below(scheme: &str, of: &str) -> bool {
    let rest = scheme.strip_prefix(of);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Place {
    fn is_of(&self, rest: &str) -> bool {
        let Some(rest) = rest.strip_prefix("//") else {
            return false;
        };
        let (authority, path) = super::before_path(rest);
        match self {
            Self::Extension => is_extension(authority),
            Self::At(host, at) => {
                let below = path.strip_prefix(at);
                authority == *host
                    && below.is_some_and(|below| below.is_empty() || below.starts_with(['/', '?']))
            }
        }
    }
}

fn is_extension(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    let Some((publisher, name)) = id.split_once('.') else {
        return false;
    };
    let is_makers = MAKERS.contains(&publisher) || publisher.starts_with(OF_MICROSOFT);
    is_label(publisher) && is_label(name) && (!is_makers || OF_MAKERS.contains(&&*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_top_level_domains_is_sorted_whole_and_dated() {
        let list = &TOP_LEVEL_DOMAINS;
        assert!(list.is_sorted());
        assert!(list.len() > 1_400, "{}", list.len());
        let (first, domains) = list.split_first().unwrap();
        let date = first.rsplit_once(' ').unwrap().1.trim_end_matches('.');
        assert_eq!(date.len(), "2026-11-01".len(), "{first}");
        assert!(date >= "2026-11-01");
        for domain in domains {
            assert!(is_label(domain), "{domain}");
        }
        for domain in ["ai", "app", "com", "de", "dev", "io", "uk", "xn--p1ai"] {
            assert!(domains.contains(&domain), "{domain}");
        }
        for none in ["", "local", "localhost", "example", "invalid", "x-apple"] {
            assert!(!domains.contains(&none), "{none}");
        }
    }

    #[test]
    fn extensions_of_browsers_are_nobodys_applications() {
        for scheme in [
            "chrome-extension",
            "moz-extension",
            "ms-browser-extension",
            "safari-web-extension",
            "another-extension",
        ] {
            assert!(is_acted_upon(scheme), "{scheme}");
        }
        assert!(!is_acted_upon("extension"));
    }

    #[test]
    fn domain_names_in_reverse_have_labels_and_a_top_level_domain() {
        let most = format!("com.{}", "a".repeat(63));
        for scheme in [
            "com.example",
            "com.example.app",
            "com.raycast",
            "io.github.somebody.notes",
            "ai.perplexity.app",
            "xn--p1ai.xn--e1afmkfd",
            "com.1password",
            &most,
        ] {
            assert!(is_domain_name_in_reverse(scheme), "{scheme}");
        }
        let (long, longer) = (
            format!("com.{}", "a".repeat(64)),
            format!("com{}", ".a".repeat(126)),
        );
        for scheme in [
            "",
            "com",
            "com.",
            "com..example",
            ".com.example",
            "com.example.",
            "com.-example",
            "com.example-",
            "com.exa+mple",
            "example.notes",
            "localhost.app",
            "local.app",
            "x-man-page.app",
            &long,
            &longer,
        ] {
            assert!(!is_domain_name_in_reverse(scheme), "{scheme}");
        }
    }

    #[test]
    fn products_take_answers_at_their_place_alone() {
        for (scheme, rest, is_products) in [
            ("cursor", "//anysphere.cursor-mcp/oauth/callback", true),
            ("cursor", "//saoudrizwan.claude-dev/mcp-auth/x", true),
            ("vscode", "//vscode.github-authentication/x", true),
            ("windsurf", "//MermaidChart.vscode-mermaid-chart", true),
            ("warp", "//mcp/oauth2callback", true),
            ("warp", "//mcp/oauth2callback?server_id=1", true),
            ("raycast", "//oauth?package_name=Extension", true),
            ("cursor", "//anysphere.cursor-deeplink/mcp/install", false),
            ("cursor", "//Anysphere.cursor-deeplink/mcp/install", false),
            ("cursor", "//vscode.git/clone?url=x", false),
            ("vscode", "//vscode.git/clone?url=x", false),
            (
                "vscode",
                "//ms-vscode-remote.remote-containers/cloneInVolume?url=x",
                false,
            ),
            (
                "vscode-insiders",
                "//MS-vsliveshare.vsliveshare/join?x",
                false,
            ),
            ("vscode", "//GitHub.vscode-pull-request-github/x", false),
            ("vscode", "//microsoft.x/y", false),
            ("vscode", "//msp.notes/callback", true),
            ("vscode", "//file/etc/passwd", false),
            ("vscode", "//vscode-remote/ssh-remote+host/x", false),
            ("vscode", ":extension/x.y", false),
            ("vscode", "extension/x.y", false),
            ("vscode", "//x.y:1/z", false),
            ("warp", "//action/new_tab?path=x", false),
            ("warp", "//mcp/oauth2callbacks", false),
            ("warp", "//mcp", false),
            ("raycast", "//extensions/x/y", false),
            ("raycast", "//oauths", false),
            ("vscodes", "//x.y/z", false),
        ] {
            assert_eq!(is_private_use(scheme, rest), is_products, "{scheme}:{rest}");
        }
    }

    #[test]
    fn what_systems_and_browsers_have_under_domain_names_is_theirs() {
        for scheme in [
            "com.apple",
            "com.apple.systempreferences",
            "com.apple.tv",
            "apple.maps",
            "microsoft.windows.camera",
            "microsoft.windows.photos.crop",
            "com.microsoft.windows.camera",
            "com.microsoft.print3d",
            "com.microsoft.builder3d",
            "windows.settings",
            "com.android.settings",
            "com.google.android.gms",
            "android.settings",
            "com.google.chrome.app",
            "org.chromium.chrome",
            "x-apple.systempreferences",
            "net.tcp",
            "net.pipe",
            "arpa.home",
        ] {
            assert!(is_acted_upon(scheme), "{scheme}");
        }
        for scheme in [
            "com.applewood.notes",
            "com.microsoft.windowsill",
            "com.example.apple",
            "com.androidauthority",
            "net.example.app",
            "ws.example.app",
            "ms.example.app",
        ] {
            assert!(!is_acted_upon(scheme), "{scheme}");
        }
    }
}
