//! Forged tokens that are expensive to refuse, of the sizes that a server sees.

use std::time::UNIX_EPOCH;

use crate::{API, Material};

/// Client id in all of these tokens.
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Forged tokens of about 1 KB, 4 KB and 16 KB, valid except that the payload is large in one
/// respect.
#[derive(Debug)]
pub struct Forgeries;

impl Forgeries {
    /// Returns all tokens with their names, signed by the material's key.
    #[must_use]
    pub fn of(material: &Material) -> Vec<(String, String)> {
        let smallest = token(material, 0, &|_| "\"ver\":\"2.0\"".to_owned());
        let mut all = vec![("nothing more".to_owned(), smallest)];
        for (name, member) in shapes() {
            for kilobytes in [1, 4, 16] {
                // Subtracts the header, the signature and the dots to get the size of the payload.
                let room = (kilobytes * 1_024 - 344 - 92) * 3 / 4;
                let token = token(material, room, &*member);
                all.push((format!("{name}, {kilobytes} KB"), token));
            }
        }
        all
    }
}

/// A function that returns members which fill the given number of bytes.
type Member = Box<dyn Fn(usize) -> String>;

fn shapes() -> Vec<(&'static str, Member)> {
    let list = |claim: &'static str, item: &'static str| -> Member {
        Box::new(move |room| format!("\"{claim}\":[{}]", filled(room, ",", item)))
    };
    let text = |claim: &'static str, unit: &'static str| -> Member {
        Box::new(move |room| format!("\"{claim}\":\"{}\"", filled(room, "", unit)))
    };
    vec![
        ("roles of one letter", list("roles", "\"a\"")),
        ("groups of one letter", list("groups", "\"a\"")),
        (
            "group ids",
            list("groups", "\"0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d\""),
        ),
        ("an unknown list of one letter", list("unknown", "\"a\"")),
        ("an unknown list of numbers", list("unknown", "0")),
        ("unknown members", Box::new(|room| members(room, ""))),
        (
            "unknown members, escaped",
            Box::new(|room| members(room, "\\u0061")),
        ),
        ("unknown objects", list("unknown", "{\"a\":{\"b\":\"c\"}}")),
        (
            "deep nesting",
            Box::new(|room| {
                let depth = room / 2;
                format!("\"unknown\":{}{}", "[".repeat(depth), "]".repeat(depth))
            }),
        ),
        ("a long unknown string", text("unknown", "x")),
        ("a long unknown string, escaped", text("unknown", "\\u0041")),
        ("long scopes", text("scp", "a ")),
        ("long scopes, escaped", text("scp", "\\u0041\\/")),
        (
            "a long subject, escaped seldom",
            text("sub", "0123456789\\n"),
        ),
    ]
}

/// Returns as many units as fit into `room` bytes.
fn filled(room: usize, separator: &str, unit: &str) -> String {
    vec![unit; room / (separator.len() + unit.len())].join(separator)
}

/// Returns as many different members as fit into `room` bytes.
fn members(room: usize, start: &str) -> String {
    let mut all = String::new();
    for count in 0.. {
        let member = format!("\"{start}{count:x}\":0");
        if all.len() + member.len() + 1 > room {
            break;
        }
        if count > 0 {
            all.push(',');
        }
        all.push_str(&member);
    }
    all
}

fn token(material: &Material, room: usize, member: &dyn Fn(usize) -> String) -> String {
    let id = &material.tenant_id;
    let now = material.now().duration_since(UNIX_EPOCH);
    let expires = now.expect("after 1970").as_secs() + 3_600;
    let good = format!(
        "\"iss\":\"https://login.microsoftonline.com/{id}/v2.0\",\"tid\":\"{id}\",\
         \"aud\":\"{API}\",\"azp\":\"{CLIENT}\",\"exp\":{expires}"
    );
    let member = member(room.saturating_sub(good.len() + 24));
    material.signed(&format!("{{{good},{member}}}"))
}
