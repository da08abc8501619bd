//! Grants, their tokens and their users.

pub(crate) mod challenges;
pub(crate) mod ending;
pub(crate) mod ends;
pub(crate) mod grant;
pub(crate) mod refresh_lock;
pub(crate) mod standing;
pub(crate) mod user;
pub(crate) mod user_record;
pub(crate) mod users;
