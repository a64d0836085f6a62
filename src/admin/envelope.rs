//! What holds for every request of the admin plane, whatever answers it: its id, the check of its Host, a deadline,
//! an answer also when the code panics, header fields that keep browsers from guessing, and a count.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::extract::Waits;
use super::problem::Problem;
use super::state::{Admin, Connection};
use super::{host, request_id};
use crate::metrics::{MethodClass, StatusClass};

/// Where an answer has none of its own; the page's are its own.
const FIELDS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request by what is inside.
pub(super) async fn wrap(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let id = admin.lifecycle.entropy.hex128();
    let method = MethodClass::of(request.method().as_str().as_bytes());
    let mut response = request_id::within(id.clone(), answer(&admin, request, next)).await;
    for (name, value) in FIELDS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    admin.metrics.admin_answered(method, StatusClass::of(response.status().as_u16()));
    response
}

async fn answer(admin: &Admin, mut request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Connection>().copied();
    if !connection.is_some_and(|known| host::is_ours(request.uri(), request.headers(), known, &admin.settings.hosts)) {
        let detail = "keygate does not answer to this Host; add it to admin.hosts if it is meant to";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail).into_response();
    }
    let waits = Waits::default();
    request.extensions_mut().insert(waits.clone());
    let mut inner = pin!(without_panic(next.run(request)));
    tokio::select! {
        response = &mut inner => response,
        // Once for the body, which has an answer of its own for it, and once for the rest.
        () = tokio::time::sleep(admin.settings.request_timeout.saturating_mul(2)) => {
            if waits.is_set() {
                return inner.await;
            }
            tracing::error!(request_id = request_id::current(), "a request was given up after admin.request_timeout");
            Problem::unavailable("the answer was not there in time; a change may have been made all the same")
                .into_response()
        }
    }
}

/// A panic ends the request, with 500, and nothing else. The hook has logged and counted it.
async fn without_panic(work: impl Future<Output = Response>) -> Response {
    let mut work = pin!(work);
    std::future::poll_fn(move |cx| {
        // What the future leaves behind is never polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Problem::internal().into_response()))
    })
    .await
}

#[cfg(test)]
mod tests;
