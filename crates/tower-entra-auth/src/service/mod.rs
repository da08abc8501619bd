//! What the services of all Layers here have in common.

mod answer;
mod body;
mod future;

pub(crate) use self::answer::{for_body, for_method, new_answer};
pub use self::body::ResponseBody;
pub use self::future::ResponseFuture;
pub(crate) use self::future::polled_after_completion;

/// The inner service of a Layer's service, as tower's own services give it.
macro_rules! inner_service_accessors {
    () => {
        /// Returns the inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(crate) use inner_service_accessors;
