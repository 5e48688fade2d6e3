//! From a query whose shards can each compute their part to the plan that merges the parts.

use crate::merge::{Amount, ColumnRef, Combine, MergePlan, OrderItem, Role};
use crate::routing::colocation::Anchor;
use crate::routing::scope::Found;
use crate::routing::splice::{Edit, Part, are_alike};
use crate::sql::ast::{Call, Distinct, Expr, Query, Select, Target, walk};
use crate::sql::cursor::Tokens;
use crate::sql::lexer::{Token, TokenKind};
use crate::sql::literal::LiteralKind;
use crate::sql::outline::{Outline, Span};
use crate::topology::Schema;

/// A query and what is known of it.
pub(crate) struct Merging<'a> {
    pub schema: &'a Schema,
    pub tokens: &'a Tokens<'a>,
    pub outline: &'a Outline,
    pub anchor: &'a Anchor<'a>,
    pub select: &'a Select,
    pub query: &'a Query,
}

/// The plan under construction.
#[derive(Default)]
struct Draft {
    plan: MergePlan,
    edits: Vec<Edit>,
    /// Of the hidden columns.
    roles: Vec<Role>,
    /// The client's columns, when they are one for each target.
    targets: usize,
}

impl Merging<'_> {
    /// How the shards' rows are merged, and what their texts have other than the client's; else why it is not known to be right.
    pub(crate) fn plan(&self) -> Result<(MergePlan, Vec<Edit>), String> {
        let (select, outline) = (self.select, self.outline);
        let counted = outline.targets.len() == select.targets.len()
            && outline.group_by.len() == select.group_by.len()
            && outline.order_by.len() == self.query.order_by.len();
        if !counted {
            return Err("its clauses are not told apart".to_owned());
        }
        if select.grouping_sets {
            return Err("grouping sets".to_owned());
        }
        if !select.windows.is_empty() || self.exprs().any(|expr| finds(expr, |call| call.window)) {
            return Err("window functions".to_owned());
        }
        let mut draft = Draft { targets: select.targets.len(), ..Draft::default() };
        let text = self.schema.text();
        let by_bytes = |at: usize| self.token(at).is_some_and(|token| matches!(self.tokens.bytes(token), b"\"C\"" | b"\"POSIX\""));
        let collated = (0..self.tokens.list().len()).any(|at| self.is_word(at, "collate") && !by_bytes(at + 1));
        draft.plan.text_by_bytes = text.by_bytes && !collated;
        draft.plan.text_is_bytes = text.deterministic && !collated;
        let aggregated = !select.group_by.is_empty() || select.having.is_some() || self.exprs().any(|expr| self.aggregates(expr));
        let whole_groups = select.group_by.iter().any(|expr| self.anchor.is(expr));
        if aggregated && !whole_groups {
            self.combine(&mut draft)?;
        }
        self.distinct(&mut draft, aggregated)?;
        self.order(&mut draft)?;
        self.limit(&mut draft)?;
        if let Some(combine) = &mut draft.plan.combine {
            combine.roles.extend(draft.roles);
        }
        Ok((draft.plan, draft.edits))
    }

    fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (select, query) = (self.select, self.query);
        select.targets.iter().map(|target| &target.expr).chain(&select.group_by).chain(&select.having).chain(&query.order_by)
    }

    fn aggregates(&self, expr: &Expr) -> bool {
        finds(expr, |call| self.schema.is_aggregate(&call.name))
    }

    /// Groups may have rows on several shards: their parts are combined here.
    fn combine(&self, draft: &mut Draft) -> Result<(), String> {
        if self.select.having.is_some() {
            return Err("HAVING over groups that span shards".to_owned());
        }
        let mut combine = Combine::default();
        for (at, target) in self.select.targets.iter().enumerate() {
            if let Expr::Star { .. } = target.expr {
                return Err("* beside aggregates".to_owned());
            }
            let span = self.expression_of_target(at);
            let role = self.role(&target.expr, &span, draft)?;
            combine.roles.push(role);
        }
        for (at, expr) in self.select.group_by.iter().enumerate() {
            let span = self.outline.group_by.get(at).cloned().unwrap_or_default();
            combine.groups.push(self.group(expr, span, draft)?);
        }
        draft.plan.combine = Some(combine);
        Ok(())
    }

    /// What an expression is to its group. An average adds two hidden columns.
    fn role(&self, expr: &Expr, span: &Span, draft: &mut Draft) -> Result<Role, String> {
        if !self.aggregates(expr) {
            // PostgreSQL takes only what the groups' columns determine.
            return if finds(expr, |call| self.schema.is_set_returning(&call.name)) {
                Err("a function that returns sets beside aggregates".to_owned())
            } else {
                Ok(Role::Plain)
            };
        }
        let over = || "an expression over aggregates".to_owned();
        let Expr::Call(call) = expr else { return Err(over()) };
        if call.schema.as_deref().is_some_and(|schema| schema != "pg_catalog")
            || call.arguments.iter().any(|argument| self.aggregates(argument))
        {
            return Err(over());
        }
        let distinct = call.ordered;
        let role = match call.name.as_str() {
            "count" if !distinct || self.is_of_anchor(call) => Role::Count,
            "sum" if !distinct => Role::Sum,
            "min" => Role::Min,
            "max" => Role::Max,
            "bool_and" | "every" => Role::And,
            "bool_or" => Role::Or,
            "avg" if !distinct => {
                let head = self.tokens.list().get(span.clone()).unwrap_or_default();
                let open = head.iter().position(|token| token.kind == TokenKind::Mark(b'(')).ok_or_else(over)?;
                let arguments = span.start + open..span.end;
                let mut add = |name| draft.hide(vec![Part::Text(name), Part::Copy(arguments.clone())], Role::Sum, self.outline);
                let sum = add("pg_catalog.sum");
                let count = add("pg_catalog.count");
                Role::Average { sum: draft.targets + sum, count: draft.targets + count }
            }
            name if distinct => return Err(format!("{name}(DISTINCT …) over groups that span shards")),
            name => return Err(format!("{name}() over groups that span shards")),
        };
        Ok(role)
    }

    /// `count(DISTINCT key)`: a key's rows are all on one shard.
    fn is_of_anchor(&self, call: &Call) -> bool {
        matches!(call.arguments.as_slice(), [only] if self.anchor.is(only))
    }

    fn group(&self, expr: &Expr, span: Span, draft: &mut Draft) -> Result<ColumnRef, String> {
        match expr {
            Expr::Literal(index) => Ok(ColumnRef::Position(self.position(*index, &span)?)),
            Expr::Column { qualifier, name } if qualifier.is_empty() => {
                if let Some(at) = self.select.targets.iter().position(|target| target.expr == *expr) {
                    return Ok(ColumnRef::Output(at));
                }
                // As findTargetlistEntrySQL92: in GROUP BY a column of FROM comes before an output's name.
                match self.anchor.column(name) {
                    Found::Term(_) => Ok(ColumnRef::Hidden(draft.hide(vec![Part::Copy(span)], Role::Plain, self.outline))),
                    Found::No => {
                        let named = self.select.targets.iter().position(|target| target.alias.as_ref() == Some(name));
                        named.map(ColumnRef::Output).ok_or_else(|| format!("GROUP BY \"{name}\", a name that is not followed"))
                    }
                    Found::Unclear => Err(format!("GROUP BY \"{name}\", a name that is not followed")),
                }
            }
            Expr::Row(_) | Expr::Star { .. } => Err("GROUP BY of a row".to_owned()),
            _ => Ok(match self.target_like(&span) {
                Some(at) => ColumnRef::Output(at),
                None => ColumnRef::Hidden(draft.hide(vec![Part::Copy(span)], Role::Plain, self.outline)),
            }),
        }
    }

    /// The place of a literal that stands alone and is a number: a column's position.
    fn position(&self, literal: usize, span: &Span) -> Result<usize, String> {
        let alone = self.tokens.list().get(span.start).is_some_and(|token| token.kind == TokenKind::Literal(LiteralKind::Integer));
        if alone { Ok(literal) } else { Err("a constant to order or group by".to_owned()) }
    }

    fn distinct(&self, draft: &mut Draft, aggregated: bool) -> Result<(), String> {
        match &self.select.distinct {
            Distinct::No => Ok(()),
            Distinct::On(exprs) if exprs.iter().any(|expr| self.anchor.is(expr)) => Ok(()),
            Distinct::On(_) => Err("DISTINCT ON without the shard key".to_owned()),
            Distinct::Rows if draft.plan.combine.is_some() => Err("DISTINCT over aggregates of groups that span shards".to_owned()),
            Distinct::Rows => {
                let whole = |target: &Target| match &target.expr {
                    Expr::Star { qualifier } => qualifier.is_empty(),
                    expr => self.anchor.is(expr),
                };
                if !aggregated && self.select.targets.iter().any(whole) {
                    return Ok(());
                }
                if self.has_star() {
                    return Err("DISTINCT of columns that are not named".to_owned());
                }
                let columns = 0..self.select.targets.len();
                let roles = vec![Role::Plain; columns.len()];
                draft.plan.combine = Some(Combine { groups: columns.map(ColumnRef::Output).collect(), roles });
                Ok(())
            }
        }
    }

    fn has_star(&self) -> bool {
        self.select.targets.iter().any(|target| matches!(target.expr, Expr::Star { .. }))
    }

    fn order(&self, draft: &mut Draft) -> Result<(), String> {
        for (at, expr) in self.query.order_by.iter().enumerate() {
            let (span, descending, nulls_first) = self.direction(self.outline.order_by.get(at).cloned().unwrap_or_default())?;
            let column = self.order_column(expr, span, draft)?;
            draft.plan.order.push(OrderItem { column, descending, nulls_first });
        }
        if draft.plan.combine.is_some()
            && let Some(clause) = self.outline.order_clause.clone()
        {
            // The shards' order would be lost.
            self.remove(clause, draft, &[])?;
        }
        Ok(())
    }

    /// Cuts ASC, DESC, NULLS FIRST and NULLS LAST off an item of ORDER BY.
    fn direction(&self, mut span: Span) -> Result<(Span, bool, bool), String> {
        let mut nulls_first = None;
        if span.end >= 2 && self.is_word(span.end - 2, "nulls") {
            nulls_first = Some(self.is_word(span.end - 1, "first"));
            span.end -= 2;
        }
        let mut descending = false;
        if span.end >= 1 && (self.is_word(span.end - 1, "desc") || self.is_word(span.end - 1, "asc")) {
            descending = self.is_word(span.end - 1, "desc");
            span.end -= 1;
        }
        if span.clone().any(|at| self.is_word(at, "using")) || span.is_empty() {
            return Err("ORDER BY … USING".to_owned());
        }
        Ok((span, descending, nulls_first.unwrap_or(descending)))
    }

    fn order_column(&self, expr: &Expr, span: Span, draft: &mut Draft) -> Result<ColumnRef, String> {
        match expr {
            Expr::Literal(index) => return Ok(ColumnRef::Position(self.position(*index, &span)?)),
            Expr::Column { qualifier, name } if qualifier.is_empty() => {
                if let Some(column) = self.output_named(name)? {
                    return Ok(column);
                }
            }
            _ => {}
        }
        if !self.has_star()
            && let Some(at) = self.target_like(&span)
        {
            return Ok(ColumnRef::Output(at));
        }
        if self.select.distinct != Distinct::No {
            return Err("ORDER BY something that is not among the DISTINCT columns".to_owned());
        }
        let mut role = Role::Plain;
        if draft.plan.combine.is_some() {
            role = self.role(expr, &span, draft)?;
        }
        let hidden = draft.hide(vec![Part::Copy(span)], role, self.outline);
        Ok(ColumnRef::Hidden(hidden))
    }

    /// The output column that a bare name in ORDER BY means; `None`: a column of FROM.
    fn output_named(&self, name: &str) -> Result<Option<ColumnRef>, String> {
        if self.has_star() {
            let whole = |target: &Target| match &target.expr {
                Expr::Star { qualifier } => qualifier.is_empty() || self.anchor.is_alone(),
                _ => label(target).is_some_and(|label| label == name),
            };
            if self.select.targets.iter().any(whole) {
                return Ok(Some(ColumnRef::Named(name.to_owned())));
            }
            return Err(format!("ORDER BY \"{name}\" beside columns that are not named"));
        }
        if let Some(at) = self.select.targets.iter().position(|target| label(target).is_some_and(|label| label == name)) {
            return Ok(Some(ColumnRef::Output(at)));
        }
        let unnamed = self.select.targets.iter().any(|target| label(target).is_none());
        match self.anchor.column(name) {
            Found::Term(_) if !unnamed => Ok(None),
            _ => Err(format!("ORDER BY \"{name}\", a name that is not followed")),
        }
    }

    /// The target whose text is the same.
    fn target_like(&self, span: &Span) -> Option<usize> {
        (0..self.select.targets.len()).find(|at| are_alike(self.tokens, &self.expression_of_target(*at), span))
    }

    /// The tokens of a target without its alias.
    fn expression_of_target(&self, at: usize) -> Span {
        let mut span = self.outline.targets.get(at).cloned().unwrap_or_default();
        if self.select.targets.get(at).is_some_and(|target| target.alias.is_some()) {
            span.end -= 1;
            if span.end > span.start && self.is_word(span.end - 1, "as") {
                span.end -= 1;
            }
        }
        span
    }

    fn limit(&self, draft: &mut Draft) -> Result<(), String> {
        let outline = self.outline;
        draft.plan.limit = self.amount(outline.limit_clause.as_ref(), "LIMIT")?;
        draft.plan.offset = self.amount(outline.offset_clause.as_ref(), "OFFSET")?;
        let amounts = [draft.plan.limit, draft.plan.offset];
        if draft.plan.combine.is_some() {
            for clause in [&outline.limit_clause, &outline.offset_clause].into_iter().flatten() {
                self.remove(clause.clone(), draft, &amounts)?;
            }
        } else if outline.offset_clause.is_some() || self.query.locking {
            if let Some(offset) = &outline.offset_clause {
                self.remove(offset.clone(), draft, &amounts)?;
            }
            if let Some(limit) = &outline.limit_clause {
                self.check_parameters(limit, &amounts)?;
                draft.edits.push(Edit::Limit(limit.clone()));
            }
        }
        Ok(())
    }

    /// `LIMIT 10`, `LIMIT $1`, `LIMIT ALL`, `OFFSET 5 ROWS`, `FETCH FIRST 10 ROWS ONLY`.
    fn amount(&self, clause: Option<&Span>, what: &str) -> Result<Option<Amount>, String> {
        let Some(clause) = clause else { return Ok(None) };
        let fetch = self.is_word(clause.start, "fetch");
        let at = clause.start + if fetch { 2 } else { 1 };
        let unit = self.is_word(at + 1, "row") || self.is_word(at + 1, "rows");
        if fetch && clause.len() == 4 && self.is_word(clause.start + 3, "only") {
            return Ok(Some(Amount::One));
        }
        let one = match clause.len() {
            5 => fetch && unit && self.is_word(at + 2, "only"),
            3 => unit && !fetch,
            length => length == 2,
        };
        match self.token(at).filter(|_| one) {
            Some(Token { kind: TokenKind::Literal(LiteralKind::Integer), .. }) => {
                let before = self.tokens.list().get(..at).unwrap_or_default();
                Ok(Some(Amount::Literal(before.iter().filter(|token| matches!(token.kind, TokenKind::Literal(_))).count())))
            }
            Some(token @ Token { kind: TokenKind::Parameter, .. }) => {
                let number =
                    std::str::from_utf8(self.tokens.bytes(token).get(1..).unwrap_or_default()).ok().and_then(|text| text.parse().ok());
                number.map(|number| Some(Amount::Parameter(number))).ok_or_else(|| format!("{what} of a parameter"))
            }
            Some(_) if self.is_word(at, "all") || self.is_word(at, "null") => Ok(None),
            _ => Err(format!("{what} of an expression")),
        }
    }

    /// Leaves a clause out of the shards' texts.
    fn remove(&self, span: Span, draft: &mut Draft, amounts: &[Option<Amount>]) -> Result<(), String> {
        self.check_parameters(&span, amounts)?;
        draft.edits.push(Edit::Remove(span));
        Ok(())
    }

    /// What is left out may hold no parameter but an amount's, and that one only there: its type has to be known without.
    fn check_parameters(&self, span: &Span, amounts: &[Option<Amount>]) -> Result<(), String> {
        let is_parameter = |token: &&Token| token.kind == TokenKind::Parameter;
        for token in self.tokens.list().get(span.clone()).unwrap_or_default().iter().filter(is_parameter) {
            let name = self.tokens.bytes(*token);
            let uses = self.tokens.list().iter().filter(is_parameter).filter(|other| self.tokens.bytes(**other) == name).count();
            if uses > 1 || !amounts.iter().flatten().any(|amount| matches!(amount, Amount::Parameter(_))) {
                return Err("a parameter that LIMIT or ORDER BY shares with another clause".to_owned());
            }
        }
        Ok(())
    }

    fn token(&self, at: usize) -> Option<Token> {
        self.tokens.list().get(at).copied()
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.token(at).is_some_and(|token| token.kind == TokenKind::Word && self.tokens.bytes(token).eq_ignore_ascii_case(word.as_bytes()))
    }
}

impl Draft {
    /// Adds a hidden column; answers its place among them.
    fn hide(&mut self, parts: Vec<Part>, role: Role, outline: &Outline) -> usize {
        self.edits.push(Edit::Target { place: outline.targets_end, parts });
        self.roles.push(role);
        self.plan.hidden += 1;
        self.plan.hidden - 1
    }
}

/// The name of an output column, as FigureColname gives it; `None` where it is not followed here.
fn label(target: &Target) -> Option<&str> {
    match (&target.alias, &target.expr) {
        (Some(alias), _) => Some(alias),
        (None, Expr::Column { name, .. }) => Some(name),
        (None, Expr::Call(call)) => Some(&call.name),
        // Of these it is ?column?, which nothing means by chance.
        (None, Expr::Literal(_) | Expr::Parameter(_) | Expr::Null | Expr::Star { .. }) => Some("?column?"),
        _ => None,
    }
}

fn finds(expr: &Expr, wanted: impl Fn(&Call) -> bool) -> bool {
    let mut found = false;
    walk(expr, &mut |part| found |= matches!(part, Expr::Call(call) if wanted(call)));
    found
}
