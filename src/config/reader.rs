//! Takes options out of one table; what is wrong or left over is a mistake.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::Mistakes;
use crate::config::tree::{Node, Value};

/// Reads one table. A key that is not asked for before [`Reader::finish`] is unknown.
pub(crate) struct Reader<'a> {
    node: &'a Node,
    /// How messages call the table: `pool.`, or nothing for the file itself.
    section: String,
    mistakes: &'a Mistakes,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(node: &'a Node, section: &str, mistakes: &'a Mistakes) -> Self {
        Self { node, section: section.to_owned(), mistakes, asked: RefCell::default() }
    }

    /// Where the table begins.
    pub(crate) fn place(&self) -> &'a str {
        &self.node.place
    }

    /// Where the key's value stands, or the table if it is missing.
    pub(crate) fn place_of(&self, key: &str) -> &'a str {
        self.get(key).map_or(&self.node.place, |node| &node.place)
    }

    /// Adds a mistake about this key.
    pub(crate) fn wrong(&self, key: &str, text: &str) {
        self.mistakes.add(self.place_of(key), format!("{}{key} {text}", self.section));
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match &self.get(key)?.value {
            Value::Text(text) | Value::Variable(text) if text.contains('\0') => self.reject(key, "must not contain a zero byte"),
            Value::Text(text) | Value::Variable(text) => Some(text.clone()),
            _ => self.reject(key, "must be a text in quotes"),
        }
    }

    /// A text that must be there and not empty.
    pub(crate) fn required_text(&self, key: &str) -> Option<String> {
        if self.get(key).is_none() {
            self.reject::<()>(key, "is missing");
        }
        match self.text(key)? {
            text if text.is_empty() => self.reject(key, "must not be empty"),
            text => Some(text),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match &self.get(key)?.value {
            Value::Flag(flag) => Some(*flag),
            Value::Variable(text) if text == "true" || text == "false" => Some(text == "true"),
            _ => self.reject(key, "must be true or false"),
        }
    }

    /// A whole number within these bounds.
    pub(crate) fn number<Number: TryFrom<i64>>(&self, key: &str, bounds: RangeInclusive<i64>) -> Option<Number> {
        let number = match &self.get(key)?.value {
            Value::Number(number) => Some(*number),
            Value::Variable(text) => text.trim().parse().ok(),
            _ => None,
        };
        let fitting = number.filter(|number| bounds.contains(number)).and_then(|number| Number::try_from(number).ok());
        fitting.or_else(|| self.reject(key, &format!("must be a whole number from {} to {}", bounds.start(), bounds.end())))
    }

    pub(crate) fn milliseconds(&self, key: &str, bounds: RangeInclusive<i64>) -> Option<Duration> {
        self.number(key, bounds).map(Duration::from_millis)
    }

    /// One of these words.
    pub(crate) fn choice<Choice: Copy>(&self, key: &str, choices: &[(&str, Choice)]) -> Option<Choice> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        chosen.or_else(|| {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.reject(key, &format!("must be one of {}", words.join(", ")))
        })
    }

    /// A list of texts with their places; one text counts as a list of one, a variable is split at commas.
    pub(crate) fn texts(&self, key: &str) -> Vec<(String, String)> {
        let Some(node) = self.get(key) else { return Vec::new() };
        match &node.value {
            Value::Text(text) => vec![(text.clone(), node.place.clone())],
            Value::Variable(text) => text.split(',').map(|part| (part.trim().to_owned(), node.place.clone())).collect(),
            Value::List(items) => items
                .iter()
                .filter_map(|item| match &item.value {
                    Value::Text(text) => Some((text.clone(), item.place.clone())),
                    _ => self.reject(key, "must be a list of texts in quotes"),
                })
                .collect(),
            _ => {
                self.reject::<()>(key, "must be a list of texts in quotes");
                Vec::new()
            }
        }
    }

    /// The table `[key]`; `None` when it is missing.
    pub(crate) fn section(&self, key: &str) -> Option<Reader<'a>> {
        let node = self.get(key)?;
        match &node.value {
            Value::Table(_) => Some(Reader::new(node, &format!("{}{key}.", self.section), self.mistakes)),
            _ => self.reject(key, &format!("must be a table: [{key}]")),
        }
    }

    /// The tables `[[key]]`, in order.
    pub(crate) fn sections(&self, key: &str) -> Vec<Reader<'a>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.reject::<()>(key, &format!("must be a list of tables: [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            match &item.value {
                Value::Table(_) => sections.push(Reader::new(item, "", self.mistakes)),
                _ => self.mistakes.add(&item.place, format!("{key} must be a list of tables: [[{key}]]")),
            }
        }
        sections
    }

    /// Every key that was not asked for is a mistake.
    pub(crate) fn finish(self) {
        let Value::Table(entries) = &self.node.value else { return };
        let asked = self.asked.borrow();
        for (key, node) in entries {
            if !asked.contains(key) {
                let known: Vec<&str> = asked.iter().map(String::as_str).collect();
                let text = format!("there is no option {}{key}; there are {}", self.section, known.join(", "));
                self.mistakes.add(&node.place, text);
            }
        }
    }

    fn get(&self, key: &str) -> Option<&'a Node> {
        self.asked.borrow_mut().insert(key.to_owned());
        match &self.node.value {
            Value::Table(entries) => entries.get(key),
            _ => None,
        }
    }

    fn reject<T>(&self, key: &str, text: &str) -> Option<T> {
        let found = match self.get(key).map(|node| &node.value) {
            Some(Value::Other(kind)) => format!(", not {kind}"),
            _ => String::new(),
        };
        self.wrong(key, &format!("{text}{found}"));
        None
    }
}
