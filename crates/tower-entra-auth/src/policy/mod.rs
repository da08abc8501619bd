//! Questions about a verified token that are asked outside: after every other check, with an
//! answer that is remembered.

mod cached_check;
mod grant_rule;
mod tenant_rule;
mod waiting;

pub(crate) use self::cached_check::{AfterCheck, AfterChecks, Answer, Asking, Remembering};
pub(crate) use self::grant_rule::GrantRule;
pub(crate) use self::tenant_rule::TenantRule;
pub(crate) use self::waiting::Place;
