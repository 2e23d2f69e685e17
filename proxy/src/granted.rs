//! Sends a request with the credential it was granted. Where the destination no longer takes that credential, it is renewed
//! and a request that can be repeated is sent once more; every other answer passes as it is.

use std::sync::{Arc, PoisonError};

use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode, Uri, request};
use model::{Grant, Refusal};
use vault::Credential;

use crate::House;
use crate::body::{Download, Kept, Progress, Upload};
use crate::forward::forward;
use crate::inject::inject;
use crate::snapshot::Snapshot;

/// A permission and the credential that the vault gave for it.
pub(crate) struct Granted {
    pub(crate) grant: Grant,
    pub(crate) credential: Credential,
}

impl Granted {
    /// Injects, forwards, and repeats after a 401 where that is possible.
    pub(crate) async fn send(
        self,
        house: &House,
        snapshot: &Snapshot,
        parts: request::Parts,
        mut upload: Upload,
        progress: Arc<Progress>,
    ) -> Result<Response<Download>, Refusal> {
        let Self { grant, credential } = self;
        let spare = credential.is_renewable().then(|| Spare::of(&parts, &mut upload));
        let authenticated = inject(parts, upload, &grant, &credential, &house.via)?;
        let response = forward(house, snapshot, authenticated, Arc::clone(&progress)).await?;
        let Some(spare) = spare.filter(|_| response.status() == StatusCode::UNAUTHORIZED) else { return Ok(response) };
        let Some((parts, upload, progress)) = spare.again(&progress) else {
            // The answer passes at once; the next request finds the next token.
            let (vault, generation) = (Arc::clone(&house.vault), credential.generation());
            tokio::spawn(async move { vault.renewed(&grant, generation).await });
            return Ok(response);
        };
        let Some(next) = house.vault.renewed(&grant, credential.generation()).await else { return Ok(response) };
        let authenticated = inject(parts, upload, &grant, &next, &house.via)?;
        forward(house, snapshot, authenticated, progress).await
    }
}

/// What it takes to send a request once more.
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Kept,
}

impl Spare {
    fn of(parts: &request::Parts, upload: &mut Upload) -> Self {
        let (method, uri, headers) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
        Self { method, uri, headers, body: upload.keep() }
    }

    /// The request anew; `None` where its body was too long to be kept, or has not passed whole.
    fn again(self, progress: &Progress) -> Option<(request::Parts, Upload, Arc<Progress>)> {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if !progress.is_sent() {
            return None;
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.method, parts.uri, parts.headers) = (self.method, self.uri, self.headers);
        let (upload, progress) = Upload::kept(body.freeze());
        Some((parts, upload, progress))
    }
}
