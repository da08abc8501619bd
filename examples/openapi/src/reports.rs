//! The API: reports, with what the document says of each operation.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tower_entra_auth::Caller;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    title: String,
    /// The object id of its author.
    author: String,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct NewReport {
    #[schema(example = "Sales in November")]
    title: String,
}

/// Lists the reports.
#[utoipa::path(
    get,
    path = "/reports",
    responses((status = 200, description = "The reports", body = Vec<Report>))
)]
pub(crate) async fn list(caller: Caller) -> Json<Vec<Report>> {
    Json(vec![report("Sales in October".to_owned(), &caller)])
}

/// Writes a report.
#[utoipa::path(
    post,
    path = "/reports",
    request_body = NewReport,
    responses((status = 201, description = "The report", body = Report))
)]
pub(crate) async fn write(
    caller: Caller,
    Json(new): Json<NewReport>,
) -> (StatusCode, Json<Report>) {
    (StatusCode::CREATED, Json(report(new.title, &caller)))
}

fn report(title: String, caller: &Caller) -> Report {
    Report {
        title,
        author: caller.id().to_string(),
    }
}
