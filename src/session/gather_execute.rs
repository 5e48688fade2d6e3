//! SQL's EXECUTE of a statement that is gathered: it is prepared once more over the gathered rows, where its names mean the temporary tables.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::cache::Statement;
use crate::routing::Access;
use crate::routing::gather::GatherPlan;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::gather::Final;
use crate::session::prepared::Prepared;

/// A statement of PREPARE's, to be executed over gathered rows.
pub(super) struct Call {
    /// Its name on the server for the time being.
    statement: Arc<Statement>,
    /// Types of its parameters, as SQL text in parentheses or empty.
    types: String,
    /// EXECUTE's arguments, likewise.
    arguments: String,
}

impl Call {
    fn execute(&self, name: &str) -> String {
        format!("EXECUTE {name}{}", self.arguments)
    }
}

impl Session {
    /// EXECUTE; `arguments` as the client has written them, without parentheses.
    pub(super) async fn gather_prepared(
        &mut self,
        prepared: &Prepared,
        arguments: &str,
        (plan, access): (&GatherPlan, Access),
    ) -> Result<(), Failure> {
        let at = if access == Access::Read { self.link_home().await? } else { self.link(self.pools.map.home, access).await? };
        // Over the real tables first: what is wrong is told as PostgreSQL tells it, and the columns are the real tables'.
        self.prepare_on_server(at, prepared).await?;
        let parenthesized = |text: &str| if text.is_empty() { String::new() } else { format!(" ({text})") };
        let statement = &prepared.statement;
        let call = Call {
            statement: self.shared.prepared.fresh(statement.text.clone(), SmallVec::new(), &[]),
            types: prepared.sql_types.as_deref().map(parenthesized).unwrap_or_default(),
            arguments: parenthesized(arguments),
        };
        let description = self.describe_text(at, call.execute(&statement.name).as_bytes()).await?;
        let mut run = Final::plain(&statement.text);
        run.description = description;
        run.call = Some(call);
        self.gather_on(at, plan, run).await
    }

    /// Prepares the respelt text over the temporary tables.
    pub(super) async fn prepare_gathered(&mut self, at: usize, call: &Call, text: &[u8]) -> Result<(), Failure> {
        let name = &call.statement.name;
        self.ask_link(at, &format!("PREPARE {name}{} AS {}", call.types, String::from_utf8_lossy(text))).await?;
        // If it is not deallocated, it is forgotten as the least recently used.
        self.remember_prepared(at, call.statement.id);
        self.parse_on(at, (call.execute(name).as_bytes(), &[])).await
    }

    /// Its names mean nothing any more.
    pub(super) async fn deallocate_gathered(&mut self, at: usize, call: &Call) -> Result<(), Failure> {
        if let Some(link) = self.links.get_mut(at) {
            link.server.prepared.forget(call.statement.id);
        }
        self.ask_link(at, &format!("DEALLOCATE {}", call.statement.name)).await
    }
}
