//! Reads the folder `shard-config` into the options of every layer; names every mistake at once.
//!
//! *Invariant: nothing here connects or listens; secrets never reach a message.*

mod file_limit;
mod mistakes;
mod proxy;
mod reader;
mod secret;
mod shards;
mod tables;
mod tree;
mod users;

use std::collections::HashMap;
use std::path::Path;

pub use crate::config::file_limit::{FileLimitError, check_file_limit};
pub use crate::config::mistakes::{Mistake, Mistakes};
use crate::config::reader::Reader;
use crate::config::tree::Node;
use crate::proxy::Options;
use crate::topology::ShardMap;

/// The environment, as `SHARDYARD__POOL__SIZE=30` overrides `size` under `[pool]` in `proxy.toml`. `None`: the process's own.
pub type Environment = Option<HashMap<String, String>>;

/// Reads `proxy.toml`, `users.toml`, `tables.toml` and, where no catalog is configured, `shards.toml`. Only `proxy.toml` and `users.toml` must exist.
///
/// # Errors
/// Every mistake in all files, with file, line and column.
pub fn read(folder: &Path, environment: Environment) -> Result<Options, Mistakes> {
    let mistakes = Mistakes::default();
    let source = Source { folder, environment: &environment, mistakes: &mistakes };
    let mut proxy_node = source.file("proxy.toml", true);
    if let Some(node) = &mut proxy_node {
        tree::overlay(node, environment.clone(), &mistakes);
    }
    let users_node = source.file("users.toml", true);
    let tables_node = source.file("tables.toml", false);
    let settings = proxy_node.as_ref().map(|node| proxy::read(&source, node));
    let users = users_node.as_ref().map(|node| users::read(&source, node)).unwrap_or_default();
    let tables = tables::read(&source, tables_node.as_ref());
    let map_source = settings.as_ref().and_then(|settings| match settings.catalog() {
        Some(target) => Some(crate::proxy::MapSource::Catalog(Box::new(target))),
        None => shards::read(&source, source.file("shards.toml", true).as_ref()?, &settings.database).map(crate::proxy::MapSource::Fixed),
    });
    let options = settings.zip(map_source).and_then(|(settings, map_source)| settings.into_options(map_source, users, tables));
    match options {
        Some(options) if mistakes.is_empty() => Ok(options),
        _ => Err(mistakes),
    }
}

/// Reads `shards.toml` alone: the shards that `shardyard init` writes into an empty catalog. `database` as in `proxy.toml`.
///
/// # Errors
/// Every mistake in the file.
pub fn read_shards(folder: &Path, environment: Environment, database: &str) -> Result<ShardMap, Mistakes> {
    let mistakes = Mistakes::default();
    let source = Source { folder, environment: &environment, mistakes: &mistakes };
    let map = source.file("shards.toml", true).and_then(|node| shards::read(&source, &node, database));
    match map {
        Some(map) if mistakes.is_empty() => Ok(map),
        _ => Err(mistakes),
    }
}

/// Where values come from and mistakes go to.
struct Source<'a> {
    folder: &'a Path,
    environment: &'a Environment,
    mistakes: &'a Mistakes,
}

impl Source<'_> {
    /// The file's root table; `None` when it is missing or has no sense at all.
    fn file(&self, name: &str, required: bool) -> Option<Node> {
        let path = self.folder.join(name);
        let shown = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(tree::parse(&shown, &text, self.mistakes)),
            Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.mistakes.add(&shown, format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn reader<'n>(&'n self, node: &'n Node, section: &str) -> Reader<'n> {
        Reader::new(node, section, self.mistakes)
    }
}

#[cfg(test)]
mod tests;
