//! The corpus' text files: statements that end with `;` at a line's end, and directives for the statement after them.
//!
//! ```text
//! --@ op = < | <= | is distinct from       the statement once per value of {op}; several such lines multiply
//! --@ any | total | by 0,2                 how far its rows are ordered; by default wholly, where ORDER BY is its outermost clause
//! --@ simple                               not by the extended protocol (several statements, or without it)
//! --@ bind int8 5, text a b, _ null        by the extended protocol only, with these parameters (`_`: the server finds the type)
//! --@ check orders, buyers                 no statement: the tables' rows on all shards, read past the proxy, are the plain server's
//! ```
//! After `copy … from stdin;` follow its lines, up to `\.`.

use anyhow::{Context, Result, bail};

use crate::differential::compare::Order;
use crate::differential::outcome::Parameter;

/// A type's name in `bind` and its oid.
const TYPES: &[(&str, u32)] = &[
    ("_", 0),
    ("bool", 16),
    ("bytea", 17),
    ("int8", 20),
    ("int2", 21),
    ("int4", 23),
    ("text", 25),
    ("json", 114),
    ("float8", 701),
    ("int4[]", 1007),
    ("text[]", 1009),
    ("int8[]", 1016),
    ("bpchar", 1042),
    ("varchar", 1043),
    ("date", 1082),
    ("timestamp", 1114),
    ("timestamptz", 1184),
    ("numeric", 1700),
    ("uuid", 2950),
    ("uuid[]", 2951),
    ("jsonb", 3802),
];

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) kind: StepKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepKind {
    Statement(Statement),
    /// The rows of these tables.
    Check(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Without the last semicolon.
    pub(crate) sql: String,
    pub(crate) order: Order,
    pub(crate) simple_only: bool,
    /// Not empty: by the extended protocol only.
    pub(crate) parameters: Vec<Parameter>,
    /// What COPY FROM STDIN is given.
    pub(crate) input: String,
}

impl Statement {
    /// A statement whose order is read off its text.
    pub(crate) fn new(sql: &str) -> Self {
        let order = if orders_outermost(sql) { Order::Total } else { Order::Any };
        Self { sql: sql.to_owned(), order, simple_only: false, parameters: Vec::new(), input: String::new() }
    }
}

/// What stands before a statement.
#[derive(Default)]
struct Directives {
    variants: Vec<(String, Vec<String>)>,
    order: Option<Order>,
    simple_only: bool,
    parameters: Vec<Parameter>,
}

/// All steps of a file, its variants spelt out.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let (mut steps, mut directives, mut sql, mut began) = (Vec::new(), Directives::default(), String::new(), 0);
    while let Some((number, line)) = lines.next() {
        if sql.is_empty() && (line.trim().is_empty() || line.starts_with("--")) {
            if let Some(directive) = line.strip_prefix("--@ ") {
                match directive.strip_prefix("check ") {
                    Some(tables) => {
                        steps.push(Step { line: number, kind: StepKind::Check(tables.split(", ").map(str::to_owned).collect()) });
                    }
                    None => directives.read(directive).with_context(|| format!("line {number}"))?,
                }
            }
            continue;
        }
        if sql.is_empty() {
            began = number;
        } else {
            sql.push('\n');
        }
        sql.push_str(line);
        let inside_body = sql.matches("$$").count() % 2 == 1;
        let Some(whole) = sql.trim_end().strip_suffix(';').filter(|_| !inside_body) else { continue };
        let mut input = String::new();
        if whole.to_lowercase().contains("from stdin") {
            for (_, line) in lines.by_ref().take_while(|(_, line)| *line != "\\.") {
                input.push_str(line);
                input.push('\n');
            }
        }
        steps.extend(directives.apply(whole, &input).map(|statement| Step { line: began, kind: StepKind::Statement(statement) }));
        directives = Directives::default();
        sql.clear();
    }
    if !sql.is_empty() {
        bail!("line {began}: a statement without an end");
    }
    Ok(steps)
}

impl Directives {
    fn read(&mut self, directive: &str) -> Result<()> {
        match directive.split_once(' ').unwrap_or((directive, "")) {
            ("any", "") => self.order = Some(Order::Any),
            ("total", "") => self.order = Some(Order::Total),
            ("by", columns) => {
                self.order = Some(Order::By(columns.split(',').map(|column| Ok(column.trim().parse()?)).collect::<Result<_>>()?));
            }
            ("simple", "") => self.simple_only = true,
            ("bind", list) => self.parameters = list.split(", ").map(parameter).collect::<Result<_>>()?,
            (name, values) => {
                let values = values.strip_prefix("= ").with_context(|| format!("unknown directive \"{directive}\""))?;
                self.variants.push((format!("{{{name}}}"), values.split(" | ").map(|value| value.trim().to_owned()).collect()));
            }
        }
        Ok(())
    }

    fn apply(&self, sql: &str, input: &str) -> impl Iterator<Item = Statement> {
        let mut texts = vec![(sql.to_owned(), input.to_owned())];
        for (name, values) in &self.variants {
            let spell = |(sql, input): &(String, String)| {
                values.iter().map(|value| (sql.replace(name, value), input.replace(name, value))).collect::<Vec<_>>()
            };
            texts = texts.iter().flat_map(spell).collect();
        }
        let (order, simple_only, parameters) = (self.order.clone(), self.simple_only, self.parameters.clone());
        texts.into_iter().map(move |(sql, input)| {
            let statement = Statement::new(&sql);
            Statement {
                order: order.clone().unwrap_or(statement.order),
                simple_only,
                parameters: parameters.clone(),
                input,
                sql: statement.sql,
            }
        })
    }
}

fn parameter(text: &str) -> Result<Parameter> {
    let (name, value) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let (_, oid) = TYPES.iter().find(|(known, _)| *known == name).with_context(|| format!("unknown type \"{name}\""))?;
    Ok(Parameter { oid: *oid, text: (value != "null").then(|| value.to_owned()) })
}

/// Whether ORDER BY stands outside of all parentheses, or the rows are those of VALUES in an INSERT.
fn orders_outermost(sql: &str) -> bool {
    let (mut depth, mut quoted, mut outside) = (0_usize, false, String::new());
    for letter in sql.to_lowercase().chars() {
        match letter {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth = depth.saturating_sub(1),
            _ if !quoted && depth == 0 => outside.push(if letter.is_whitespace() { ' ' } else { letter }),
            _ => {}
        }
    }
    let words: Vec<&str> = outside.split(' ').filter(|word| !word.is_empty()).collect();
    // Which rows a conflict has left out is not told with those that are returned: their order is open.
    let skips = words.windows(2).any(|pair| pair == ["do", "nothing"]);
    let values = words.first() == Some(&"insert") && words.iter().any(|word| word.starts_with("values"));
    words.windows(2).any(|pair| pair == ["order", "by"]) || values && !skips
}
