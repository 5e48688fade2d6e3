//! From a statement's text to its plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::routing::analyze::Analyzer;
use crate::routing::decide::{Decision, decide};
use crate::routing::facts::Facts;
use crate::routing::plan::{Access, Hinted, Plan, Planner};
use crate::routing::point::PointRead;
use crate::routing::refusal::Refusal;
use crate::routing::sequence::{self, SettingPlan};
use crate::routing::spread::{Sought, Spreading};
use crate::sql::ast::{Body, Query, Statement};
use crate::sql::classify::{Classified, Form, classify};
use crate::sql::command::{Command, Ddl, DdlObject, DdlVerb, ObjectName};
use crate::sql::cursor::{Cursor, Tokens};
use crate::sql::hint;
use crate::sql::literal::Literal;
use crate::sql::parse::{ParseError, parse};
use crate::sql::session_state::statement_leaves_state;
use crate::sql::tables::{names_from, names_outside_strings};
use crate::sql::template::Scan;
use crate::topology::key::KeyFamily;
use crate::topology::schema::Relation;
use crate::topology::{KeyType, Placement};

impl Planner<'_> {
    /// Plans one statement. Never fails: a statement that cannot be run has a plan whose `route` refuses;
    /// one with an error that PostgreSQL should report goes home.
    ///
    /// `scan` holds the scan of `text`. `_parameter_types` are those of Parse: the route reads them from its values.
    #[must_use]
    pub fn plan(&self, text: &str, scan: &Scan, _parameter_types: &[u32]) -> Plan {
        let Ok(tokens) = Tokens::new(text.as_bytes(), scan.standard_conforming_strings()) else { return self.home(Command::Query) };
        let cursor = tokens.cursor();
        let comment = hint::read(text.as_bytes().get(..cursor.offset()).unwrap_or_default());
        let classified = classify(cursor);
        let mut plan = match classified.data {
            Some(data) => self.plan_data(cursor, &classified, data, scan.literals()),
            None => self.plan_utility(cursor, classified.command),
        };
        if comment.reference
            && let Command::Ddl(ddl) | Command::Pinning { ddl: Some(ddl), .. } = &mut plan.command
        {
            ddl.as_reference = true;
        }
        plan.comment = comment;
        plan
    }

    fn home(&self, command: Command) -> Plan {
        Plan {
            command,
            access: Access::Write,
            decision: Decision::Home("no rows"),
            spreading: Spreading::default(),
            comment: hint::CommentHint::default(),
            hinted: Hinted::Always,
            key_type: self.key_type(None),
            unknown_relations: false,
            judged: false,
            notifies: false,
            remembers: false,
            sequence: None,
            point: None,
        }
    }

    fn plan_data(&self, whole: Cursor<'_>, classified: &Classified<'_>, data: Cursor<'_>, literals: &[Literal]) -> Plan {
        let data = if classified.form == Form::CopyQuery { data.until_close() } else { Some(data) };
        let parsed = data.ok_or(ParseError::NotUnderstood).and_then(|cursor| Ok((cursor, parse(cursor)?)));
        let (cursor, statement) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.not_parsed(whole, classified, error),
        };
        let mut analyzer = Analyzer::new(self, literals);
        analyzer.statement(&statement);
        let (facts, regions) = (&analyzer.facts, &analyzer.regions);
        let form = if selected_into(&statement).is_some() { Form::Stored } else { classified.form };
        let mut decision = for_form(decide(facts, regions), form, facts);
        if let Decision::Bound(bound) = &mut decision {
            bound.mark_shared(&unclear(whole, &analyzer.key_parameters));
        }
        let spreading = Spreading::find(&Sought { whole, cursor, statement: &statement, form, analyzer: &analyzer, decision: &decision });
        let access = access(facts, &decision, form);
        let hinted = hinted(facts, &decision);
        let calls = |wanted: fn(&str) -> bool| facts.calls.iter().any(|(name, _)| wanted(name));
        let sets = form == Form::Plain && calls(|name| name == "setval") && analyzer.has_sharded_tables();
        let sequence = if sets { SettingPlan::find(&statement, cursor) } else { None };
        let (decision, spreading) = if calls(|name| name == "setval") && sequence.is_none() && analyzer.has_sharded_tables() {
            (Decision::Refused(sequence::unclear()), Spreading::default())
        } else {
            (decision, spreading)
        };
        Plan {
            command: command(classified.command.clone(), &statement, facts),
            access,
            decision,
            spreading,
            hinted,
            key_type: self.key_type(facts.sharded.first().map(|sharded| sharded.key_type)),
            unknown_relations: facts.unknown_relations,
            judged: facts.writes && !facts.locking && facts.volatile.is_none(),
            notifies: calls(|name| name == "pg_notify"),
            remembers: calls(sequence::remembers),
            sequence,
            point: if form == Form::Plain { PointRead::find(self, &statement, literals) } else { None },
            ..self.home(Command::Query)
        }
    }

    /// What the parser does not know is refused where it could go wrong, and PostgreSQL's to judge where it could not.
    fn not_parsed(&self, whole: Cursor<'_>, classified: &Classified<'_>, error: ParseError) -> Plan {
        let home = self.home(classified.command.clone());
        if classified.form == Form::View {
            return home;
        }
        if error == ParseError::TooComplex {
            return Plan { decision: Decision::Refused(Refusal::too_complex()), ..home };
        }
        // One template, one plan: what strings hold must not count.
        let named: Vec<&Relation> = names_outside_strings(whole).iter().filter_map(|name| self.relation(name)).collect();
        let reads = whole.is_one_of(&["select", "values", "table", "("]);
        let refused = named.iter().find(|relation| match relation.placement {
            Placement::Sharded { .. } => true,
            Placement::Reference => !reads,
            Placement::Single => false,
        });
        match refused {
            Some(relation) => {
                let spreading = Spreading::unparsed(self, whole, classified.form);
                Plan { decision: Decision::Refused(Refusal::not_understood(&relation.name)), spreading, ..home }
            }
            None if whole.has_unicode_names() => Plan { decision: Decision::Refused(Refusal::not_understood("U&\"…\"")), ..home },
            None => Plan { hinted: Hinted::ByComment, unknown_relations: true, ..home },
        }
    }

    fn plan_utility(&self, cursor: Cursor<'_>, command: Command) -> Plan {
        let home = self.home(command);
        let mut rest = cursor;
        rest.advance();
        if cursor.is_word("copy") {
            return self.copy(rest, home);
        }
        if cursor.is_one_of(&["do", "call"]) {
            return self.block(cursor, rest, home);
        }
        match &home.command {
            Command::Ddl(_) | Command::Pinning { .. } => Plan { hinted: Hinted::Never, ..home },
            _ => home,
        }
    }

    /// What a block leaves in its server's session stays with the client.
    fn pinning(&self, cursor: Cursor<'_>, home: Plan) -> Plan {
        let called = |name: &ObjectName| self.schema.function(&name.name).is_some_and(|facts| facts.leaves_session_state);
        if statement_leaves_state(cursor) || names_from(cursor).iter().any(called) {
            return Plan { command: Command::Pinning { temporary_tables: Vec::new(), ddl: None }, ..home };
        }
        home
    }

    /// DO and CALL: refused when what they run names a table that is not on the home shard alone.
    fn block(&self, cursor: Cursor<'_>, rest: Cursor<'_>, home: Plan) -> Plan {
        let apart = self.named(cursor).into_iter().find(|relation| relation.placement != Placement::Single);
        let procedure =
            names_from(rest).into_iter().find(|name| self.schema.function(&name.name).is_some_and(|facts| facts.names_sharded_table));
        let what = match (apart, procedure) {
            (Some(relation), _) => relation.name.clone(),
            (None, Some(name)) => name.name,
            (None, None) => return self.pinning(cursor, home),
        };
        let refusal = Refusal::with_routing_hint(
            format!("block that uses \"{what}\" is not bound to one shard"),
            format!("What it does depends on the shard it runs on, because \"{what}\" is not on the home shard alone."),
        );
        Plan { decision: Decision::Refused(refusal), ..home }
    }

    /// The relations among all names of the text, strings included.
    fn named(&self, cursor: Cursor<'_>) -> Vec<&Relation> {
        names_from(cursor).iter().filter_map(|name| self.relation(name)).collect()
    }

    pub(crate) fn relation(&self, name: &ObjectName) -> Option<&Relation> {
        self.schema.relation(name.schema.as_deref(), &name.name, self.search_path).map(AsRef::as_ref)
    }

    /// The type of a hint's key: the statement's, else that of all sharded tables, else text, which is hashed as it is written.
    fn key_type(&self, of_statement: Option<KeyType>) -> KeyType {
        of_statement.unwrap_or_else(|| {
            let mut types = self.schema.relations().filter_map(|relation| match &relation.placement {
                Placement::Sharded { key_type, .. } => Some(*key_type),
                _ => None,
            });
            let first = types.next().unwrap_or(KeyType::Text);
            if !types.all(|other| other.family() == first.family()) {
                return KeyType::Text;
            }
            // Whichever of smallint, integer and bigint comes first.
            if first.family() == KeyFamily::Integer { KeyType::BigInt } else { first }
        })
    }
}

/// EXPLAIN, cursors and stored queries have rules of their own.
fn for_form(decision: Decision, form: Form, facts: &Facts) -> Decision {
    match (form, &decision) {
        (Form::Explain { analyze: false }, Decision::Everywhere) => Decision::Home("an explained write"),
        (Form::Explain { analyze: true }, Decision::Everywhere) => Decision::Refused(Refusal::unsupported(
            "EXPLAIN ANALYZE of a write to a reference table is not supported".to_owned(),
            "It would run on one shard only.".to_owned(),
            "Use EXPLAIN without ANALYZE.".to_owned(),
        )),
        (Form::Stored, _) if !facts.sharded.is_empty() => {
            let table = facts.sharded.first().map_or("", |sharded| &sharded.table);
            Decision::Refused(Refusal::unsupported(
                format!("table made of a query on \"{table}\" is not supported"),
                format!("Table \"{table}\" is sharded, so the new table's rows would stand on one shard only."),
                "Create the table first, then fill it by INSERT … SELECT for each key.".to_owned(),
            ))
        }
        (Form::View, _) => Decision::Home("a definition"),
        _ => decision,
    }
}

/// A replica may answer what reads, locks nothing, and calls only functions without effects.
fn access(facts: &Facts, decision: &Decision, form: Form) -> Access {
    let reads = !facts.writes && !facts.locking && facts.volatile.is_none() && !facts.session_state;
    let somewhere = match decision {
        Decision::Any | Decision::Bound(_) | Decision::Refused(_) => true,
        // Catalogs are read where DDL has just been done.
        Decision::Home(_) => !facts.single.is_empty() && facts.home.is_empty(),
        Decision::Everywhere => false,
    };
    let repeatable = matches!(form, Form::Plain | Form::Explain { .. } | Form::CopyQuery);
    if reads && somewhere && repeatable { Access::Read } else { Access::Write }
}

fn hinted(facts: &Facts, decision: &Decision) -> Hinted {
    if !facts.reference_writes.is_empty() || facts.hard.is_some() || facts.too_complex {
        return Hinted::Never;
    }
    match decision {
        Decision::Home(_) if !facts.single.is_empty() || !facts.home.is_empty() && facts.unknown_relations => Hinted::ByComment,
        Decision::Everywhere => Hinted::Never,
        _ => Hinted::Always,
    }
}

/// Parameters with a use that may give them another type than a key's: `total = $1 AND user_id = $1` compares numerics.
pub(crate) fn unclear(mut cursor: Cursor<'_>, key_parameters: &[usize]) -> BTreeSet<usize> {
    let mut uses: BTreeMap<usize, isize> = BTreeMap::new();
    while !cursor.at_end() {
        if let Some(number) = cursor.parameter() {
            *uses.entry(number).or_default() += 1;
        }
        cursor.advance();
    }
    for number in key_parameters {
        *uses.entry(*number).or_default() -= 1;
    }
    uses.into_iter().filter(|(_, uses)| *uses > 0).map(|(number, _)| number).collect()
}

/// The command, with what only the parsed statement tells.
fn command(command: Command, statement: &Statement, facts: &Facts) -> Command {
    if command != Command::Query {
        return command;
    }
    if let Some(into) = selected_into(statement) {
        let temporary = into.temporary || into.name.schema.as_deref() == Some("pg_temp");
        let ddl = Ddl {
            verb: DdlVerb::Create,
            object: DdlObject::TableAs,
            relations: vec![into.name.clone()],
            uses: facts
                .sharded
                .iter()
                .map(|sharded| &sharded.table)
                .chain(&facts.reference)
                .chain(&facts.single)
                .map(|table| ObjectName { schema: None, name: table.clone() })
                .collect(),
            outside_transaction: false,
            as_reference: false,
        };
        return if temporary {
            Command::Pinning { temporary_tables: vec![into.name.name.clone()], ddl: Some(ddl) }
        } else {
            Command::Ddl(ddl)
        };
    }
    if facts.session_state { Command::Pinning { temporary_tables: Vec::new(), ddl: None } } else { command }
}

fn selected_into(statement: &Statement) -> Option<&crate::sql::ast::Into> {
    let Statement::Query(query) = statement else { return None };
    into_of(query)
}

fn into_of(query: &Query) -> Option<&crate::sql::ast::Into> {
    match &query.body {
        Body::Select(select) => select.into.as_ref(),
        Body::Arms(arms) => arms.first().and_then(into_of),
        Body::Nested(inner) => into_of(inner),
        Body::Values(_) => None,
    }
}
