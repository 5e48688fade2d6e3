//! Reads a script as psql would: its statements, COPY data, and the few variables that PostgreSQL's regression suite sets.

use std::collections::BTreeMap;

/// One statement of a script, and what follows it for COPY FROM STDIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) line: usize,
    pub(crate) sql: String,
    pub(crate) input: Option<String>,
}

/// Splits at semicolons outside of quotes, comments and parentheses. Lines of psql's own commands are left out, but for `\set`.
pub(crate) fn commands(text: &str, variables: &mut BTreeMap<String, String>) -> Vec<Command> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    let (mut sql, mut began, mut state) = (String::new(), 0, State::default());
    while let Some((number, line)) = lines.next() {
        if sql.trim().is_empty() && line.starts_with('\\') {
            set(line, variables);
            continue;
        }
        if sql.is_empty() {
            began = number + 1;
        }
        let mut rest = line;
        while let Some(end) = state.end_of_statement(rest) {
            let (statement, after) = rest.split_at(end);
            sql.push_str(statement.strip_suffix(';').unwrap_or(statement));
            let whole = substitute(without_leading_comments(&std::mem::take(&mut sql)), variables);
            rest = after;
            began = if whole.is_empty() { began } else { began.max(1) };
            let input = reads_input(&whole).then(|| {
                let data = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "\\.");
                data.map(|line| format!("{line}\n")).collect()
            });
            if !whole.is_empty() {
                found.push(Command { line: began, sql: whole, input });
            }
        }
        // psql's \gset, \g and the like end a statement too; its command is none of ours.
        if rest.trim_start().starts_with("\\g") {
            sql.clear();
            continue;
        }
        sql.push_str(rest);
        sql.push('\n');
        if sql.trim().is_empty() {
            sql.clear();
        }
    }
    found
}

fn without_leading_comments(sql: &str) -> &str {
    let mut rest = sql.trim();
    while let Some(comment) = rest.strip_prefix("--") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    rest
}

fn reads_input(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    lower.starts_with("copy") && lower.contains("from stdin")
}

/// `\set name part part…`, `\getenv name VARIABLE`: the parts are joined.
fn set(line: &str, variables: &mut BTreeMap<String, String>) {
    let mut words = line.split_whitespace();
    if words.next() == Some("\\set")
        && let Some(name) = words.next()
    {
        let rest = line.splitn(3, ' ').nth(2).unwrap_or_default();
        let parts: Vec<&str> = rest.split_whitespace().collect();
        let value = parts.iter().map(|part| match part.strip_prefix(':') {
            Some(other) => variables.get(other).cloned().unwrap_or_default(),
            None => part.trim_matches('\'').to_owned(),
        });
        let value: String = if rest.starts_with('\'') { rest.trim_matches('\'').replace("''", "'") } else { value.collect() };
        variables.insert(name.to_owned(), value);
    }
}

/// `:name` and `:'name'`.
fn substitute(sql: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = sql.to_owned();
    for (name, value) in variables {
        text = text.replace(&format!(":'{name}'"), &format!("'{value}'"));
        if text == format!(":{name}") {
            text.clone_from(value);
        }
    }
    text
}

/// Where the splitter stands: in a string, a comment, a dollar-quoted body, parentheses.
#[derive(Default)]
struct State {
    quote: Option<char>,
    escapes: bool,
    comment: usize,
    dollar: Option<String>,
    parentheses: usize,
    body: bool,
}

impl State {
    /// The byte after the semicolon that ends the statement, if it ends on this line.
    fn end_of_statement(&mut self, line: &str) -> Option<usize> {
        let mut at = 0;
        while let Some(letter) = line.get(at..).and_then(|rest| rest.chars().next()) {
            let rest = line.get(at..).unwrap_or_default();
            let mut taken = letter.len_utf8();
            if let Some(tag) = &self.dollar {
                if rest.starts_with(tag.as_str()) {
                    taken = tag.len();
                    self.dollar = None;
                }
            } else if let Some(quote) = self.quote {
                if self.escapes && letter == '\\' {
                    taken += rest.chars().nth(1).map_or(0, char::len_utf8);
                } else if letter == quote {
                    self.quote = None;
                }
            } else if self.comment > 0 {
                match rest.get(..2) {
                    Some("*/") => (self.comment, taken) = (self.comment - 1, 2),
                    Some("/*") => (self.comment, taken) = (self.comment + 1, 2),
                    _ => {}
                }
            } else if rest.starts_with("--") {
                return None;
            } else if rest.starts_with("/*") {
                (self.comment, taken) = (1, 2);
            } else {
                match letter {
                    '\'' | '"' => {
                        self.quote = Some(letter);
                        self.escapes = letter == '\'' && line.get(..at).is_some_and(|before| before.ends_with(['e', 'E']));
                    }
                    '$' => {
                        if let Some(tag) = dollar_tag(rest) {
                            taken = tag.len();
                            self.dollar = Some(tag);
                        }
                    }
                    '(' => self.parentheses += 1,
                    ')' => self.parentheses = self.parentheses.saturating_sub(1),
                    ';' if self.parentheses == 0 && !self.body => return Some(at + 1),
                    'b' | 'B' if rest.to_lowercase().starts_with("begin atomic") => self.body = true,
                    'e' | 'E' if self.body && rest.to_lowercase().starts_with("end;") => self.body = false,
                    _ => {}
                }
            }
            at += taken;
        }
        None
    }
}

fn dollar_tag(rest: &str) -> Option<String> {
    let end = rest.get(1..)?.find('$')? + 2;
    let tag = rest.get(..end)?;
    let inside = tag.trim_matches('$');
    (inside.chars().all(|letter| letter.is_alphanumeric() || letter == '_') && !inside.starts_with(|letter: char| letter.is_ascii_digit()))
        .then(|| tag.to_owned())
}

/// The splitter's own test.
pub(crate) fn splits_as_psql() -> anyhow::Result<()> {
    let text = "select 1; -- a; comment\nselect ';', \";\", $$;$$\n  , (2); \\d t\n/* ; /* ; */ */ select\n3;\ncopy t from stdin;\n1;\n\\.\n\\set x 'a' b\nselect :'x', E'\\';';\n";
    let mut variables = BTreeMap::new();
    let found: Vec<String> = commands(text, &mut variables)
        .into_iter()
        .map(|command| format!("{}{}", command.sql, command.input.map_or(String::new(), |input| format!(" < {input}"))))
        .collect();
    let expected = ["select 1", "select ';', \";\", $$;$$\n  , (2)", "\\d t\n/* ; /* ; */ */ select\n3", "copy t from stdin < 1;\n"];
    anyhow::ensure!(found.get(..4).is_some_and(|found| found == expected), "{found:#?}");
    anyhow::ensure!(found.len() == 5, "{found:#?}");
    Ok(())
}
