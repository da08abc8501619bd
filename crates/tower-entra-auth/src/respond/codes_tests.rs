//! Tests that compare the page of codes with the code.

use std::collections::BTreeMap;

use entra_jwt_core::refusal::{InvalidTokenKind, PermissionDeniedKind};

use super::{Challenge, ClaimsChallenge, Reason, RequiredScopes, Row};
use crate::unavailable::UnavailableKind;

const PAGE: &str = include_str!("../../docs/codes.md");

/// A row of the page, without its words: code, HTTP status, gRPC status, public code.
type Listed = (String, String, String, Option<String>);

#[test]
fn the_page_of_codes_has_each_code_with_its_statuses_and_no_other() {
    let mut expected: BTreeMap<&str, Vec<Listed>> = BTreeMap::new();
    let mut expect = |section, row: Row<'_>| {
        let rows: &mut Vec<Listed> = expected.entry(section).or_default();
        rows.push((
            row.code.to_owned(),
            row.status.as_str().to_owned(),
            row.grpc_status.to_owned(),
            row.public_code
                .filter(|public| *public != row.code)
                .map(str::to_owned),
        ));
    };

    for reason in without_kinds() {
        expect(section_of(&reason), reason.row());
    }
    for kind in InvalidTokenKind::ALL {
        expect(
            "The token is not valid",
            Row {
                public_code: Some(kind.public_code()),
                ..Row::unauthorized(kind.code(), Challenge::INVALID_TOKEN)
            },
        );
    }
    for kind in PermissionDeniedKind::ALL {
        expect(
            "The token permits too little",
            Row::forbidden(kind.code(), RequiredScopes::Unknown),
        );
    }
    for kind in UnavailableKind::ALL {
        expect(
            "The token cannot be judged now",
            Row {
                public_code: Some(kind.public_code()),
                ..Row::server_error(http::StatusCode::SERVICE_UNAVAILABLE, "14", kind.code())
            },
        );
    }
    // A client that declares `cp1` gets a challenge instead.
    for (code, status, grpc_status, _) in expected.values_mut().flatten() {
        if ["step_up", "claims_challenge"].contains(&code.as_str()) {
            *status = "401 or 403".to_owned();
            *grpc_status = "16 or 7".to_owned();
        }
    }

    for rows in expected.values_mut() {
        rows.sort();
        rows.dedup();
    }
    let listed = listed();
    assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (section, rows) in &listed {
        assert_eq!(rows, &expected[section], "{section}");
    }
}

#[test]
fn every_row_of_the_page_of_codes_says_what_it_means_and_what_to_do() {
    for line in PAGE
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches(" | ").count() >= 4)
    {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        assert!(cells[3].ends_with('.'), "{line}");
        assert!(cells[4].ends_with('.'), "{line}");
    }
}

/// Returns a value of each variant of [`Reason`] whose code does not depend on a kind.
fn without_kinds() -> Vec<Reason> {
    let claims = ClaimsChallenge::authentication_context("c1").unwrap();
    vec![
        Reason::NoCredentials,
        Reason::OtherScheme,
        Reason::MalformedAuthorization {
            found: "".into(),
            remedy: None,
        },
        Reason::SeveralAuthorizations,
        Reason::Challenged {
            claims,
            is_understood: false,
        },
        Reason::OtherClaims { type_name: "" },
        Reason::InvalidRequirement {
            type_name: "",
            problems: String::new(),
        },
        Reason::ExpiredWhileServed,
        Reason::CallerNotAllowed,
        Reason::Ended(Box::new(Reason::CallerNotAllowed)),
        Reason::WrongLayer { of_another: false },
        Reason::HookPanicked,
    ]
}

/// Returns the section of the page that lists a reason.
///
/// The match has no wildcard: a new variant does not compile until it has a section here, and belongs in
/// [`without_kinds`].
fn section_of(reason: &Reason) -> &'static str {
    match reason {
        Reason::NoCredentials
        | Reason::OtherScheme
        | Reason::MalformedAuthorization { .. }
        | Reason::SeveralAuthorizations => "The token is missing or cannot be read",
        Reason::InvalidToken { .. } | Reason::ExpiredWhileServed => "The token is not valid",
        Reason::PermissionDenied { .. }
        | Reason::Challenged { .. }
        | Reason::OtherClaims { .. }
        | Reason::Forbidden { .. }
        | Reason::CallerNotAllowed => "The token permits too little",
        Reason::Unavailable { .. } | Reason::NotNow { .. } => "The token cannot be judged now",
        Reason::Ended(reason) => section_of(reason),
        Reason::InvalidRequirement { .. } | Reason::WrongLayer { .. } | Reason::HookPanicked => {
            "The service is programmed wrongly"
        }
    }
}

/// Returns the rows of the page by their sections.
fn listed() -> BTreeMap<&'static str, Vec<Listed>> {
    let mut sections = BTreeMap::new();
    for section in PAGE.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let mut rows: Vec<Listed> = rows.map(listed_row).collect();
        rows.sort();
        sections.insert(title, rows);
    }
    sections
}

/// Returns a row of the page: the public code is beside the exact one, or in the words above the table.
fn listed_row(line: &str) -> Listed {
    let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
    let mut next = || cells.next().unwrap().to_owned();
    let (codes, status, grpc_status) = (next(), next(), next());
    let mut codes = codes.split('`').skip(1).step_by(2);
    let code = codes.next().unwrap().to_owned();
    let public = match codes.next() {
        Some(public) => Some(public).filter(|public| *public != code),
        None if status == "503" => Some("keys_unavailable"),
        None => None,
    };
    (code, status, grpc_status, public.map(str::to_owned))
}
