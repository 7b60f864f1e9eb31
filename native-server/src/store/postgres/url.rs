//! `DATABASE_URL`: what libpq means by it, TLS included.

use anyhow::{Context, Result, bail};
use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

const SHAPE: &str =
    "postgres://user:password@host:port/database, reserved characters percent-encoded (@ is %40)";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that vanished without a word is noticed within about half a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// What of a server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    /// Nothing: `prefer`, and `require` without a root certificate, as in libpq.
    Nothing,
    /// Who signed it: `verify-ca`, and `require` with a root certificate.
    Chain,
    /// That, and that it is of the host connected to.
    ChainAndName,
}

/// Reads the URL. Errors never show it: it may hold a password.
pub(super) fn parse(url: &str) -> Result<(Config, MakeRustlsConnect)> {
    let (mode, root_cert, rest) = split_tls(url)?;
    let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let problem = source.unwrap_or_else(|| error.to_string());
        anyhow::anyhow!("DATABASE_URL: {problem}; allowed is {SHAPE}")
    })?;
    let (ssl_mode, verify) = match (mode.as_deref().unwrap_or("prefer"), &root_cert) {
        ("disable", _) => (SslMode::Disable, Verify::Nothing),
        ("allow" | "prefer", _) => (SslMode::Prefer, Verify::Nothing),
        ("require", None) => (SslMode::Require, Verify::Nothing),
        ("require", Some(_)) | ("verify-ca", _) => (SslMode::Require, Verify::Chain),
        ("verify-full", _) => (SslMode::Require, Verify::ChainAndName),
        (other, _) => bail!(
            "DATABASE_URL: sslmode={other}: allowed is disable, allow, prefer, require, verify-ca or verify-full"
        ),
    };
    config.ssl_mode(ssl_mode);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("nself-sync");
    }
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.keepalives_interval(KEEPALIVE_INTERVAL);
    config.keepalives_retries(KEEPALIVE_RETRIES);
    config.tcp_user_timeout(TCP_USER_TIMEOUT);
    Ok((config, MakeRustlsConnect::new(tls(verify, root_cert.as_deref())?)))
}

/// Takes `sslmode` and `sslrootcert` out of the URL's query: the client library knows neither as libpq does.
fn split_tls(url: &str) -> Result<(Option<String>, Option<String>, String)> {
    let Some((before, query)) = url.split_once('?') else { return Ok((None, None, url.to_owned())) };
    let (mut mode, mut root_cert, mut rest) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || {
            let decoded = percent_decode_str(value).decode_utf8();
            decoded.map(|value| value.into_owned()).with_context(|| format!("DATABASE_URL: {name}"))
        };
        match name {
            "sslmode" => mode = Some(value()?),
            "sslrootcert" => root_cert = Some(value()?),
            _ => rest.push(pair),
        }
    }
    let rest = if rest.is_empty() { before.to_owned() } else { format!("{before}?{}", rest.join("&")) };
    Ok((mode, root_cert, rest))
}

fn tls(verify: Verify, root_cert: Option<&str>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS")?;
    let (mut pinned, mut chain) = (Vec::new(), None);
    if verify != Verify::Nothing {
        pinned =
            root_cert.filter(|path| *path != "system").map(certificates).transpose()?.unwrap_or_default();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pinned.iter().cloned());
        if pinned.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        chain = Some(verifier.build().context("DATABASE_URL: sslrootcert")?);
    }
    let name = verify == Verify::ChainAndName;
    let verifier = Arc::new(Verifier { chain, pinned, name, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificates of a file.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let context = || format!("DATABASE_URL: sslrootcert={path}");
    let read = CertificateDer::pem_file_iter(path).with_context(context)?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().with_context(context)?;
    if certificates.is_empty() {
        bail!("DATABASE_URL: sslrootcert={path}: no certificate in it");
    }
    Ok(certificates)
}

/// Looks at as much of a server's certificate as libpq would.
#[derive(Debug)]
struct Verifier {
    /// `None`: anybody's will do, which is encryption against who only listens.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// What the operator trusts is also good as the server's own: many sign that with itself.
    pinned: Vec<CertificateDer<'static>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            if self.name {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
