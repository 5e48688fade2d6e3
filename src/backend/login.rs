//! Opens a server connection and logs in.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::backend::connection::{ServerConnection, ServerIdentity};
use crate::catalog::Attendance;
use crate::net::{self, Connector, SslMode, Stream};
use crate::topology::Endpoint;
use crate::wire::reader::Reader;
use crate::wire::{ClientError, DecodeError, ServerError, SqlState, frame, from_server, to_server};

/// A login reply longer than this is no PostgreSQL server's.
const LOGIN_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What `shardyard.enter` raises.
const FENCED: SqlState = SqlState(*b"SY002");

/// Who logs in where.
#[derive(Clone)]
pub struct Login {
    pub endpoint: Endpoint,
    pub user: String,
    pub password: Option<String>,
    pub tls: Option<Connector>,
    pub prepared_max: usize,
    pub attendance: Arc<Attendance>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("endpoint", &self.endpoint).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A server could not be reached or did not let us in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("could not connect to server {endpoint}: {source}")]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error("{0}")]
    Refused(Box<ServerError>),
    #[error("server {0} sent an invalid login reply")]
    Protocol(Endpoint),
    #[error("server {0} wants an authentication method that the proxy does not know")]
    Method(Endpoint),
    #[error("server {0} wants a password, and none is configured for this user")]
    NoPassword(Endpoint),
    #[error("server {0} does not speak TLS, but sslmode requires it")]
    NoTls(Endpoint),
    #[error("SCRAM login at server {endpoint} failed: {source}")]
    Scram { endpoint: Endpoint, source: io::Error },
    /// It will not be long: the proxy registers anew.
    #[error("this proxy has been fenced out by a move, and is registering anew")]
    Fenced,
}

impl LoginError {
    /// Whether the same attempt may succeed a little later: the server is down, starting or full.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Fenced => true,
            Self::Refused(error) => matches!(&error.code.0, b"57P01" | b"57P02" | b"57P03" | b"53300"),
            _ => false,
        }
    }
}

impl LoginError {
    /// Whether the server was away: it may not be the same when it is back.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Refused(error) => error.code.0.starts_with(b"57P0"),
            _ => false,
        }
    }
}

impl ClientError for LoginError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Refused(error) => error.code,
            Self::Fenced => SqlState(*b"57P03"),
            _ => SqlState::CONNECTION_FAILURE,
        }
    }
}

impl Login {
    /// Connects, logs in and waits until the server is ready.
    ///
    /// # Errors
    /// See [`LoginError`]. Cancel safe: a dropped attempt closes its socket.
    pub async fn open(&self) -> Result<ServerConnection, LoginError> {
        let stream = self.stream().await?;
        let mut identity = ServerIdentity { endpoint: self.endpoint.clone(), process_id: 0, secret: Vec::new() };
        let mut parameters = BTreeMap::new();
        let mut login = Conversation { login: self, stream, input: BytesMut::new(), output: BytesMut::new() };
        // No application_name: a client that sets none sees an empty one, as from PostgreSQL.
        let startup = [("user", self.user.as_str()), ("database", self.endpoint.database.as_str()), ("client_encoding", "UTF8")];
        to_server::startup(&mut login.output, &startup);
        login.authenticate().await?;
        login.ready(&mut identity, &mut parameters).await?;
        let incarnation = self.attendance.incarnation();
        if incarnation != 0 {
            login.enter(incarnation).await?;
        }
        let connection = ServerConnection::new(login.stream, identity, parameters, self.prepared_max);
        Ok(ServerConnection { incarnation, ..connection })
    }

    fn connect_error(&self, source: io::Error) -> LoginError {
        LoginError::Connect { endpoint: self.endpoint.clone(), source }
    }

    async fn stream(&self) -> Result<Stream, LoginError> {
        let connect = || async { net::connect(&self.endpoint).await.map_err(|error| self.connect_error(error)) };
        let mut stream = connect().await?;
        let Some(tls) = self.tls.as_ref().filter(|_| !self.endpoint.is_unix()) else { return Ok(stream) };
        let mut request = BytesMut::new();
        to_server::ssl_request(&mut request);
        stream.send(&request).await.map_err(|error| self.connect_error(error))?;
        let mut answer = BytesMut::new();
        stream.read_some(&mut answer).await.map_err(|error| self.connect_error(error))?;
        // Exactly one byte: what comes in clear behind it may be an attacker's (CVE-2021-23214).
        match answer.as_ref() {
            b"S" => match tls.connect(stream, &self.endpoint.host).await {
                Ok(stream) => Ok(stream),
                Err(_) if tls.mode == SslMode::Prefer => connect().await,
                Err(error) => Err(self.connect_error(error)),
            },
            b"N" if tls.mode == SslMode::Prefer => Ok(stream),
            b"N" => Err(LoginError::NoTls(self.endpoint.clone())),
            _ => Err(LoginError::Protocol(self.endpoint.clone())),
        }
    }
}

struct Conversation<'a> {
    login: &'a Login,
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
}

impl Conversation<'_> {
    fn protocol(&self) -> LoginError {
        LoginError::Protocol(self.login.endpoint.clone())
    }

    async fn send(&mut self) -> Result<(), LoginError> {
        self.stream.send_buffer(&mut self.output).await.map_err(|error| self.login.connect_error(error))
    }

    /// The next message: its tag and body. An error message becomes `Refused`.
    async fn receive(&mut self) -> Result<(u8, BytesMut), LoginError> {
        loop {
            if let Some(frame) = frame::peek(&self.input).map_err(|_| self.protocol())? {
                if frame.bytes > LOGIN_MESSAGE_BYTES_MAX {
                    return Err(self.protocol());
                }
                if self.input.len() >= frame.bytes {
                    let mut body = self.input.split_to(frame.bytes);
                    body.advance(frame::HEADER_BYTES);
                    if frame.tag == b'E' {
                        return Err(
                            from_server::error(&body).map_or_else(|_| self.protocol(), |error| LoginError::Refused(Box::new(error)))
                        );
                    }
                    return Ok((frame.tag, body));
                }
            }
            let read = self.stream.read_some(&mut self.input).await.map_err(|error| self.login.connect_error(error))?;
            if read == 0 {
                return Err(self.login.connect_error(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn password(&self) -> Result<&str, LoginError> {
        self.login.password.as_deref().ok_or_else(|| LoginError::NoPassword(self.login.endpoint.clone()))
    }

    async fn authenticate(&mut self) -> Result<(), LoginError> {
        self.send().await?;
        loop {
            let (tag, body) = self.receive().await?;
            if tag != b'R' {
                return Err(self.protocol());
            }
            let mut reader = Reader::new(&body);
            match reader.i32().map_err(|_| self.protocol())? {
                0 => return Ok(()),
                3 => to_server::password(&mut self.output, self.login.password.clone().unwrap_or_default().as_bytes()),
                5 => {
                    let salt = reader.rest().first_chunk::<4>().ok_or_else(|| self.protocol())?;
                    let hash = md5_hash(self.login.user.as_bytes(), self.password()?.as_bytes(), *salt);
                    to_server::password(&mut self.output, hash.as_bytes());
                }
                10 => {
                    if !offers_scram(reader) {
                        return Err(LoginError::Method(self.login.endpoint.clone()));
                    }
                    self.scram().await?;
                    continue;
                }
                _ => return Err(LoginError::Method(self.login.endpoint.clone())),
            }
            self.send().await?;
        }
    }

    async fn scram(&mut self) -> Result<(), LoginError> {
        let failed = |source| LoginError::Scram { endpoint: self.login.endpoint.clone(), source };
        let mut scram = ScramSha256::new(self.password()?.as_bytes(), ChannelBinding::unsupported());
        to_server::message(&mut self.output, b'p', |out| {
            out.extend_from_slice(SCRAM_SHA_256.as_bytes());
            out.extend_from_slice(b"\0");
            out.extend_from_slice(&u32::try_from(scram.message().len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(scram.message());
        });
        self.send().await?;
        let challenge = self.sasl_data(11).await?;
        scram.update(&challenge).map_err(failed)?;
        to_server::message(&mut self.output, b'p', |out| out.extend_from_slice(scram.message()));
        self.send().await?;
        let last = self.sasl_data(12).await?;
        scram.finish(&last).map_err(|source| LoginError::Scram { endpoint: self.login.endpoint.clone(), source })
    }

    async fn sasl_data(&mut self, code: i32) -> Result<Vec<u8>, LoginError> {
        let (tag, body) = self.receive().await?;
        let mut reader = Reader::new(&body);
        if tag != b'R' || reader.i32().map_err(|_| self.protocol())? != code {
            return Err(self.protocol());
        }
        Ok(reader.rest().to_vec())
    }

    /// Reads what follows the login up to ReadyForQuery.
    async fn ready(&mut self, identity: &mut ServerIdentity, parameters: &mut BTreeMap<String, String>) -> Result<(), LoginError> {
        loop {
            let (tag, body) = self.receive().await?;
            let invalid = |_: DecodeError| LoginError::Protocol(self.login.endpoint.clone());
            match tag {
                b'S' => {
                    let (name, value) = from_server::parameter_status(&body).map_err(invalid)?;
                    parameters.insert(name, value);
                }
                b'K' => (identity.process_id, identity.secret) = from_server::backend_key(&body).map_err(invalid)?,
                b'N' => {}
                b'Z' => return Ok(()),
                _ => return Err(self.protocol()),
            }
        }
    }

    /// Says whose connection it is. READ COMMITTED whatever the role's default: what was fenced while it waited has to be seen.
    async fn enter(&mut self, incarnation: i32) -> Result<(), LoginError> {
        let sql = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT shardyard.enter({incarnation}); COMMIT");
        to_server::query(&mut self.output, sql.as_bytes());
        self.send().await?;
        loop {
            match self.receive().await {
                Ok((b'Z', _)) => return Ok(()),
                Ok(_) => {}
                Err(LoginError::Refused(error)) if error.code == FENCED => {
                    self.login.attendance.refused(incarnation);
                    return Err(LoginError::Fenced);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn offers_scram(mut reader: Reader<'_>) -> bool {
    while let Ok(name) = reader.string() {
        if name == SCRAM_SHA_256.as_bytes() {
            return true;
        }
    }
    false
}
