//! Proves that a Layer accepts valid tokens and refuses bad ones, so that no faulty Layer is
//! measured.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::runtime::Runtime;

use crate::material::{Material, request};
use crate::subject::Protected;

/// Maximum wait for the first keys: some Layers fetch them only after they were built.
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
                "{} responds with {status} to a valid token",
                layer.name()
            ));
        }
    }
    for (what, token) in &material.bad {
        let status = layer.answer(runtime, request(token.as_deref()));
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(format!("{} responds with {status} to {what}", layer.name()));
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
