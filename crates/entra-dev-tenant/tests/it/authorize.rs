//! The sign-in page and what it answers.

use crate::browser::{authorize_url, open, redirected_refusal, submit, tenant};

#[tokio::test]
async fn the_page_has_a_button_for_each_user_and_one_to_decline() {
    let tenant = tenant().await;
    let page = open(&authorize_url(&tenant, &[])).await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for part in [
        "<form id=\"sign-in\" method=\"post\"",
        "name=\"user\" value=\"ada\"",
        "name=\"user\" value=\"grace\"",
        "name=\"decline\" value=\"1\"",
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/read",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
}

#[tokio::test]
async fn a_user_who_declines_is_told_of_to_the_client() {
    let tenant = tenant().await;
    let answer = submit(&authorize_url(&tenant, &[]), &[("decline", "1")]).await;
    assert_eq!(answer.status, 302);
    let location = answer.location();
    assert_eq!(
        redirected_refusal(&location),
        ("access_denied".to_owned(), 65_004)
    );
}
