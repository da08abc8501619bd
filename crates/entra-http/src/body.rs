//! Bodies, up to a limit.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

/// Reads a body to its end, unless it is longer than `limit` bytes: `None`.
///
/// # Errors
/// Those of the body.
pub(crate) async fn read_body<B>(body: B, limit: usize) -> Result<Option<Bytes>, B::Error>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if read.len() + data.len() > limit {
                return Ok(None);
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(Some(read.freeze()))
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_longer_than_the_limit_is_none() {
        let body = Full::new(Bytes::from_static(b"12345"));
        assert_eq!(read_body(body.clone(), 5).await.unwrap().unwrap(), "12345");
        assert_eq!(read_body(body, 4).await.unwrap(), None);
    }
}
