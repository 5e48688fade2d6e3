//! What a table must be like so that its constraints hold over several shards.

use std::collections::HashMap;

use crate::catalog::TableRules;
use crate::catalog::ddl_check::{ForeignKey, InspectedSequence, InspectedTable, Inspection, UniqueIndex};
use crate::catalog::placement::place;
use crate::catalog::sequences::STRIDE;
use crate::topology::Placement;
use crate::wire::{ClientError, SqlState};

/// A table that may be, and what else it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub schema: String,
    pub name: String,
    pub placement: Placement,
    /// Sequences that must be set apart on each shard before the first row (`catalog::sequences`).
    pub sequences: Vec<InspectedSequence>,
    /// To be sent to the client: the table is on the home shard, and how to change that.
    pub notice: Option<String>,
}

/// Why the table may not be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DdlRefusal {
    #[error("column \"{column}\" of table \"{table}\" cannot be a shard key")]
    UnfitKey { table: String, column: String, reason: String },
    #[error("unique constraint \"{constraint}\" of table \"{table}\" does not contain the shard key")]
    Unique { table: String, constraint: String, key: String, primary: bool, exclusion: bool },
    #[error("foreign key \"{constraint}\" of table \"{table}\" spans shards")]
    ForeignKey { table: String, constraint: String, detail: String, hint: String },
    #[error("column \"{column}\" of table \"{table}\" is too narrow for a sequence over several shards")]
    NarrowSequence { table: String, column: String, type_name: String },
    #[error("sequence of column \"{column}\" cannot be added to table \"{table}\"")]
    LateSequence { table: String, column: String },
    #[error("table \"{table}\" cannot become {new}")]
    PlacementChange { table: String, old: String, new: String },
    #[error("table is gone")]
    Gone,
}

impl ClientError for DdlRefusal {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Unique { .. } | Self::UnfitKey { .. } | Self::NarrowSequence { .. } => SqlState::INVALID_TABLE_DEFINITION,
            _ => SqlState::FEATURE_NOT_SUPPORTED,
        }
    }

    fn detail(&self) -> Option<String> {
        Some(match self {
            Self::UnfitKey { reason, .. } => format!("Its rows could not be found by it: {reason}."),
            Self::Unique { table, key, .. } => {
                format!("Table \"{table}\" is sharded by \"{key}\"; a shard cannot see whether another has the same value.")
            }
            Self::ForeignKey { detail, .. } => detail.clone(),
            Self::NarrowSequence { type_name, .. } => {
                format!("Each shard takes every {STRIDE}th value, which soon exceeds {type_name}.")
            }
            Self::LateSequence { .. } => "Rows that are there already would get the same values on every shard.".to_owned(),
            Self::PlacementChange { old, .. } => format!("It is {old}, and its rows would have to move."),
            Self::Gone => return None,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnfitKey { table, .. } => format!(
                "Use smallint, integer, bigint, text, varchar, char, or uuid; or declare the table before it is made: \"shardyard table single {table}\"."
            ),
            Self::Unique { key, primary, exclusion, table, .. } => {
                let what = match (*primary, *exclusion) {
                    (true, _) => "primary key",
                    (_, true) => "exclusion constraint",
                    _ => "constraint",
                };
                format!(
                    "Add \"{key}\" to the {what}, use a bigserial, identity or DEFAULT gen_random_uuid() column, or accept uniqueness within a shard: \"shardyard table shard {table} --key {key} --local-unique\"."
                )
            }
            Self::ForeignKey { hint, .. } => hint.clone(),
            Self::NarrowSequence { .. } => "Use bigint (bigserial).".to_owned(),
            Self::LateSequence { .. } => "Make a new table with the column, copy the rows, and rename it.".to_owned(),
            Self::PlacementChange { .. } => "Make a new table, copy the rows, and rename it.".to_owned(),
            Self::Gone => return None,
        })
    }
}

pub(crate) fn judge(inspection: &Inspection, rules: &TableRules, current: Option<&Placement>) -> Result<Judgement, DdlRefusal> {
    let table = inspection.subject().ok_or(DdlRefusal::Gone)?;
    let (placements, doubts) = place(&inspection.candidates(), rules);
    if let Some(doubt) = doubts.iter().find(|doubt| doubt.schema == table.schema && doubt.table == table.name) {
        let (column, reason) = (doubt.column.clone(), doubt.reason.clone());
        return Err(DdlRefusal::UnfitKey { table: table.name.clone(), column, reason });
    }
    let placement = placements.get(&table.oid).cloned().unwrap_or(Placement::Single);
    if let Some(old) = current.filter(|old| **old != placement) {
        let (old, new) = (describe(old), describe(&placement));
        return Err(DdlRefusal::PlacementChange { table: table.name.clone(), old, new });
    }
    for foreign_key in &table.foreign_keys {
        check_foreign_key(inspection, &placements, table, foreign_key)?;
    }
    let mut sequences = Vec::new();
    if let Placement::Sharded { key_column, .. } = &placement {
        let local = rules.rule(&table.schema, &table.name).is_some_and(|rule| rule.local_unique);
        for index in table.unique.iter().filter(|_| !local) {
            check_unique(table, index, key_column)?;
        }
        sequences = sequences_to_set(table, current.is_some())?;
    }
    let notice = (placement == Placement::Single && current.is_none()).then(|| {
        format!(
            "table \"{}\" has no column \"{}\" and is kept on the home shard only; \"shardyard table reference {0}\" copies it to every shard",
            table.name, rules.key_column
        )
    });
    Ok(Judgement { schema: table.schema.clone(), name: table.name.clone(), placement, sequences, notice })
}

fn check_unique(table: &InspectedTable, index: &UniqueIndex, key: &str) -> Result<(), DdlRefusal> {
    let contains_key = !index.exclusion && index.columns.iter().any(|column| column.as_deref() == Some(key));
    let unique_by_itself = match index.columns.as_slice() {
        [Some(column)] if !index.exclusion => has_unique_values(table, column),
        _ => false,
    };
    if contains_key || unique_by_itself {
        return Ok(());
    }
    let (table, constraint, key) = (table.name.clone(), index.name.clone(), key.to_owned());
    Err(DdlRefusal::Unique { table, constraint, key, primary: index.primary, exclusion: index.exclusion })
}

/// Filled by a sequence that we set apart, or by random uuids.
fn has_unique_values(table: &InspectedTable, column: &str) -> bool {
    let random = |default: &str| {
        let function = default.trim_end_matches("()").rsplit('.').next().unwrap_or_default();
        default.ends_with("()") && ["gen_random_uuid", "uuid_generate_v4", "uuidv4", "uuidv7"].contains(&function)
    };
    table.sequences.iter().any(|sequence| sequence.column == column)
        || table.columns.iter().any(|known| known.name == column && known.default.as_deref().is_some_and(random))
}

fn sequences_to_set(table: &InspectedTable, existed: bool) -> Result<Vec<InspectedSequence>, DdlRefusal> {
    let fresh: Vec<InspectedSequence> = table.sequences.iter().filter(|sequence| sequence.increment != STRIDE).cloned().collect();
    for sequence in &fresh {
        let (table, column) = (table.name.clone(), sequence.column.clone());
        if sequence.type_name != "bigint" {
            return Err(DdlRefusal::NarrowSequence { table, column, type_name: sequence.type_name.clone() });
        }
        if existed {
            return Err(DdlRefusal::LateSequence { table, column });
        }
    }
    Ok(fresh)
}

fn check_foreign_key(
    inspection: &Inspection,
    placements: &HashMap<u32, Placement>,
    table: &InspectedTable,
    foreign_key: &ForeignKey,
) -> Result<(), DdlRefusal> {
    let single = Placement::Single;
    let own = placements.get(&table.oid).unwrap_or(&single);
    let target = placements.get(&foreign_key.target).unwrap_or(&single);
    let target_name = inspection.table(foreign_key.target).map_or_else(|| "?".to_owned(), |table| table.name.clone());
    let hint = match (own, target) {
        (_, Placement::Reference) | (Placement::Single, Placement::Single) => return Ok(()),
        (Placement::Sharded { key_column, key_type }, Placement::Sharded { key_column: target_key, key_type: target_type }) => {
            let pairs = foreign_key.columns.iter().zip(&foreign_key.target_columns);
            let keys_meet = pairs.into_iter().any(|(column, target)| column == key_column && target == target_key);
            if keys_meet && key_type.family() == target_type.family() {
                return Ok(());
            }
            format!("Add the shard key to both sides: FOREIGN KEY (…, {key_column}) REFERENCES {target_name} (…, {target_key}).")
        }
        (_, Placement::Sharded { .. }) => "Only a table with the same shard key can refer to a sharded table.".to_owned(),
        (_, Placement::Single) => format!("Make the other a reference table first: \"shardyard table reference {target_name}\"."),
    };
    let detail = format!("Table \"{}\" is {}, table \"{target_name}\" is {}.", table.name, describe(own), describe(target));
    Err(DdlRefusal::ForeignKey { table: table.name.clone(), constraint: foreign_key.name.clone(), detail, hint })
}

fn describe(placement: &Placement) -> String {
    match placement {
        Placement::Sharded { key_column, .. } => format!("sharded by \"{key_column}\""),
        Placement::Reference => "a reference table".to_owned(),
        Placement::Single => "on the home shard only".to_owned(),
    }
}
