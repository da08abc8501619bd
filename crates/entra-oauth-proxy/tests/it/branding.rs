//! Tests of the operator's name, logo and support links on the pages, and of invalid values.

use entra_oauth_proxy::{Branding, EntraOAuthProxyBuilder};
use http::StatusCode;

use crate::support::{Reply, Stage, settings, tenant};
use crate::told::links;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

async fn stage(branding: Branding) -> Stage {
    Stage::with(|settings| settings.branding(branding)).await
}

/// Returns an error page.
async fn error_of(stage: &Stage) -> Reply {
    let page = stage.get("/authorize?client_id=x").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    page
}

#[track_caller]
fn says(page: &Reply, words: &str) {
    assert!(page.text().contains(words), "{words}: {}", page.text());
}

/// Returns the `img-src` directive of a page's content security policy.
fn images(page: &Reply) -> Option<&str> {
    let mut directives = page.header("content-security-policy").split("; ");
    directives.find(|directive| directive.starts_with("img-src"))
}

#[tokio::test(start_paused = true)]
async fn a_tenant_without_a_name_is_the_persons_organization_and_its_id_is_in_small() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let page = stage.get(&client.authorize(&[])).await;
    let tenant = stage.tenant.id();
    says(
        &page,
        &format!(
            "<dt>You sign in with</dt>\n<dd>Your organization's Microsoft account</dd>\n\
             <dd class=\"note\">Tenant <code>{tenant}</code></dd>\n</div>"
        ),
    );
    assert!(!page.text().contains("class=\"brand\""));
    says(
        &error_of(&stage).await,
        "<p class=\"note\">If you ask for help, give this reference: <code>",
    );
    let stage =
        Stage::with(|settings| settings.tenant(tower_entra_auth::Tenancy::organizations())).await;
    let page = stage.get(&stage.client().await.authorize(&[])).await;
    says(&page, "<dd>A work or school Microsoft account</dd>\n</div>");
}

#[tokio::test(start_paused = true)]
async fn the_name_is_on_every_page_and_stands_for_the_tenant() {
    let stage = stage(Branding::new(" Contoso & <Sons> ")).await;
    let client = stage.client().await;
    let consent = stage.get(&client.authorize(&[])).await;
    says(
        &consent,
        "<dt>You sign in with</dt>\n\
         <dd>Your Microsoft account of <bdi>Contoso &amp; &lt;Sons&gt;</bdi></dd>\n</div>",
    );
    assert!(
        !consent.text().contains(stage.tenant.id()),
        "{}",
        consent.text()
    );
    let brand = "<main>\n<p class=\"brand\">\n<bdi>Contoso &amp; &lt;Sons&gt;</bdi></p>\n<h1>";
    for page in [
        consent,
        error_of(&stage).await,
        stage.get("/signed-out").await,
    ] {
        says(&page, brand);
        assert_eq!(images(&page), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_logo_is_in_the_page_and_the_policy_allows_that_alone() {
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    for (media_type, image, encoded) in [
        ("image/png", PNG, "iVBORw0KGgpyZXN0"),
        (
            "image/svg+xml",
            svg.as_bytes(),
            "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4=",
        ),
    ] {
        let stage = stage(Branding::new("Contoso").logo(media_type, image)).await;
        let client = stage.client().await;
        let consent = stage.get(&client.authorize(&[])).await;
        for page in [
            consent,
            error_of(&stage).await,
            stage.get("/signed-out").await,
        ] {
            let source = format!("data:{media_type};base64,{encoded}");
            says(
                &page,
                &format!("<img alt=\"\" src=\"{source}\">\n<bdi>Contoso</bdi>"),
            );
            assert_eq!(images(&page), Some("img-src data:"));
            let policy = page.header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'; style-src 'sha256-"),
                "{policy}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_about_errors_say_where_to_get_help() {
    let (url, email) = (
        "https://intranet.contoso.com/help?a=1&b=2",
        "help@contoso.com",
    );
    let shown = "<a href=\"https://intranet.contoso.com/help?a=1&amp;b=2\" rel=\"noreferrer\">\
                 https://intranet.contoso.com/help?a=1&amp;b=2</a>";
    let mail = "<a href=\"mailto:help@contoso.com\" rel=\"noreferrer\">help@contoso.com</a>";
    let contoso = || Branding::new("Contoso");
    for (branding, help) in [
        (contoso().support_url(url), format!("go to {shown}")),
        (contoso().support_email(email), format!("write to {mail}")),
        (
            contoso().support_url(url).support_email(email),
            format!("go to {shown} or write to {mail}"),
        ),
    ] {
        let stage = stage(branding).await;
        let help = format!("<p class=\"note\">For help, {help}, and give this reference: <code>");
        says(&error_of(&stage).await, &help);
        let client = stage.client().await;
        let consent = stage.get(&client.authorize(&[])).await;
        assert_eq!(links(&consent), ["/sign-out"]);
    }
}

#[tokio::test]
async fn a_branding_that_cannot_be_shown_is_a_problem_of_the_settings() {
    let tenant = tenant().start().await.unwrap();
    let problem = |branding: Branding| {
        let settings: EntraOAuthProxyBuilder = settings(&tenant).branding(branding);
        let error = settings.build().unwrap_err();
        let problems: Vec<String> = error.problems().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    let contoso = || Branding::new("Contoso");
    let no_page =
        "is not an https URL without a user name, such as https://intranet.contoso.com/help";
    for (branding, expected) in [
        (
            Branding::new(" "),
            "branding: \"\" is not a name of 1 to 60 characters in one line, such as Contoso"
                .to_owned(),
        ),
        (
            Branding::new("a\nb"),
            "branding: \"a\\nb\" is not a name of 1 to 60 characters in one line, such as Contoso"
                .to_owned(),
        ),
        (
            contoso().logo("image/gif", PNG),
            "branding.logo: \"image/gif\" is neither image/png nor image/svg+xml".to_owned(),
        ),
        (
            contoso().logo("image/svg+xml", PNG),
            "branding.logo: the image is not image/svg+xml".to_owned(),
        ),
        (
            contoso().logo("image/png", "<svg/>"),
            "branding.logo: the image is not image/png".to_owned(),
        ),
        (
            contoso().logo("image/svg+xml", format!("<svg/>{}", " ".repeat(65_531))),
            "branding.logo: 65537 bytes; at most 65536".to_owned(),
        ),
        (
            contoso().support_url("http://contoso.com"),
            format!("branding.support_url: \"http://contoso.com\" {no_page}"),
        ),
        (
            contoso().support_url("javascript:alert(1)"),
            format!("branding.support_url: \"javascript:alert(1)\" {no_page}"),
        ),
        (
            contoso().support_url("https://a:b@contoso.com"),
            format!(
                "branding.support_url: \"(not shown: it has a user name or password)\" {no_page}"
            ),
        ),
        (
            contoso().support_email("help"),
            "branding.support_email: \"help\" is not an email address such as help@contoso.com"
                .to_owned(),
        ),
        (
            contoso().support_email("help@contoso.com?bcc=a@b"),
            "branding.support_email: \"help@contoso.com?bcc=a@b\" is not an email address such as \
             help@contoso.com"
                .to_owned(),
        ),
    ] {
        assert_eq!(problem(branding), expected);
    }
    let longest = contoso().logo("image/svg+xml", format!("<svg/>{}", " ".repeat(65_530)));
    assert!(settings(&tenant).branding(longest).build().is_ok());
}
