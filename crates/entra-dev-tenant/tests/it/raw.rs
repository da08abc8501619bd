//! HTTP/1.1 without a client library, for tests of the bytes on the wire, in memory and over TCP.

use entra_dev_tenant::{DevTenant, Endpoint};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;

use crate::support::{API, CLIENT};

/// The endpoint to which a request goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Discovery,
    Keys,
    Token,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Starts a tenant with a client, so that its token endpoint has right responses.
pub(crate) async fn tenant() -> DevTenant {
    let builder = DevTenant::builder().client(CLIENT, "s3cret", []);
    builder.start().await.unwrap()
}

impl Place {
    pub(crate) const ALL: [Self; 3] = [Self::Discovery, Self::Keys, Self::Token];

    pub(crate) fn endpoint(self, tenant: &DevTenant) -> &Endpoint {
        match self {
            Self::Discovery => tenant.discovery_endpoint(),
            Self::Keys => tenant.key_endpoint(),
            Self::Token => tenant.token_endpoint(),
        }
    }

    /// Returns whether a body is right for this endpoint.
    pub(crate) fn is_right(self, body: &[u8]) -> bool {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return false;
        };
        match self {
            Self::Discovery => body["jwks_uri"].is_string() && body["issuer"].is_string(),
            Self::Keys => body["keys"][0]["n"].is_string(),
            Self::Token => body["access_token"].is_string(),
        }
    }

    /// Sends a request with these headers, each with its line's end, and returns the connection
    /// before the response is read.
    pub(crate) async fn asks(self, tenant: &DevTenant, headers: &str) -> DuplexStream {
        let stream = tenant.connect_in_memory().unwrap();
        self.asks_on(stream, tenant, headers).await
    }

    /// Sends a request over TCP, for which the clock must run.
    pub(crate) async fn asks_over_tcp(self, tenant: &DevTenant, headers: &str) -> TcpStream {
        let stream = TcpStream::connect(tenant.address()).await.unwrap();
        self.asks_on(stream, tenant, headers).await
    }

    async fn asks_on<S>(self, mut stream: S, tenant: &DevTenant, headers: &str) -> S
    where
        S: AsyncWrite + Unpin,
    {
        let id = tenant.id();
        let (method, path, form) = match self {
            Self::Discovery => ("GET", "v2.0/.well-known/openid-configuration", None),
            Self::Keys => ("GET", "discovery/v2.0/keys", None),
            Self::Token => {
                let form = format!(
                    "grant_type=client_credentials&client_id={CLIENT}&client_secret=s3cret\
                     &scope=api://{API}/.default"
                );
                ("POST", "oauth2/v2.0/token", Some(form))
            }
        };
        let form = form.unwrap_or_default();
        let request = format!(
            "{method} /{id}/{path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: \
             application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len(),
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Returns the response to one request on its own connection.
    pub(crate) async fn answer(self, tenant: &DevTenant) -> Answer {
        self.answer_to(tenant, "").await
    }

    /// Returns the response to one request with these headers on its own connection.
    pub(crate) async fn answer_to(self, tenant: &DevTenant, headers: &str) -> Answer {
        let headers = format!("{headers}connection: close\r\n");
        let mut stream = self.asks(tenant, &headers).await;
        let mut answer = Answer::head_of(&mut stream).await;
        stream.read_to_end(&mut answer.body).await.unwrap();
        answer
    }
}

impl Answer {
    /// Reads status and headers, and leaves the body unread.
    pub(crate) async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        let headers = headers.lines().filter_map(|line| line.split_once(": "));
        Self {
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(found, _)| found == name);
        header.map(|(_, value)| &**value)
    }

    pub(crate) fn content_length(&self) -> usize {
        self.header("content-length").unwrap().parse().unwrap()
    }
}
