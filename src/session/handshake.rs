//! From the first byte of a connection to a session: TLS, startup, login; or a cancel request.

use std::sync::Arc;

use tokio::time::timeout;
use tracing::debug;

use crate::backend::{SettingSet, SettingValue};
use crate::cache::PlanCache;
use crate::execute::ClientIo;
use crate::net::{ClientTlsMode, Stream};
use crate::session::auth::Login;
use crate::session::failure::{End, Failure};
use crate::session::shared::Reloadable;
use crate::session::{ClientAddress, Session, Shared, start};
use crate::wire::startup::{self, Startup};
use crate::wire::{PlainError, Severity, SqlState, to_client};

/// The newest minor version of protocol 3 that we speak.
const MINOR_VERSION: u16 = 0;
/// Bytes of a cancel key in protocol 3.0.
const SECRET_BYTES: usize = 4;

/// What the startup packet asks for.
pub(super) struct StartupSettings {
    pub(super) settings: SettingSet,
    pub(super) secret_bytes: usize,
}

/// Takes a connection through startup and login; `None` when it is done with (cancelled something, was refused, went away).
pub async fn admit(shared: &Arc<Shared>, plans: &Arc<PlanCache>, stream: Stream, address: ClientAddress) -> Option<Box<Session>> {
    let mut client = ClientIo::new(stream);
    let outcome = match timeout(shared.options.login_timeout, log_in(shared, plans, &mut client)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::fatal(PlainError::new(SqlState(*b"57014"), "canceling authentication due to timeout"))),
    };
    match outcome {
        Ok(session) => session,
        Err(failure) => {
            let error = match failure {
                Failure::Report(error) | Failure::End(End::Fatal(error)) => error,
                Failure::Relayed | Failure::End(End::Left) => return None,
            };
            debug!(address = address.map(tracing::field::display), %error, "client refused");
            to_client::error(&mut client.output, Severity::Fatal, &*error);
            // The client may be gone; there is nobody else to tell.
            let _ = client.send().await;
            client.stream.close().await;
            None
        }
    }
}

async fn log_in(shared: &Arc<Shared>, plans: &Arc<PlanCache>, client: &mut ClientIo) -> Result<Option<Box<Session>>, Failure> {
    let reloadable = shared.reloadable.load_full();
    let Some((minor, parameters)) = first_packets(shared, &reloadable, client).await? else { return Ok(None) };
    let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let unknown: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if minor > MINOR_VERSION || !unknown.is_empty() {
        to_client::negotiate_version(&mut client.output, u32::from(MINOR_VERSION), &unknown);
    }
    let Some(name) = parameter("user").filter(|name| !name.is_empty()) else {
        return Err(fatal(SqlState::INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet"));
    };
    if parameter("replication").is_some_and(|value| !matches!(value, "false" | "off" | "no" | "0")) {
        let error = PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "replication connections are not supported");
        return Err(Failure::fatal(error.hint("Connect to a shard's primary.")));
    }
    if reloadable.tls_mode == ClientTlsMode::Require && !client.stream.is_tls() && !matches!(client.stream, Stream::Unix(_)) {
        return Err(fatal(SqlState::INVALID_AUTHORIZATION, "connection is not encrypted, and the proxy requires TLS"));
    }
    let account = reloadable.users.get(name).map(Arc::clone);
    Login { client, name, account: account.as_deref(), tls: reloadable.tls.as_ref() }.run().await?;
    let Some(account) = account else { return Err(Failure::End(End::Left)) };
    let database = parameter("database").filter(|database| !database.is_empty()).unwrap_or(name);
    if database != shared.database {
        return Err(fatal(SqlState::INVALID_CATALOG_NAME, &format!("database \"{database}\" does not exist")));
    }
    if shared.cancels.len() >= shared.options.clients_max {
        return Err(fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already"));
    }
    let settings = startup_settings(&parameters)?;
    let io = std::mem::replace(client, ClientIo::new(Stream::closed()));
    let startup = StartupSettings { settings, secret_bytes: SECRET_BYTES };
    match start(Arc::clone(shared), Arc::clone(plans), io, account, startup).await {
        Ok(session) => Ok(Some(session)),
        Err((failure, io)) => {
            *client = io;
            Err(failure)
        }
    }
}

/// Reads packets up to the startup packet; `None` after a cancel request.
async fn first_packets(
    shared: &Arc<Shared>,
    reloadable: &Reloadable,
    client: &mut ClientIo,
) -> Result<Option<(u16, Vec<(String, String)>)>, Failure> {
    let (mut asked_tls, mut asked_gss) = (false, false);
    loop {
        match packet(client).await? {
            Startup::Ssl if !asked_tls && !client.stream.is_tls() => {
                asked_tls = true;
                upgrade(reloadable, client).await?;
            }
            Startup::GssEncryption if !asked_gss && !client.stream.is_tls() => {
                asked_gss = true;
                client.output.extend_from_slice(b"N");
                client.send().await.map_err(|_| End::Left)?;
            }
            Startup::Ssl => return Err(unsupported(1234, 5679)),
            Startup::GssEncryption => return Err(unsupported(1234, 5680)),
            Startup::Cancel { process_id, secret } => {
                if let Some(slot) = shared.cancels.find(process_id, &secret) {
                    slot.cancel().await;
                }
                client.stream.close().await;
                return Ok(None);
            }
            Startup::Protocol { major: 3, minor, parameters } => return Ok(Some((minor, parameters))),
            Startup::Protocol { major, minor, .. } => return Err(unsupported(major, minor)),
        }
    }
}

fn unsupported(major: u16, minor: u16) -> Failure {
    fatal(SqlState::FEATURE_NOT_SUPPORTED, &format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"))
}

async fn upgrade(reloadable: &Reloadable, client: &mut ClientIo) -> Result<(), Failure> {
    let Some(acceptor) = reloadable.tls.as_ref().filter(|_| matches!(client.stream, Stream::Tcp(_))) else {
        client.output.extend_from_slice(b"N");
        client.send().await.map_err(|_| End::Left)?;
        return Ok(());
    };
    if !client.input.is_empty() {
        // Sent in clear before the handshake: perhaps not by the client (CVE-2021-23214).
        return Err(fatal(SqlState::PROTOCOL_VIOLATION, "received unencrypted data after SSL request"));
    }
    client.output.extend_from_slice(b"S");
    client.send().await.map_err(|_| End::Left)?;
    let plain = std::mem::replace(&mut client.stream, Stream::closed());
    client.stream = acceptor.accept(plain).await.map_err(|_| End::Left)?;
    Ok(())
}

async fn packet(client: &mut ClientIo) -> Result<Startup, Failure> {
    loop {
        let malformed = |_| fatal(SqlState::PROTOCOL_VIOLATION, "invalid length of startup packet");
        if let Some(bytes) = startup::packet_bytes(&client.input).map_err(malformed)?
            && client.input.len() >= bytes
        {
            let packet = client.input.split_to(bytes);
            return startup::decode(&packet).map_err(Failure::fatal);
        }
        if !client.receive().await.map_err(|_| End::Left)? {
            return Err(Failure::End(End::Left));
        }
    }
}

fn fatal(code: SqlState, message: &str) -> Failure {
    Failure::fatal(PlainError::new(code, message))
}

/// The settings that a startup packet asks for.
fn startup_settings(parameters: &[(String, String)]) -> Result<SettingSet, Failure> {
    let mut settings = SettingSet::default();
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => command_line_options(value, &mut settings)?,
            name if name.starts_with("_pq_.") => {}
            name => settings.set(&name.to_ascii_lowercase(), Some(SettingValue::Raw(value.clone()))),
        }
    }
    // Every server session speaks it already.
    if matches!(settings.get("client_encoding"), Some(SettingValue::Raw(value)) if matches!(value.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode" | "'utf8'" | "'utf-8'"))
    {
        settings.set("client_encoding", None);
    }
    Ok(settings)
}

/// `-c name=value` and `--name=value`, as `pg_split_opts` and postgres's own switches read them.
fn command_line_options(text: &str, settings: &mut SettingSet) -> Result<(), Failure> {
    let mut words = split_options(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(fatal(SqlState::SYNTAX_ERROR, &format!("invalid command-line argument for server process: {word}")));
        };
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(fatal(SqlState::SYNTAX_ERROR, &format!("-c {assignment} requires a value")));
        };
        settings.set(&name.trim().replace('-', "_").to_ascii_lowercase(), Some(SettingValue::Raw(value.to_owned())));
    }
    Ok(())
}

/// Words separated by blanks; a backslash takes the next character as it is.
fn split_options(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            blank if blank.is_ascii_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}
