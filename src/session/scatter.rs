//! Reads that are merged in the proxy.

use bytes::Bytes;

use crate::routing::Access;
use crate::routing::scatter::ScatterPlan;
use crate::session::Session;
use crate::session::commands::not_yet;
use crate::session::failure::Failure;
use crate::session::spread::SpreadPortal;
use crate::topology::ShardId;

impl Session {
    /// Simple protocol.
    pub(super) async fn scatter(&mut self, _text: &[u8], _plan: &ScatterPlan, _at: (&[ShardId], Access)) -> Result<(), Failure> {
        Err(not_yet("a merged query", "Bind every table to one key."))
    }

    /// Execute of a portal.
    pub(super) async fn execute_scatter(
        &mut self,
        _body: &Bytes,
        _portal: &SpreadPortal,
        _on: (&ScatterPlan, &[ShardId]),
    ) -> Result<(), Failure> {
        Err(not_yet("a merged query", "Bind every table to one key."))
    }
}
