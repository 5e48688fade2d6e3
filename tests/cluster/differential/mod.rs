//! The differential harness: the same statements to one plain server and to the cluster; every answer has to be the same, or a refusal.

pub(crate) mod compare;
pub(crate) mod corpus;
pub(crate) mod generate;
mod outcome;
mod pair;
pub(crate) mod psql;
pub(crate) mod regression;
mod script;
pub(crate) mod server;
mod tally;

use anyhow::{Result, ensure};

use crate::differential::outcome::Manner;
use crate::differential::pair::{Pair, Verdict};
use crate::differential::script::Statement;
use crate::fixture::Fixture;

/// A cluster that answers wrongly is found out: a hint sends a count of all rows to one shard only.
pub(crate) fn a_wrong_answer_is_noticed(fixture: &Fixture) -> Result<()> {
    let mut pair = Pair::connect(fixture.differential_plain()?, fixture.differential_subject()?)?;
    for sql in
        ["/* shardyard: shard=1 */ select count(*) from d_orders", "/* shardyard: shard=2 */ select * from d_buyers order by user_id"]
    {
        let verdict = pair.run(&Statement::new(sql), &Manner::Simple)?;
        ensure!(matches!(verdict, Verdict::Different(_)), "a part of the rows passes for all: {verdict:?}");
    }
    let verdict = pair.run(&Statement::new("select name from d_buyers where user_id = 1"), &Manner::Simple)?;
    ensure!(verdict == Verdict::Same, "{verdict:?}");
    Ok(())
}
