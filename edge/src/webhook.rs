//! Events on their way to the webhooks plugin: the object's alarm gives its user a turn.

use nself_sync_engine::outbox::{Answer, Recorded};
use std::pin::pin;
use std::time::Duration;
use worker::{AbortController, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Result};

/// How long the target may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Where events go.
pub struct Webhook {
    /// The plugin's base URL, without a slash at its end.
    pub url: String,
    /// What it knows this installation's plugins by.
    pub secret: Option<String>,
}

impl Webhook {
    /// Sends an event. Nothing came back: it may be taken later.
    pub async fn send(&self, event: &Recorded) -> Answer {
        let controller = AbortController::default();
        let signal = controller.signal();
        let sending = async {
            // Of the answer only its head counts.
            let response = Fetch::Request(self.request(event)?).send_with_signal(&signal).await?;
            let retry_after = response.headers().get("retry-after")?;
            Ok::<_, worker::Error>(Answer::of(response.status_code(), retry_after.as_deref()))
        };
        let late = async {
            Delay::from(ANSWER_MAX).await;
            Ok(Answer::Later(None))
        };
        let (sending, late) = (pin!(sending), pin!(late));
        let answer = futures_util::future::select(sending, late).await.factor_first().0;
        controller.abort();
        answer.unwrap_or(Answer::Later(None))
    }

    fn request(&self, event: &Recorded) -> Result<Request> {
        let headers = Headers::new();
        headers.set("content-type", "application/json")?;
        headers.set("idempotency-key", &event.id)?;
        headers.set("x-source-plugin", "sync")?;
        if let Some(secret) = &self.secret {
            headers.set("x-plugin-secret", secret)?;
        }
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_headers(headers).with_redirect(RequestRedirect::Manual);
        init.with_body(Some(event.body().into()));
        Request::new_with_init(&format!("{}/v1/dispatch", self.url), &init)
    }
}
