use proptest::prelude::{Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::unit;
use super::*;

fn elements_of(text: &str) -> Result<Vec<&str>, NotJson> {
    elements(text).ok_or(NotJson)?.collect()
}

fn members_of(text: &str) -> Result<Vec<(&str, &str)>, NotJson> {
    members(text).ok_or(NotJson)?.collect()
}

#[test]
fn each_part_is_the_text_that_it_is() {
    let text = " [ 1e400 ,\"\\ud800\", [ [\"]\" ] ] ,{\"a\" : {} },null,-0.5e-1\n]\t";
    assert_eq!(
        elements_of(text).unwrap(),
        [
            "1e400",
            "\"\\ud800\"",
            "[ [\"]\" ] ]",
            "{\"a\" : {} }",
            "null",
            "-0.5e-1"
        ]
    );
    let text = "{ \"a\" :1 , \"\\\"}\":\"{\\\\\" ,\"a\":[ ]}";
    assert_eq!(
        members_of(text).unwrap(),
        [("\"a\"", "1"), ("\"\\\"}\"", "\"{\\\\\""), ("\"a\"", "[ ]")]
    );
    assert!(elements_of("[ ]").unwrap().is_empty());
    assert!(members_of("{\r\n}").unwrap().is_empty());
}

#[test]
fn a_part_may_be_as_deep_as_it_likes() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(elements_of(&format!("[{deep},0]")).unwrap(), [&deep, "0"]);
}

#[test]
fn what_is_no_json_ends_in_one_error() {
    for text in [
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1]]",
        "[1}",
        "[1]x",
        "[01]",
        "[1.]",
        "[nul]",
        "[\"\n\"]",
        "[\"\\x\"]",
        "[\"\\ud8\"]",
        "[[1]",
        "[{]",
        "[\u{a0}1]",
        "[NaN]",
        "[1e]",
        "[1][2]",
    ] {
        let mut parts = elements(text).unwrap();
        assert!(parts.any(|part| part.is_err()), "{text}");
        assert!(parts.next().is_none(), "{text}");
        assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "{text}");
    }
    for text in [
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{\"a\",1}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{[]:1}",
        "{\"a\":1]",
        "{\"a\":1}}",
        "{\"a\":1 \"b\":2}",
    ] {
        let mut parts = members(text).unwrap();
        assert!(parts.any(|part| part.is_err()), "{text}");
        assert!(parts.next().is_none(), "{text}");
        assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "{text}");
    }
}

/// Concatenates pieces that sometimes make JSON, and often a text that is nearly JSON.
fn near_json() -> impl Strategy<Value = String> {
    let pieces = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "\\",
        "\\n",
        "\\u0041",
        "\\ud83d",
        "\\ude00",
        "\"\\u00e9é\"",
        "\"a long string of plain text\"",
        "0",
        "-",
        "-0",
        "12",
        "1.5",
        ".",
        "e",
        "e9",
        "E+9",
        "e-400",
        "1e400",
        "01",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\t",
        "\n",
        "\r",
        "\u{a0}",
        "\u{0}",
        "\u{7f}",
        "\u{feff}",
        "{}",
        "[]",
        "{\"x\":[1,{\"y\":null}]}",
    ][..];
    let piece = prop_oneof![
        12 => select(pieces).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    let pieces = proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat());
    // As a value, and within each kind of bracket and string.
    (pieces, 0..6_usize).prop_map(|(pieces, place)| match place {
        0 => pieces,
        1 => format!("[{pieces}]"),
        2 => format!("{{\"a\":{pieces}}}"),
        3 => format!("\"{pieces}\""),
        4 => format!("[[{pieces}],0,\"{pieces}\"]"),
        _ => format!("{{{pieces}}}"),
    })
}

/// Returns whether the whole text is one value.
fn is_json(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.skip().is_ok() && reader.end().is_ok()
}

#[test]
fn what_is_json_is_what_serde_json_says() {
    let config = Config {
        cases: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    let counts = std::cell::Cell::new([0_u32; 2]);
    TestRunner::new(config)
        .run(&near_json(), |text| {
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            proptest::prop_assert_eq!(is_json(&text), expected, "{:?}", text);
            if let Ok(Value::String(expected)) = serde_json::from_str(&text) {
                let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
                let found = string(trimmed);
                proptest::prop_assert_eq!(found.as_deref(), Some(&*expected));
            }
            let mut found = counts.get();
            found[usize::from(expected)] += 1;
            counts.set(found);
            Ok(())
        })
        .unwrap();
    let [not, is] = counts.get();
    assert!(not > 2_000 && is > 2_000, "{not} {is}");
}

#[test]
fn each_byte_of_a_string_is_looked_at_wherever_it_stands() {
    for length in 0..40 {
        for place in 0..=length {
            for byte in (0..0x80).chain([0xe9]) {
                let mut text = "x".repeat(length);
                text.insert(place, char::from(byte));
                let text = format!("\"{text}\"");
                let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                assert_eq!(is_json(&text), expected, "{text:?}");
            }
        }
    }
}

#[test]
fn brackets_close_in_the_order_in_which_they_opened_however_deep() {
    let open = |depth: usize, is_object: fn(usize) -> bool| -> (String, String) {
        let kinds = (0..depth).map(is_object);
        let (opened, closed): (Vec<_>, Vec<_>) = kinds
            .map(|is_object| {
                if is_object {
                    ("{\"a\":", "}")
                } else {
                    ("[", "]")
                }
            })
            .unzip();
        (opened.concat(), closed.into_iter().rev().collect())
    };
    let patterns: [fn(usize) -> bool; 4] = [
        |_| true,
        |_| false,
        |level| level % 2 == 0,
        |level| level % 63 == 0 || level % 5 == 1,
    ];
    for depth in [1, 2, 63, 64, 65, 66, 127, 128, 129, 192, 193, 1_000] {
        for pattern in patterns {
            let (opened, closed) = open(depth, pattern);
            let text = format!("{opened}0{closed}");
            assert!(is_json(&text), "{depth}");
            assert!(is_json(&format!("[{text},{text}]")), "{depth}");
            assert!(!is_json(&format!("{opened}0{}", &closed[1..])), "{depth}");
            for wrong in 0..depth {
                let mut closed = closed.clone();
                let other = if &closed[wrong..=wrong] == "]" {
                    "}"
                } else {
                    "]"
                };
                closed.replace_range(wrong..=wrong, other);
                assert!(!is_json(&format!("{opened}0{closed}")), "{depth} {wrong}");
            }
        }
    }
}

#[test]
fn another_value_has_no_such_parts() {
    for text in ["", "null", "1", "\"[]\"", "{}", "\u{feff}[]"] {
        assert!(elements(text).is_none(), "{text}");
    }
    for text in ["", "null", "1", "\"{}\"", "[]", "\u{feff}{}"] {
        assert!(members(text).is_none(), "{text}");
    }
}

#[test]
fn a_string_is_what_serde_json_says_and_nothing_else_is_one() {
    for text in [
        "\"\"",
        "\"a\"",
        "\"\\u006bid\\n\"",
        "\"\\ud83d\\ude00\"",
        "\"é\"",
    ] {
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(string(text).as_deref(), expected.as_str(), "{text}");
    }
    for text in [
        "",
        "a",
        "null",
        "1e400",
        "[\"a\"]",
        "{}",
        "\"\\ud800\"",
        "\"\\udc00a\"",
        // More than a string.
        "\"a\"b",
        "\"a\",\"b\"",
    ] {
        assert_eq!(string(text), None, "{text}");
    }
}

#[test]
fn each_digit_of_an_escape_is_looked_at() {
    for place in 0..4 {
        for digit in 0..=u8::MAX {
            let mut digits = *b"0041";
            digits[place] = digit;
            let is_hex = digit.is_ascii_hexdigit();
            let read = unit(&digits);
            assert_eq!(read.is_ok(), is_hex, "{digits:?}");
            if let Ok((unit, rest)) = read {
                let text = std::str::from_utf8(&digits).unwrap();
                assert_eq!(unit, u16::from_str_radix(text, 16).unwrap());
                assert!(rest.is_empty());
            }
        }
    }
    assert!(unit(b"004").is_err());
}
