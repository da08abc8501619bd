//! A certificate with its private key, from memory or from files that are read again with every
//! request.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::{InvalidCredential, read_file, x509};

/// A certificate of the app registration (Certificates & secrets > Certificates) and its RSA
/// private key, in PEM.
///
/// The key signs an assertion for each request (`PS256`, `x5t#S256`) and never leaves the process.
///
/// If the certificate comes from files, they are read again with every request, so that a renewed
/// certificate is used without a restart. While the files cannot be read or used, the last good
/// certificate stays in use, and the log says so once. To renew a file, write a new file under
/// another name and rename it, so that it is never read half-written.
///
/// A PKCS #12 file (`.pfx`) becomes PEM by `openssl pkcs12 -in client.pfx -nodes -out client.pem`.
#[derive(Clone)]
pub struct Certificate(Arc<WatchedCertificate>);

/// A certificate, and the files that it came from.
struct WatchedCertificate {
    /// Empty if the certificate came from memory.
    files: Vec<PathBuf>,
    current: Mutex<CurrentKey>,
}

/// The key in use, and the last content of the files.
struct CurrentKey {
    key: Arc<SigningKey>,
    /// Result of the last reading, usable or not: a hash of the files, or the error.
    last_read: Result<[u8; 32], String>,
}

/// The private key, with the needed parts of its certificate.
pub(super) struct SigningKey {
    pair: rsa::KeyPair,
    thumbprint: String,
    not_after: Option<SystemTime>,
}

impl Certificate {
    /// Parses the certificate and its private key from one PEM text, in any order.
    ///
    /// The text may contain further certificates, such as a chain. The certificate of the private
    /// key is used.
    ///
    /// # Errors
    /// If the text has no certificate, or not exactly one private key. If that key is not an
    /// unencrypted RSA key (PKCS #8 or PKCS #1) of 2048 to 8192 bits, or no certificate belongs to
    /// it. An expired certificate is no error: the log gets a warning, and Entra decides.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, InvalidCredential> {
        let pem = pem.as_ref();
        Ok(Self::new(Vec::new(), pem, SigningKey::parse(pem)?))
    }

    /// Reads the certificate and its private key from one PEM file, and again with every request.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and if the file cannot be read now.
    pub fn from_pem_file(path: impl Into<PathBuf>) -> Result<Self, InvalidCredential> {
        Self::from_files(vec![path.into()])
    }

    /// Reads the certificate (`tls.crt`) and its private key (`tls.key`) from two PEM files, and
    /// again with every request.
    ///
    /// # Errors
    /// As [`from_pem_file`](Self::from_pem_file).
    pub fn from_pem_files(
        certificate: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
    ) -> Result<Self, InvalidCredential> {
        Self::from_files(vec![certificate.into(), private_key.into()])
    }

    fn from_files(files: Vec<PathBuf>) -> Result<Self, InvalidCredential> {
        let pem = read_files(&files).map_err(InvalidCredential::new)?;
        let key = SigningKey::parse(&pem)
            .map_err(|error| InvalidCredential::new(format!("{}: {error}", display(&files))))?;
        Ok(Self::new(files, &pem, key))
    }

    fn new(files: Vec<PathBuf>, pem: &[u8], key: SigningKey) -> Self {
        Self(Arc::new(WatchedCertificate {
            files,
            current: Mutex::new(CurrentKey {
                key: Arc::new(key),
                last_read: Ok(sha256(pem)),
            }),
        }))
    }

    /// Returns the current key, after reading the files again.
    pub(super) async fn signing_key(&self, now: SystemTime) -> Arc<SigningKey> {
        if self.0.files.is_empty() {
            return self.0.current().key.clone();
        }
        let watched = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || read_files(&watched.files)).await {
            Ok(read) => self.0.update(read, now),
            // The runtime is ending.
            Err(_) => self.0.current().key.clone(),
        }
    }

    pub(super) fn warn_if_expired(&self, now: SystemTime) {
        self.0.current().key.warn_if_expired(now);
    }
}

impl WatchedCertificate {
    fn current(&self) -> MutexGuard<'_, CurrentKey> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the key if the files changed, and returns the current key.
    ///
    /// Runs in the request's task, not where the files are read, so that the log lines have the
    /// request's span.
    fn update(&self, read: Result<Vec<u8>, String>, now: SystemTime) -> Arc<SigningKey> {
        let mut current = self.current();
        let last_read = read.as_deref().map(sha256).map_err(Clone::clone);
        if current.last_read == last_read {
            return current.key.clone();
        }
        current.last_read = last_read;
        let key = read.and_then(|pem| SigningKey::parse(&pem).map_err(|error| error.to_string()));
        let files = display(&self.files);
        match key {
            Ok(key) if key.thumbprint == current.key.thumbprint => {}
            Ok(key) => {
                tracing::info!(
                    files,
                    thumbprint = key.thumbprint,
                    "client certificate renewed"
                );
                key.warn_if_expired(now);
                current.key = Arc::new(key);
            }
            Err(error) => tracing::warn!(
                files,
                error,
                remedy = "put a certificate and its RSA private key in these files, as PEM",
                "cannot read the client certificate again; the last good certificate stays in use"
            ),
        }
        current.key.clone()
    }
}

impl SigningKey {
    fn parse(pem: &[u8]) -> Result<Self, InvalidCredential> {
        let problem = |text: &str| InvalidCredential::new(text);
        let not_pem =
            || problem("not PEM; convert a .pfx file with openssl pkcs12 -in client.pfx -nodes");
        if !contains(pem, b"-----BEGIN ") {
            return Err(not_pem());
        }
        let keys: Vec<PrivateKeyDer<'_>> = PrivateKeyDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem())?;
        let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem())?;
        if certificates.is_empty() {
            return Err(problem(
                "no certificate; a block -----BEGIN CERTIFICATE----- is missing",
            ));
        }
        let pair = match keys.as_slice() {
            [] if contains(pem, b"ENCRYPTED PRIVATE KEY") => {
                return Err(problem(
                    "the private key is encrypted; decrypt it with openssl pkey, and protect the \
                     file instead",
                ));
            }
            [] => {
                return Err(problem(
                    "no private key; a block -----BEGIN PRIVATE KEY----- is missing",
                ));
            }
            [PrivateKeyDer::Pkcs8(key)] => rsa::KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            [PrivateKeyDer::Pkcs1(key)] => rsa::KeyPair::from_der(key.secret_pkcs1_der()),
            [_] => return Err(problem("the private key is not RSA, which Entra requires")),
            _ => return Err(problem("more than one private key")),
        };
        // The library's reasons are for programmers: InvalidEncoding, TooSmall, …
        let pair = pair.map_err(|reason| {
            InvalidCredential::new(format!(
                "the private key is not an RSA key of 2048 to 8192 bits ({reason})"
            ))
        })?;
        let public_key = pair.public_key().as_ref();
        let found = certificates.iter().find_map(|der| {
            let parsed = x509::parse(der)?;
            (parsed.public_key == public_key).then_some((der, parsed.not_after))
        });
        let Some((der, not_after)) = found else {
            return Err(problem(
                "the private key does not belong to the certificate",
            ));
        };
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(sha256(der));
        let not_after = not_after.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        Ok(Self {
            pair,
            thumbprint,
            not_after,
        })
    }

    pub(super) fn pair(&self) -> &rsa::KeyPair {
        &self.pair
    }

    /// Returns the thumbprint for `x5t#S256` (RFC 7515 §4.1.8).
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    fn warn_if_expired(&self, now: SystemTime) {
        if self.not_after.is_some_and(|not_after| not_after < now) {
            tracing::warn!(
                thumbprint = self.thumbprint,
                remedy = "create a new certificate and add it to the app registration",
                "the client certificate has expired"
            );
        }
    }
}

/// Reads the files one after another into one text.
fn read_files(files: &[PathBuf]) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for path in files {
        all.extend(read_file(path)?);
        all.push(b'\n');
    }
    Ok(all)
}

fn display(files: &[PathBuf]) -> String {
    let names = files
        .iter()
        .map(|path: &PathBuf| Path::display(path).to_string());
    names.collect::<Vec<_>>().join(", ")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("thumbprint", &self.0.current().key.thumbprint)
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}
