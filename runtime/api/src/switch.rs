//! The router that is in force, so that another can take its place while connections stay.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{Router, extract::Request};
use tower::ServiceExt as _;

/// Holds the router in force.
#[derive(Debug)]
pub struct Switch(RwLock<Router>);

impl Switch {
    /// This router to begin with.
    pub fn new(router: Router) -> Arc<Self> {
        Arc::new(Self(RwLock::new(router)))
    }

    /// Lets this router answer from the next request on. Those that are being answered go on as they began.
    pub fn put(&self, router: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    /// What a listener serves: whatever is in force at each request.
    pub fn router(self: &Arc<Self>) -> Router {
        let switch = Arc::clone(self);
        Router::new().fallback(move |request: Request| {
            let router = switch.0.read().unwrap_or_else(PoisonError::into_inner);
            router.clone().oneshot(request)
        })
    }
}
