//! Tests of copying mistakes in settings.

use crate::settings::problem;

#[tokio::test]
async fn a_slip_of_copying_is_named() {
    let (setting, text) =
        problem(|settings| settings.public_url("\"https://mcp.example.com\"")).await;
    assert_eq!(
        (&*setting, &*text),
        (
            "public_url",
            "\"\"https://mcp.example.com\"\" has quotes in it, which an environment file keeps; \
             remove them; for example https://mcp.example.com or, for development, \
             http://127.0.0.1:8080"
        )
    );
    let (setting, text) = problem(|settings| settings.app_id_uri("${APP_ID_URI}")).await;
    assert_eq!(
        (&*setting, &*text),
        (
            "audience",
            "\"${APP_ID_URI}\" is a variable that was not expanded; set its value"
        )
    );
}
