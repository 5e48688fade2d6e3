//! `users.toml`: who may log in, and how.

use std::collections::HashSet;

use crate::backend::PoolMode;
use crate::config::Source;
use crate::config::tree::Node;
use crate::session::{AuthMethod, User};

pub(crate) fn read(source: &Source<'_>, node: &Node) -> Vec<User> {
    let file = source.reader(node, "");
    let mut names = HashSet::new();
    let mut users = Vec::new();
    for reader in file.sections("users") {
        let auth = reader.choice(
            "auth",
            &[
                ("scram-sha-256", AuthMethod::ScramSha256),
                ("md5", AuthMethod::Md5),
                ("password", AuthMethod::Password),
                ("trust", AuthMethod::Trust),
            ],
        );
        let auth = auth.unwrap_or_default();
        let password = source.secret(&reader, "password");
        if password.is_none() && auth != AuthMethod::Trust {
            reader.wrong("password", "is missing: give password, password_file or password_env, or auth = \"trust\"");
        }
        let name = reader.required_text("name");
        let user = User {
            name: name.clone().unwrap_or_default(),
            auth,
            password,
            server_user: reader.text("server_user"),
            server_password: source.secret(&reader, "server_password"),
            pool_mode: reader
                .choice("pool_mode", &[("transaction", PoolMode::Transaction), ("session", PoolMode::Session)])
                .unwrap_or_default(),
            pool_size: reader.number("pool_size", 1..=10_000),
            admin: reader.flag("admin").unwrap_or(false),
        };
        if name.is_some_and(|name| !names.insert(name)) {
            reader.wrong("name", &format!("\"{}\" is there twice", user.name));
        }
        users.push(user);
        reader.finish();
    }
    if users.is_empty() {
        source.mistakes.add(file.place(), "nobody may log in: add a user as [[users]]");
    }
    file.finish();
    users
}
