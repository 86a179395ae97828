//! A small HTTP client.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// Checks that this is a problem of the given status (RFC 9457) and returns its detail.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(
            self.header(header::CONTENT_TYPE),
            "application/problem+json"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// A body read line by line.
pub(crate) struct Lines {
    body: hyper::body::Incoming,
    waiting: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let frame = self.body.frame().await?.expect("the body comes");
            if let Some(data) = frame.data_ref() {
                self.waiting.extend_from_slice(data);
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    pub(crate) token: String,
}

impl Http {
    pub(crate) fn new(base: String, token: String) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base,
            token,
        }
    }

    /// The same server by connections of its own, which end with the value.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.base.clone(), self.token.clone())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(
            self.request(Method::GET, path)
                .body(Full::default())
                .expect("a request"),
        )
        .await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self
            .client
            .request(request)
            .await
            .expect("the server answers")
            .into_parts();
        let body = body
            .collect()
            .await
            .expect("the whole body comes")
            .to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The same where the server may close before it has read everything; `None` if it did.
    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let uri: Uri = self.url(path).parse().expect("a URI");
        Request::builder().method(method).uri(uri)
    }

    /// Posts an SDP offer with the token.
    pub(crate) async fn offer(&self, path: &str, sdp: &str) -> Answer {
        self.offer_as(&self.token, path, sdp).await
    }

    /// The same with another token.
    pub(crate) async fn offer_as(&self, token: &str, path: &str, sdp: &str) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/sdp")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Full::from(sdp.to_owned())).expect("a request"))
            .await
    }

    /// Sends a method with a token of its own and a body.
    pub(crate) async fn send_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = self
            .request(method, path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Full::from(body.into())).expect("a request"))
            .await
    }

    /// Gets what has no end yet, with a token of its own; its body comes as it is read.
    pub(crate) async fn open(&self, token: &str, path: &str) -> Lines {
        let request = self
            .request(Method::GET, path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Full::default()).expect("a request");
        let answer = self.client.request(request).await;
        let answer = answer.expect("the server answers");
        assert_eq!(answer.status(), StatusCode::OK);
        Lines {
            body: answer.into_body(),
            waiting: Vec::new(),
        }
    }

    /// Sends a method with the token and no body.
    pub(crate) async fn call(&self, method: Method, path: &str) -> Answer {
        let request = self
            .request(method, path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        self.send(request.body(Full::default()).expect("a request"))
            .await
    }
}

#[async_trait::async_trait]
impl lockgate_tests_peer::Server for Http {
    async fn offer(&self, path: &str, sdp: String) -> anyhow::Result<(String, String)> {
        let answer = Self::offer(self, path, &sdp).await;
        anyhow::ensure!(answer.status == 201, "{path}: {}", answer.text());
        Ok((answer.text(), answer.header("location").to_owned()))
    }

    async fn end(&self, session: &str) -> anyhow::Result<()> {
        let answer = self.call(Method::DELETE, session).await;
        anyhow::ensure!(answer.status.is_success(), "{session}: {}", answer.text());
        Ok(())
    }
}
