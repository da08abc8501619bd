//! That a Layer accepts what is valid and refuses what is not, so that nobody is measured
//! answering wrongly.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::runtime::Runtime;

use crate::material::{Material, request};
use crate::subject::Protected;

/// Some fetch their first keys only after they were made.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn of(
    runtime: &Runtime,
    layer: &mut dyn Protected,
    material: &Material,
) -> Result<(), String> {
    until_ready(runtime, layer, &material.valid[0])?;
    for token in &material.valid {
        let status = layer.answer(runtime, request(Some(token)));
        if status != StatusCode::OK {
            return Err(format!(
                "{} answers {status} to a valid token",
                layer.name()
            ));
        }
    }
    for (what, token) in &material.bad {
        let status = layer.answer(runtime, request(token.as_deref()));
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(format!("{} answers {status} to {what}", layer.name()));
        }
    }
    Ok(())
}

fn until_ready(runtime: &Runtime, layer: &mut dyn Protected, valid: &str) -> Result<(), String> {
    let started = Instant::now();
    while layer.answer(runtime, request(Some(valid))) != StatusCode::OK {
        if started.elapsed() > PATIENCE {
            return Err(format!("{} has no keys", layer.name()));
        }
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
    Ok(())
}
