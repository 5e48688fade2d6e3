//! Who may come in and how: methods of authentication, TLS, the bound of clients.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::connection::{Connection, VERSION_3_0};
use crate::dsn::Dsn;
use crate::fixture::Fixture;
use crate::login;
use crate::plain;
use crate::reply::ServerError;
use crate::shardyard::{Proxy, eventually};

/// SCRAM, md5, a password in clear and trust: the right password comes in, a wrong one gets 28P01.
pub(crate) fn every_method_of_authentication(fixture: &Fixture) -> Result<()> {
    for (method, code) in [("scram-sha-256", 10), ("md5", 5), ("password", 3), ("trust", 0)] {
        let with_method = |name: &str, text: String| match name {
            "users.toml" => text.replace("name = \"app\"\n", &format!("name = \"app\"\nauth = \"{method}\"\n")),
            _ => text,
        };
        let proxy = fixture.cluster()?.proxy_with(&[], with_method)?;
        let mut client = eventually(Duration::from_secs(20), || Connection::connect(&proxy.dsn)).with_context(|| proxy.log())?;
        ensure!(client.value("select current_user")? == "app", "{method} did not come in");
        ensure!(asked_method(&proxy.dsn)? == code, "{method} asked for something else");
        let wrong = Connection::connect(&Dsn { password: "wrong".into(), ..proxy.dsn.clone() });
        match method {
            "trust" => ensure!(wrong.is_ok(), "trust asked for a password"),
            _ => ensure!(refused(wrong, "28P01"), "{method} took a wrong password"),
        }
        ensure!(Connection::connect(&Dsn { user: "stranger".into(), ..proxy.dsn.clone() }).is_err(), "a stranger came in by {method}");
    }
    Ok(())
}

/// The first authentication message's code.
fn asked_method(dsn: &Dsn) -> Result<u32> {
    let mut client = Connection::open(dsn)?;
    client.send(&login::startup(VERSION_3_0, &[("user", &dsn.user), ("database", &dsn.database)]))?;
    let frame = client.receive()?.context("closed")?;
    let code = frame.body.first_chunk::<4>().context("short")?;
    Ok(u32::from_be_bytes(*code))
}

fn refused<T>(outcome: Result<T>, sqlstate: &str) -> bool {
    outcome.is_err_and(|error| error.downcast::<ServerError>().is_ok_and(|error| error.sqlstate() == sqlstate))
}

/// TLS is offered, verified, bound to SCRAM's channel, and demanded where it is required.
pub(crate) fn tls_towards_clients(fixture: &Fixture) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    make_certificate(&certificate, &key)?;
    let files = [("SHARDYARD__CLIENT_TLS__CERTIFICATE_FILE", text(&certificate)), ("SHARDYARD__CLIENT_TLS__KEY_FILE", text(&key))];
    let start = |mode: &'static str| {
        let mut environment: Vec<(&str, &str)> = files.iter().map(|(name, value)| (*name, value.as_str())).collect();
        environment.push(("SHARDYARD__CLIENT_TLS__MODE", mode));
        fixture.cluster()?.proxy_with(&environment, |_, text| text)
    };

    let allowing = start("allow")?;
    eventually(Duration::from_secs(20), || Connection::connect(&allowing.dsn).map(drop)).with_context(|| allowing.log())?;
    let root = text(&certificate);
    psql(&allowing, "sslmode=require", true)?;
    psql(&allowing, "sslmode=require channel_binding=require", true)?;
    psql(&allowing, &format!("sslmode=verify-full sslrootcert={root}"), true)?;
    psql(&allowing, "sslmode=disable", true)?;
    psql(&allowing, "sslmode=disable channel_binding=require", false)?;
    unencrypted_bytes_are_refused(&allowing)?;

    let requiring = start("require")?;
    eventually(Duration::from_secs(20), || psql(&requiring, "sslmode=require", true)).with_context(|| requiring.log())?;
    ensure!(refused(Connection::connect(&requiring.dsn), "28000"), "a client without TLS came in");
    Ok(())
}

/// What follows an SSLRequest in clear may have been injected: CVE-2021-23214.
fn unencrypted_bytes_are_refused(proxy: &Proxy) -> Result<()> {
    let mut client = Connection::open(&proxy.dsn)?;
    let startup = login::startup(VERSION_3_0, &[("user", &proxy.dsn.user), ("database", &proxy.dsn.database)]);
    client.send(&[login::request(80_877_103, &[]), startup].concat())?;
    // "S" may have gone out before; nothing that could be a login may.
    let mut received = Vec::new();
    while let Some(byte) = client.take(1)? {
        received.extend(byte);
    }
    ensure!(!received.contains(&b'R'), "a startup packet in clear was taken after SSLRequest: {received:?}");
    Ok(())
}

/// Self-signed, for 127.0.0.1.
fn make_certificate(certificate: &Path, key: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]);
    let output = openssl.arg("-out").arg(certificate).arg("-keyout").arg(key).stdin(Stdio::null()).output().context("starting openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Whether psql with these connection options comes in, as `succeeds` says.
fn psql(proxy: &Proxy, options: &str, succeeds: bool) -> Result<()> {
    let Dsn { user, password, host, port, database } = &proxy.dsn;
    let connection = format!("host={host} port={port} user={user} password={password} dbname={database} {options}");
    let mut psql = plain::command("psql");
    let output = psql.args(["-X", "-At", "-c", "select 41 + 1"]).arg(connection).stdin(Stdio::null()).output()?;
    let came_in = output.status.success() && output.stdout == b"42\n";
    ensure!(came_in == succeeds, "psql with {options}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// One client more than allowed is told 53300, and may come when another has left.
/// SIGTERM: a client that waits is told, one in a transaction may end it first.
pub(crate) fn a_proxy_that_ends_says_so(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.cluster()?.proxy(&[])?;
    let (mut idle, mut busy) = (Connection::connect(&proxy.dsn)?, Connection::connect(&proxy.dsn)?);
    busy.query("begin; select count(*) from pg_class")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(proxy.pid())?), nix::sys::signal::Signal::SIGTERM)?;
    let told = |connection: &mut Connection| refused(connection.finish_query(), "57P01");
    ensure!(told(&mut idle), "an idle client was not told why it lost its connection");
    busy.query("commit")?;
    ensure!(told(&mut busy), "a client was not told after its transaction");
    Ok(())
}

pub(crate) fn clients_are_bounded(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.cluster()?.proxy(&[("SHARDYARD__SESSION__CLIENTS_MAX", "3")])?;
    let connect = || Connection::connect(&proxy.dsn);
    let mut clients: Vec<Connection> = Vec::new();
    for _ in 0..3 {
        clients.push(eventually(Duration::from_secs(5), connect)?);
    }
    ensure!(refused(connect(), "53300"), "a fourth client of three came in");
    clients.pop();
    eventually(Duration::from_secs(5), connect)?;
    Ok(())
}
