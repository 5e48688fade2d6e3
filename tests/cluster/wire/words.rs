//! The words of a script's line: bare, `"quoted with \n \t \" \\ \x00 escapes"`, `x:0a0b` bytes, and two generators inside quotes.

use anyhow::{Context, Result, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Bare(String),
    Quoted(Vec<u8>),
}

impl Word {
    pub(crate) fn text(&self) -> Result<String> {
        match self {
            Self::Bare(text) => Ok(text.clone()),
            Self::Quoted(bytes) => String::from_utf8(bytes.clone()).context("not UTF-8"),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bare(text) => text.clone().into_bytes(),
            Self::Quoted(bytes) => bytes.clone(),
        }
    }
}

pub(crate) fn split(line: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted)?,
            None => bare_word(rest)?,
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn bare_word(text: &str) -> Result<(Word, &str)> {
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    match word.strip_prefix("x:") {
        Some(digits) => Ok((Word::Quoted(hex(digits)?), rest)),
        None => Ok((Word::Bare(word.to_owned()), rest)),
    }
}

fn quoted_word(text: &str) -> Result<(Word, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\', '$']).context("a quote is not closed")?;
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (special, after) = rest[at..].split_at(1);
        rest = match special {
            "\"" => return Ok((Word::Quoted(bytes), after)),
            "$" if after.starts_with('{') => generate(after, &mut bytes)?,
            "$" => {
                bytes.push(b'$');
                after
            }
            _ => escape(after, &mut bytes)?,
        };
    }
}

fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str> {
    let (letter, rest) = text.split_at_checked(1).context("nothing after a backslash")?;
    match letter {
        "n" => bytes.push(b'\n'),
        "t" => bytes.push(b'\t'),
        "x" => {
            let (digits, rest) = rest.split_at_checked(2).context("\\x needs two digits")?;
            bytes.extend(hex(digits)?);
            return Ok(rest);
        }
        "\"" | "\\" => bytes.extend_from_slice(letter.as_bytes()),
        other => bail!("no such escape: \\{other}"),
    }
    Ok(rest)
}

/// `${repeat TEXT COUNT}`, and `${list FROM TO TEXT}`: TEXT for each number, `#` standing for it, with commas between.
fn generate<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str> {
    let (inside, rest) = text.strip_prefix('{').and_then(|text| text.split_once('}')).context("${ is not closed")?;
    let parts: Vec<&str> = inside.splitn(4, ' ').collect();
    match parts.as_slice() {
        ["repeat", text, count] => bytes.extend(text.repeat(count.parse()?).into_bytes()),
        ["list", from, to, text] => {
            let items: Vec<String> = (from.parse::<u32>()?..=to.parse()?).map(|number| text.replace('#', &number.to_string())).collect();
            bytes.extend(items.join(", ").into_bytes());
        }
        _ => bail!("no such generator: {inside}"),
    }
    Ok(rest)
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let digits = digits.replace('_', "");
    if digits.len() % 2 == 1 {
        bail!("an odd number of hex digits: {digits}");
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).context("not hex")).collect()
}
