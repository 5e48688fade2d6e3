//! Queries over several shards that lock rows and name the clock: one moment stands for it on all of them.

use std::sync::Arc;

use bytes::Bytes;

use crate::routing::{Access, ParameterValues, Route, Values};
use crate::session::Session;
use crate::session::extended::types_context;
use crate::session::failure::Failure;
use crate::session::prepared::Prepared;
use crate::session::query::Planned;
use crate::session::spread::SpreadPortal;
use crate::sql::splice::Spliced;
use crate::wire::{PlainError, SqlState, from_client};

impl Session {
    /// Simple protocol: the client gets everything but ReadyForQuery.
    pub(super) async fn timed(&mut self, text: &[u8]) -> Result<(), Failure> {
        let alone = !self.transaction.is_open();
        if alone {
            self.transaction.open_internal(self.settings.snapshot());
        }
        let (text, plan) = self.at_one_moment(text, &[]).await?;
        let literals = self.scan.literals().to_vec();
        let values = Values { text: &text, literals: &literals, other_encoding: self.settings.other_encoding, ..Values::default() };
        let route = self.locking_route(&plan, &values)?;
        Box::pin(self.spread_route(&text, (&route, Access::Write))).await?;
        if alone && !self.commit_links().await? {
            return Err(Failure::Relayed);
        }
        Ok(())
    }

    /// Execute of a portal; `body` is Execute's. The transaction is open.
    pub(super) async fn execute_timed(&mut self, body: &Bytes, portal: &SpreadPortal) -> Result<(), Failure> {
        self.settle_order().await?;
        let statement = Arc::clone(&portal.prepared.statement);
        let (text, plan) = self.at_one_moment(&statement.text, &statement.types).await?;
        let statement = self.shared.prepared.fresh(text.into(), statement.types.clone(), self.scan.literals());
        let bind = from_client::bind_tail(&portal.tail).map_err(Failure::fatal)?;
        let parameters = ParameterValues { values: &bind.values, formats: &bind.formats, types: &statement.types, types_unknown: false };
        let values =
            Values { text: &statement.text, literals: &statement.literals, parameters, other_encoding: self.settings.other_encoding };
        let route = self.locking_route(&plan, &values)?;
        let context = self.context();
        let prepared = Prepared { statement: Arc::clone(&statement), plan, context, ..portal.prepared.clone() };
        let portal = SpreadPortal { prepared, route, ..portal.clone() };
        Box::pin(self.execute_spread(body, &portal)).await
    }

    /// The text with a moment in the place of each use of the clock, and its plan; `scan` holds its literals.
    async fn at_one_moment(&mut self, text: &[u8], types: &[u32]) -> Result<(Vec<u8>, Planned), Failure> {
        let replacements = self.clock_replacements(text).await?;
        let mut timed = Spliced::default();
        timed.keep(text, 0..text.len(), &replacements);
        let scanned = self.scan.scan(&timed.text, self.settings.standard_strings);
        scanned.map_err(|error| Failure::plain(SqlState::INTERNAL_ERROR, error.to_string()))?;
        let plan = self.plan_scanned(&timed.text, types_context(types), types).await?;
        Ok((timed.text, plan))
    }

    fn locking_route(&self, plan: &Planned, values: &Values<'_>) -> Result<Route, Failure> {
        match self.route(plan, values)?.0 {
            route @ Route::Scatter { .. } => Ok(route),
            _ => {
                let error =
                    PlainError::new(SqlState::FEATURE_NOT_SUPPORTED, "rows cannot be locked on several shards by a query of this form");
                Err(Failure::report(error.hint("Give the moment as a constant.")))
            }
        }
    }
}
