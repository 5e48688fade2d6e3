//! Configurations, right and wrong, and the committed examples.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::backend::{PoolOptions, ReplicaOptions};
use crate::config::{Environment, Mistakes, read};
use crate::net::ListenAddress;
use crate::proxy::{MapSource, Options};
use crate::session::SessionOptions;

const USERS: &str = "[[users]]\nname = \"app\"\npassword = \"secret\"\n";
const PROXY: &str = "database = \"app\"\n[control]\nuser = \"shardyard\"\npassword = \"hidden\"\n";
const SHARDS: &str =
    "[[shards]]\nname = \"a\"\nprimary = \"postgres://10.0.0.1:5433\"\n[[shards]]\nname = \"b\"\nprimary = \"postgres://10.0.0.2/other\"\n";

fn try_read(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Options, Mistakes> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let environment: HashMap<String, String> = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    read(folder.path(), Some(environment))
}

/// The mistakes, without the folder's path.
fn mistakes(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
    let mistakes = try_read(files, variables).expect_err("a mistake").into_vec();
    let short = |place: String| place.rsplit('/').next().unwrap_or_default().to_owned();
    mistakes.into_iter().map(|mistake| format!("{}: {}", short(mistake.place), mistake.text)).collect()
}

fn from_examples(text: impl Fn(&str, String) -> String, environment: Environment) -> Options {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("shard-config");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["proxy.toml", "shards.toml", "tables.toml", "users.toml"] {
        let example = std::fs::read_to_string(examples.join(name)).expect("the example");
        std::fs::write(folder.path().join(name), text(name, example)).expect("written");
    }
    read(folder.path(), environment).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn examples_say_the_defaults() {
    let options = from_examples(|_, text| text, None);
    assert_eq!(options.pool, PoolOptions::default());
    assert_eq!(options.replicas, ReplicaOptions::default());
    assert_eq!(options.session, SessionOptions::default());
    assert_eq!(options.listen, [ListenAddress::Tcp { host: "127.0.0.1".to_owned(), port: 6432 }]);
    assert!(matches!(options.source, MapSource::Catalog(_)));
    assert_eq!(options.tables.rules.len(), 2);
}

/// The options that have no default are in the examples too, spelt right: read with all of them given.
#[test]
fn examples_name_every_option() {
    let all = |_: &str, text: String| {
        let twice = ["password_file", "password_env", "server_password_file", "server_password_env"];
        let given = |line: &str| match line.strip_prefix('#') {
            Some(option) if !option.starts_with(' ') && !twice.iter().any(|key| option.starts_with(key)) => option.to_owned(),
            _ => line.to_owned(),
        };
        text.lines()
            .map(given)
            .map(|line| {
                line.replace("server.crt", "proxy.toml").replace("server.key", "proxy.toml").replace("root.crt", "proxy.toml") + "\n"
            })
            .collect()
    };
    let options = from_examples(all, None);
    assert_eq!(options.control.password.as_deref(), Some("secret"));
    assert_eq!(options.users.first().and_then(|user| user.server_user.as_deref()), Some("app_rw"));
}

#[test]
fn shards_without_a_catalog() {
    let options = try_read(&[("proxy.toml", PROXY), ("users.toml", USERS), ("shards.toml", SHARDS)], &[]).expect("no mistake");
    let MapSource::Fixed(map) = options.source else { panic!("a fixed map") };
    assert_eq!(map.owners.len(), 55_440);
    let places: Vec<String> = map.shards.iter().map(|shard| shard.primary.to_string()).collect();
    assert_eq!(places, ["10.0.0.1:5433/app", "10.0.0.2:5432/other"]);
    assert_eq!(options.tables.key_column, "user_id");
}

#[test]
fn environment_wins() {
    let files = [("proxy.toml", PROXY), ("users.toml", USERS)];
    let variables = [
        ("SHARDYARD__CATALOG__DSN", "postgres://u@db/catalog"),
        ("SHARDYARD__CATALOG__PASSWORD_ENV", "SECRET"),
        ("SECRET", "it's"),
        ("SHARDYARD__POOL__SIZE", "7"),
        ("SHARDYARD__POOL__ACQUIRE_TIMEOUT_MS", "250"),
        ("SHARDYARD__LISTEN", "0.0.0.0:1, /run/shardyard:6432,[::1]:2"),
    ];
    let options = try_read(&files, &variables).expect("no mistake");
    assert_eq!((options.pool.size, options.pool.acquire_timeout), (7, Duration::from_millis(250)));
    assert_eq!(options.listen.len(), 3);
    assert_eq!(options.listen.last(), Some(&ListenAddress::Tcp { host: "::1".to_owned(), port: 2 }));
    let MapSource::Catalog(target) = options.source else { panic!("a catalog") };
    assert_eq!(target.to_string(), "db:5432/catalog");
}

#[test]
fn every_mistake_is_named_at_once() {
    let proxy =
        "listen = \"nowhere\"\nworker = 2\ndatabase = \"app\"\n\n[pool]\nsize = 0\nmin_idle = \"two\"\n[session]\nclients_max = 1.5\n";
    let users = "[[users]]\nname = \"app\"\nauth = \"krb\"\n[[users]]\nname = \"app\"\npassword = \"x\"\npool_mode = \"statement\"\n";
    let tables = "[[tables]]\nname = \"t\"\nkind = \"sharded\"\n[[tables]]\nkind = \"single\"\nkey_column = \"x\"\n";
    let shards = "[[shards]]\nname = \"a\"\nprimary = \"postgres://me:pw@h/app\"\n";
    let files = [("proxy.toml", proxy), ("users.toml", users), ("tables.toml", tables), ("shards.toml", shards)];
    assert_eq!(
        mistakes(&files, &[("SHARDYARD__POOL__PREPARED_MAX", "many")]),
        [
            "proxy.toml: there is no [control]: the role with which the proxy watches servers and reads the schema",
            "proxy.toml:1:1: listen must be HOST:PORT, or /FOLDER:PORT for a unix socket",
            "proxy.toml:6:1: pool.size must be a whole number from 1 to 10000",
            "proxy.toml:7:1: pool.min_idle must be a whole number from 0 to 10000",
            "SHARDYARD__POOL__PREPARED_MAX: pool.prepared_max must be a whole number from 1 to 100000",
            "proxy.toml:9:1: session.clients_max must be a whole number from 1 to 1000000, not a fraction",
            "proxy.toml:2:1: there is no option worker; there are catalog, client_tls, control, database, listen, pool, replicas, server_tls, session, workers",
            "users.toml:3:1: auth must be one of \"scram-sha-256\", \"md5\", \"password\", \"trust\"",
            "users.toml:1:1: password is missing: give password, password_file or password_env, or auth = \"trust\"",
            "users.toml:7:1: pool_mode must be one of \"transaction\", \"session\"",
            "users.toml:5:1: name \"app\" is there twice",
            "tables.toml:1:1: key_column is missing: a sharded table that is listed names its key",
            "tables.toml:4:1: name is missing",
            "tables.toml:6:1: key_column is for tables of the kind \"sharded\"",
            "shards.toml:3:1: must not name a user: servers are entered as the client's user, and as [control] of proxy.toml",
        ]
    );
}

#[test]
fn syntax_errors_and_missing_files() {
    let found = mistakes(&[("proxy.toml", "database = \"app\"\n[pool\nsize = 3\n")], &[]);
    assert!(found.iter().any(|mistake| mistake.starts_with("proxy.toml:2:")), "{found:?}");
    assert!(found.iter().any(|mistake| mistake.starts_with("users.toml: cannot be read")), "{found:?}");
}

#[test]
fn secrets_are_not_shown() {
    let options = try_read(&[("proxy.toml", PROXY), ("users.toml", USERS), ("shards.toml", SHARDS)], &[]).expect("no mistake");
    let catalog = [("SHARDYARD__CATALOG__DSN", "postgres://u:covert@db/catalog")];
    let with_catalog = try_read(&[("proxy.toml", PROXY), ("users.toml", USERS)], &catalog).expect("no mistake");
    for shown in [format!("{options:?}"), format!("{with_catalog:?}")] {
        assert!(!["hidden", "secret", "covert"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}
