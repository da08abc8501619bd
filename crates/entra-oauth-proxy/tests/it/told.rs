//! Helpers for pages: their titles, and the links by which they lead on.

use http::StatusCode;
use url::Url;

use crate::support::Reply;

/// Returns the title of a page.
pub(crate) fn title(page: &Reply) -> &str {
    let (_, rest) = page.text().split_once("<title>").unwrap_or_default();
    rest.split_once("</title>").unwrap_or_default().0
}

/// Returns the addresses of all links of a page.
pub(crate) fn links(page: &Reply) -> Vec<String> {
    let found = page.text().split("href=\"").skip(1);
    let written = found.map(|rest| rest.split_once('"').unwrap().0);
    written
        .map(|link| link.replace("&#39;", "'").replace("&amp;", "&"))
        .collect()
}

/// Returns the address of the button on an error page, which is the only link on the page.
#[track_caller]
pub(crate) fn carried(page: &Reply) -> Url {
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "{}", page.text());
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.location(), "");
    let button = "<a class=\"button\" rel=\"noreferrer\" href=\"";
    assert!(page.text().contains(button), "{}", page.text());
    let links = links(page);
    assert_eq!(links.len(), 1, "{links:?}");
    links[0].parse().unwrap()
}
