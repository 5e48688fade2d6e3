//! Indexes by their names: on which shards they are; and those that are made shard by shard, which may be left half made and are finished
//! when the statement is repeated.

use crate::backend::settings::quoted_literal;
use crate::catalog::DdlRefusal;
use crate::execute::ask::ask_value;
use crate::routing::Access;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::sql::command::{Ddl, ObjectName};
use crate::sql::cursor::Tokens;
use crate::topology::ShardId;
use crate::wire::{PlainError, SqlState, to_client};

/// What one shard has of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Valid,
    /// Left by a statement that failed.
    Invalid,
    /// Somebody makes it now.
    Building,
}

/// An index in the making.
struct Making<'a> {
    text: &'a [u8],
    ddl: &'a Ddl,
    /// Its schema and name, where the statement gives one.
    name: Option<ObjectName>,
}

impl Session {
    /// The shards that have any of the indexes that a statement names, the home shard first; it alone if none has.
    pub(super) async fn shards_with_indexes(&mut self, ddl: &Ddl) -> Result<Vec<ShardId>, Failure> {
        let names: Vec<String> = ddl.relations.iter().map(|name| format!("to_regclass({})", quoted_literal(&name.quoted()))).collect();
        let query = format!("SELECT 1 FROM pg_catalog.pg_index WHERE indexrelid IN ({}) LIMIT 1", names.join(", "));
        let mut shards = Vec::new();
        for shard in self.home_first() {
            if self.ask_shard(shard, &query).await?.is_some() {
                shards.push(shard);
            }
        }
        if shards.is_empty() {
            shards.push(self.pools.map.home);
        }
        Ok(shards)
    }

    /// The first value of a query of our own on a shard's primary, in the client's transaction if there is one.
    async fn ask_shard(&mut self, shard: ShardId, query: &str) -> Result<Option<String>, Failure> {
        let at = self.link_unwritten(shard).await?;
        let Some(link) = self.links.get_mut(at) else { return Ok(None) };
        Ok(ask_value(&mut link.server, query).await?)
    }

    /// CREATE INDEX CONCURRENTLY on several shards, the home shard first.
    pub(super) async fn index_concurrently(&mut self, text: &[u8], ddl: &Ddl, shards: &[ShardId]) -> Result<(), Failure> {
        let schema = ddl.relations.first().and_then(|table| self.relation(table)).map(|table| table.schema.clone());
        let named = self.index_name(text);
        let name = schema.zip(named).map(|(schema, name)| ObjectName { schema: Some(schema), name });
        let making = Making { text, ddl, name };
        let mut states = Vec::with_capacity(shards.len());
        for shard in shards {
            states.push((*shard, self.index_state(&making, *shard).await?));
        }
        let is = |wanted: State| states.iter().any(|(_, state)| *state == wanted);
        if is(State::Building) {
            let error = PlainError::new(SqlState::OBJECT_IN_USE, "the index is being made by another session");
            return Err(Failure::report(error.hint("Wait until it has ended, then send the statement again.")));
        }
        if !is(State::Missing) && !is(State::Invalid) {
            // The home shard says that it is there.
            return self.on_shards(text, shards.get(..1).unwrap_or_default()).await;
        }
        let finishes = is(State::Valid);
        let due: Vec<(ShardId, State)> = states.into_iter().filter(|(_, state)| *state != State::Valid).collect();
        let outcome = self.make_index(&making, &due).await;
        if outcome.is_ok() && finishes {
            self.check_alike(&making, &due).await?;
        }
        if matches!(outcome, Err(Failure::Report(_) | Failure::Relayed)) && making.name.is_some() {
            let warning = PlainError::new(SqlState(*b"01000"), "the index is not on every shard")
                .hint("Send the statement again to finish it where it is missing, or drop the index.");
            to_client::notice(&mut self.client.output, "WARNING", &warning);
        }
        outcome?;
        to_client::command_complete(&mut self.client.output, "CREATE INDEX");
        Ok(())
    }

    async fn index_state(&mut self, making: &Making<'_>, shard: ShardId) -> Result<State, Failure> {
        let Some(name) = &making.name else { return Ok(State::Missing) };
        let query = format!(
            "SELECT CASE WHEN i.indisvalid THEN 'valid'
                         WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid) THEN 'building'
                         ELSE 'invalid' END
             FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass({})",
            quoted_literal(&name.quoted())
        );
        Ok(match self.ask_shard(shard, &query).await?.as_deref() {
            Some("valid") => State::Valid,
            Some("building") => State::Building,
            Some(_) => State::Invalid,
            None => State::Missing,
        })
    }

    /// Makes the index where it is due: on the first shard before the others, so that what is wrong with it is known before.
    async fn make_index(&mut self, making: &Making<'_>, due: &[(ShardId, State)]) -> Result<(), Failure> {
        for (shard, state) in due {
            if let (State::Invalid, Some(name)) = (state, &making.name) {
                self.drop_index(*shard, name).await?;
            }
        }
        let Some(((first, _), others)) = due.split_first() else { return Ok(()) };
        self.on_others(making.text, &[*first]).await?;
        if *first == self.pools.map.home {
            self.judge_index(making).await?;
        }
        let others: Vec<ShardId> = others.iter().map(|(shard, _)| *shard).collect();
        self.on_others(making.text, &others).await
    }

    async fn drop_index(&mut self, shard: ShardId, name: &ObjectName) -> Result<(), Failure> {
        let at = self.link(shard, Access::Write).await?;
        self.ask_link(at, &format!("DROP INDEX CONCURRENTLY IF EXISTS {}", name.quoted())).await
    }

    /// Dropped again if the table cannot keep its promise.
    async fn judge_index(&mut self, making: &Making<'_>) -> Result<(), Failure> {
        for table in &making.ddl.relations {
            let Some(known) = self.relation(table) else { continue };
            let Some(inspection) = self.inspect(table).await? else { continue };
            let judged = inspection.judge(&self.rules_with(making.ddl, table), Some(&known.placement));
            let Err(refusal) = judged else { continue };
            if let DdlRefusal::Unique { constraint, .. } = &refusal {
                let name = ObjectName { schema: Some(known.schema.clone()), name: constraint.clone() };
                self.drop_index(self.pools.map.home, &name).await?;
            }
            return Err(Failure::report(refusal));
        }
        Ok(())
    }

    /// The index that some shards had before must be the one that was made on the others; else it was there under this name already.
    async fn check_alike(&mut self, making: &Making<'_>, due: &[(ShardId, State)]) -> Result<(), Failure> {
        let Some(name) = &making.name else { return Ok(()) };
        let query = format!("SELECT pg_catalog.pg_get_indexdef(pg_catalog.to_regclass({}))", quoted_literal(&name.quoted()));
        let mut definitions = Vec::new();
        for shard in self.home_first() {
            definitions.push(self.ask_shard(shard, &query).await?);
        }
        if definitions.windows(2).all(|pair| pair.first() == pair.last()) {
            return Ok(());
        }
        for (shard, _) in due {
            self.drop_index(*shard, name).await?;
        }
        let error = PlainError::new(SqlState(*b"42P07"), format!("relation \"{}\" already exists", name.name));
        Err(Failure::report(error.detail("It is another index of this name, on some of the shards.")))
    }

    /// `CREATE [UNIQUE] INDEX CONCURRENTLY [IF NOT EXISTS] name ON`.
    fn index_name(&self, text: &[u8]) -> Option<String> {
        let tokens = Tokens::new(text, self.settings.standard_strings).ok()?;
        let mut rest = tokens.cursor();
        rest.accept_word("create");
        rest.accept_word("unique");
        rest.accept_words(&["index", "concurrently"]);
        if rest.is_word("on") {
            return None;
        }
        rest.accept_words(&["if", "not", "exists"]);
        rest.any_name()
    }
}
