//! Tests of the types of members.

use super::*;

fn read<M: Member>(value: &str) -> Result<M, &'static str> {
    M::read(&mut Reader::new(value)).map_err(|fault| match fault {
        MemberError::NotJson => "no JSON",
        MemberError::WrongType => "another type",
    })
}

fn own<M: Member>(value: &str) -> M::Owned {
    read::<M>(value).unwrap().own(value)
}

#[test]
fn a_word_is_what_it_says_whether_it_is_usual_or_not() {
    for text in ["user", "app", "User", "APP", "", "device"] {
        assert_eq!(own::<InternedText>(&format!("\"{text}\"")), text);
    }
    let word = own::<InternedText>("\"\\u0061pp\"");
    assert_eq!((&*word, word.heap_size()), ("app", 0));
}

/// Expects an allocator that adds a word, and rounds up to 16 bytes.
#[test]
fn what_is_kept_counts_with_what_it_holds_beyond_itself() {
    let text = |length: usize| Box::<str>::from("a".repeat(length));
    for (length, held) in [(0, 0), (1, 16), (8, 16), (9, 32), (24, 32), (1_000, 1_008)] {
        assert_eq!(text(length).heap_size(), held, "{length}");
        let texts: Box<[Box<str>]> = Box::new([text(length), text(8)]);
        let row = 2 * size_of::<Box<str>>() + 16;
        assert_eq!(texts.heap_size(), held + 16 + row, "{length}");
        assert_eq!(Cow::<str>::Owned("a".repeat(length)).heap_size(), held);
    }
    assert_eq!(Cow::Borrowed("static").heap_size(), 0);
    assert_eq!(().heap_size(), 0);
}

/// Checks the errors of a member type that does not accept every value.
fn is_strict<M: Member>(good: &str) {
    assert!(read::<M>(good).is_ok(), "{good}");
    for value in [
        "null", "true", "false", "[]", "{}", "[1]", "0.5", "\"\"", "\"a\"", "1e5",
    ] {
        let found = read::<M>(value).map(|_| "good");
        assert!(
            matches!(found, Ok(_) | Err("another type")),
            "{value} {found:?}"
        );
    }
    // Not readable as any type.
    for value in [
        "1e400",
        "-1e400",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "nul",
        "-",
        "\"",
        "",
        "01",
    ] {
        assert_eq!(read::<M>(value).map(|_| "good"), Err("no JSON"), "{value}");
    }
}

#[test]
fn a_value_of_another_type_and_one_that_cannot_be_read_are_told_apart() {
    const ID: &str = "\"0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d\"";
    is_strict::<Text>("\"a\\u0062\"");
    is_strict::<InternedText>("\"app\"");
    is_strict::<TextList>("[\"a\", \"\\n\"]");
    is_strict::<ObjectId>(ID);
    is_strict::<ClientId>(&ID.replace('a', "\\u0041"));
    is_strict::<NumericDate>("1700000000");
    is_strict::<Number>("1");
    is_strict::<HeaderKeyId>("\"\\u006b\"");
    assert_eq!(read::<Text>("5").err(), Some("another type"));
    assert_eq!(read::<HeaderKeyId>("\"\"").err(), Some("another type"));
    assert_eq!(
        read::<ObjectId>(&ID.replace('a', "g")).err(),
        Some("another type")
    );
    assert_eq!(
        read::<ObjectId>(&ID.replace('a', "aa")).err(),
        Some("another type")
    );
}

#[test]
fn of_a_list_the_first_fault_counts() {
    for (list, fault) in [
        (r#"["a",5,"\ud800",[[]],{"b":1e400}]"#, "another type"),
        (r#"["a",[5],"\ud800"]"#, "another type"),
        (r#"["\ud800",5]"#, "no JSON"),
        (r#"["a",1e400,5]"#, "no JSON"),
        (r#"["a",5,"#, "no JSON"),
        (r#"["a",5}"#, "no JSON"),
        (r#"["a",]"#, "no JSON"),
        (r#"["a" "b"]"#, "no JSON"),
        (r#"{"a":["b"]}"#, "another type"),
    ] {
        assert_eq!(read::<TextList>(list).err(), Some(fault), "{list}");
    }
}

#[test]
fn blank_texts_in_a_list_are_none() {
    let list = own::<TextList>(r#"["", "a", " ", "\u0020\t", "\u0062", "\u00a0", " c"]"#);
    assert_eq!(
        list.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        ["a", "b", " c"]
    );
    assert!(own::<TextList>(r#"[""]"#).is_empty() && own::<TextList>("[]").is_empty());
}

#[test]
fn a_time_is_any_number_up_to_the_year_10000_and_its_fraction_is_cut_off() {
    for (number, seconds) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-0.5", Some(-1)),
        ("1.9", Some(1)),
        ("17e8", Some(1_700_000_000)),
        ("1e-400", Some(0)),
        ("253402300799", Some(253_402_300_799)),
        ("253402300799.5", None),
        ("253402300800", None),
        ("-253402300800", None),
        ("9223372036854775808", None),
        ("18446744073709551616", None),
        ("1e300", None),
    ] {
        let found = read::<NumericDate>(number);
        assert_eq!(found.ok().map(NumericDate::seconds), seconds, "{number}");
    }
}

#[test]
fn a_whole_number_is_written_as_one() {
    for (number, value) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-0", None),
        ("1.0", None),
        ("1e0", None),
        ("9223372036854775808", None),
    ] {
        assert_eq!(
            read::<Number>(number).ok().map(|number| number.0),
            value,
            "{number}"
        );
    }
}

#[test]
fn a_mark_is_set_by_anything_but_false() {
    for (value, is_set) in [
        ("false", Ok(false)),
        ("\"false\"", Ok(false)),
        ("\"f\\u0061lse\"", Ok(false)),
        ("true", Ok(true)),
        ("\"\"", Ok(true)),
        ("null", Ok(true)),
        ("0", Ok(true)),
        ("[[1e400]]", Ok(true)),
        (r#"{"a":{"\ud800":1e400}}"#, Ok(true)),
        (r#"{"\ud800":1}"#, Err("no JSON")),
        ("1e400", Err("no JSON")),
        ("\"\\ud800\"", Err("no JSON")),
    ] {
        assert_eq!(read::<Flag>(value).map(|flag| flag.0), is_set, "{value}");
    }
}
