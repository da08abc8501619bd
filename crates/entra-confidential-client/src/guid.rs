//! Ids for what is sent.

/// A GUID that nobody had before; none if the system has no random numbers.
pub(crate) fn guid() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    let guid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Some(guid.to_string())
}
