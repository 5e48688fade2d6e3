//! How a client proves who it is.

use std::sync::OnceLock;

use bytes::{Buf, BytesMut};
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, gen_salted_password};
use postgres_protocol::authentication::md5_hash;

use crate::execute::ClientIo;
use crate::net::Acceptor;
use crate::session::failure::{End, Failure};
use crate::session::{AuthMethod, User};
use crate::wire::frame::{HEADER_BYTES, peek};
use crate::wire::{PlainError, SqlState, from_client, to_client};

/// An authentication message longer than this is refused, as PostgreSQL does (`PG_MAX_AUTH_TOKEN_LENGTH`).
const AUTH_MESSAGE_BYTES_MAX: usize = 65_535;

/// A user with what its logins need, computed once.
#[derive(Debug)]
pub struct Account {
    pub user: User,
    scram: OnceLock<(Vec<u8>, Vec<u8>)>,
}

impl Account {
    #[must_use]
    pub fn new(user: User) -> Self {
        Self { user, scram: OnceLock::new() }
    }

    /// Salt and salted password. The 4,096 rounds are spent once per process, not at every login.
    fn scram_secret(&self) -> ScramSecret {
        let (salt, salted_password) = self.scram.get_or_init(|| {
            let salt: [u8; 16] = rand::random();
            let password = self.user.password.as_deref().unwrap_or_default();
            (salt.to_vec(), gen_salted_password(password, &salt, SCRAM_ITERATIONS))
        });
        ScramSecret::SaltedPassword { salt: salt.clone(), salted_password: salted_password.clone() }
    }
}

/// One login in progress.
pub(super) struct Login<'a> {
    pub(super) client: &'a mut ClientIo,
    pub(super) name: &'a str,
    /// `None`: nobody of that name. The conversation is the same, and fails at its end.
    pub(super) account: Option<&'a Account>,
    pub(super) tls: Option<&'a Acceptor>,
}

impl Login<'_> {
    /// Asks for the proof and checks it.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let method = self.account.map_or(AuthMethod::ScramSha256, |account| account.user.auth);
        let proven = match method {
            AuthMethod::Trust => true,
            AuthMethod::Password => self.cleartext().await?,
            AuthMethod::Md5 => self.md5().await?,
            AuthMethod::ScramSha256 => self.scram().await?,
        };
        if !proven {
            let message = format!("password authentication failed for user \"{}\"", self.name);
            return Err(Failure::fatal(PlainError::new(SqlState::INVALID_PASSWORD, message)));
        }
        to_client::authentication(&mut self.client.output, 0, b"");
        Ok(())
    }

    fn password(&self) -> Option<&str> {
        self.account.and_then(|account| account.user.password.as_deref())
    }

    async fn cleartext(&mut self) -> Result<bool, Failure> {
        to_client::authentication(&mut self.client.output, 3, b"");
        let answer = self.answer().await?;
        let sent = from_client::query(&answer).map_err(Failure::fatal)?;
        Ok(self.password().is_some_and(|password| equal(password.as_bytes(), sent)))
    }

    async fn md5(&mut self) -> Result<bool, Failure> {
        let salt: [u8; 4] = rand::random();
        to_client::authentication(&mut self.client.output, 5, &salt);
        let answer = self.answer().await?;
        let sent = from_client::query(&answer).map_err(Failure::fatal)?;
        Ok(self.password().is_some_and(|password| equal(md5_hash(self.name.as_bytes(), password.as_bytes(), salt).as_bytes(), sent)))
    }

    async fn scram(&mut self) -> Result<bool, Failure> {
        let mut scram = ScramServerAuth::new();
        let mut mechanisms = b"SCRAM-SHA-256\0\0".to_vec();
        if let Some(tls) = self.tls.filter(|_| self.client.stream.is_tls())
            && scram.configure_certificate(&tls.certificate_pem).is_ok()
        {
            mechanisms.splice(0..0, *b"SCRAM-SHA-256-PLUS\0");
        }
        to_client::authentication(&mut self.client.output, 10, &mechanisms);
        let first = self.answer().await?;
        let (mechanism, data) = from_client::sasl_initial(&first).map_err(Failure::fatal)?;
        let plus = mechanism == b"SCRAM-SHA-256-PLUS" && scram.supports_channel_binding();
        if mechanism != b"SCRAM-SHA-256" && !plus {
            let message = "client selected an invalid SASL authentication mechanism";
            return Err(Failure::fatal(PlainError::new(SqlState::PROTOCOL_VIOLATION, message)));
        }
        // The client's first message must bind to the channel exactly when its mechanism says so.
        if data.starts_with(b"p=") != plus {
            return Err(malformed_scram());
        }
        let known = self.account.filter(|account| account.user.password.is_some());
        let secret = known.map_or_else(unknown_secret, Account::scram_secret);
        let (challenge, waiting) = scram.on_client_first_message_with_secret(data, secret).map_err(|_| malformed_scram())?;
        to_client::authentication(&mut self.client.output, 11, challenge.as_bytes());
        let proof = self.answer().await?;
        match waiting.on_client_final_message(&proof) {
            Ok(verifier) if known.is_some() => {
                to_client::authentication(&mut self.client.output, 12, verifier.as_bytes());
                Ok(true)
            }
            Ok(_) | Err(pgwire::error::PgWireError::InvalidPassword(_)) => Ok(false),
            Err(_) => Err(malformed_scram()),
        }
    }

    /// Sends what is due and waits for the client's answer: the body of its password message.
    async fn answer(&mut self) -> Result<BytesMut, Failure> {
        self.client.send().await.map_err(|_| Failure::End(End::Left))?;
        loop {
            if let Some(frame) = peek(&self.client.input).map_err(Failure::fatal)? {
                if frame.tag != b'p' {
                    let message = format!("expected password response, got message type {}", frame.tag);
                    return Err(Failure::fatal(PlainError::new(SqlState::PROTOCOL_VIOLATION, message)));
                }
                if frame.bytes > AUTH_MESSAGE_BYTES_MAX {
                    return Err(Failure::fatal(PlainError::new(SqlState::PROTOCOL_VIOLATION, "authentication message too long")));
                }
                if self.client.input.len() >= frame.bytes {
                    let mut body = self.client.input.split_to(frame.bytes);
                    body.advance(HEADER_BYTES);
                    return Ok(body);
                }
            }
            if !self.client.receive().await.map_err(|_| Failure::End(End::Left))? {
                return Err(Failure::End(End::Left));
            }
        }
    }
}

fn malformed_scram() -> Failure {
    Failure::fatal(PlainError::new(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message"))
}

/// For a user that does not exist: a conversation that looks the same.
fn unknown_secret() -> ScramSecret {
    ScramSecret::SaltedPassword { salt: rand::random::<[u8; 16]>().to_vec(), salted_password: rand::random::<[u8; 32]>().to_vec() }
}

/// Takes the same time wherever they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}
