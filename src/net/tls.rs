//! TLS on both sides, by rustls.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::net::stream::Stream;
use crate::net::{ClientTls, ClientTlsMode, ServerTls, SslMode};

/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {reason}")]
    File { path: String, reason: String },
    #[error("TLS needs both certificate_file and key_file")]
    Incomplete,
    #[error("sslmode verify-ca and verify-full need root_certificate_file")]
    NoRoots,
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] Error),
    #[error("the root certificates cannot be used: {0}")]
    Roots(#[from] rustls::client::VerifierBuilderError),
}

/// What is needed to speak TLS with clients.
#[derive(Clone)]
pub struct Acceptor {
    acceptor: TlsAcceptor,
    /// The chain as PEM, for SCRAM's channel binding.
    pub certificate_pem: Arc<Vec<u8>>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

fn unreadable(path: &Path) -> impl Fn(rustls_pki_types::pem::Error) -> TlsError + '_ {
    |error| TlsError::File { path: path.display().to_string(), reason: error.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(unreadable(path))
}

impl Acceptor {
    /// Reads the files; `None` when TLS is disabled.
    ///
    /// # Errors
    /// When a file is missing or does not hold what it should.
    pub fn load(options: &ClientTls) -> Result<Option<Self>, TlsError> {
        if options.mode == ClientTlsMode::Disable {
            return Ok(None);
        }
        let (Some(certificate_file), Some(key_file)) = (&options.certificate_file, &options.key_file) else {
            return Err(TlsError::Incomplete);
        };
        let chain = certificates(certificate_file)?;
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(unreadable(key_file))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let pem = std::fs::read(certificate_file)
            .map_err(|error| TlsError::File { path: certificate_file.display().to_string(), reason: error.to_string() })?;
        Ok(Some(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate_pem: Arc::new(pem) }))
    }

    /// Performs the server's side of the handshake.
    ///
    /// # Errors
    /// When the client breaks off or speaks no TLS.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        match stream {
            Stream::Tcp(stream) => Ok(Stream::Tls(Box::new(TlsStream::Server(self.acceptor.accept(stream).await?)))),
            // As PostgreSQL: no TLS over unix sockets.
            stream => Ok(stream),
        }
    }
}

/// What is needed to speak TLS with servers.
#[derive(Clone)]
pub struct Connector {
    connector: TlsConnector,
    pub mode: SslMode,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the root certificates and builds what `mode` needs; `None` when TLS is disabled.
    ///
    /// # Errors
    /// When a file is missing or does not hold what it should.
    pub fn load(options: &ServerTls) -> Result<Option<Self>, TlsError> {
        let verifier: Arc<dyn ServerCertVerifier> = match options.mode {
            SslMode::Disable => return Ok(None),
            SslMode::Prefer | SslMode::Require => Arc::new(Unverified(provider())),
            SslMode::VerifyCa | SslMode::VerifyFull => {
                let path = options.root_certificate_file.as_deref().ok_or(TlsError::NoRoots)?;
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
                if options.mode == SslMode::VerifyFull { verifier } else { Arc::new(AnyName(verifier)) }
            }
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), mode: options.mode }))
    }

    /// Performs the client's side of the handshake with the server `host`.
    ///
    /// # Errors
    /// When the certificate is not trusted or the server breaks off.
    pub async fn connect(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let Stream::Tcp(stream) = stream else { return Ok(stream) };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(self.connector.connect(name, stream).await?))))
    }

    /// As [`Self::connect`], over any stream.
    pub(crate) async fn handshake<S>(&self, name: ServerName<'static>, stream: S) -> io::Result<tokio_rustls::client::TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        self.connector.connect(name, stream).await
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// `sslmode=prefer` and `require` encrypt without asking who answers, as libpq documents.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `sslmode=verify-ca`: a trusted chain for any name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
