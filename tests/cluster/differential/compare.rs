//! Whether two servers answered alike: all that a client may rely on, and nothing more.

use crate::differential::outcome::{Answer, Outcome, Row, row_text};

/// How far the order of the rows is decided by the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not at all: the rows are a multiset.
    Any,
    /// Wholly.
    Total,
    /// By these columns of the result only: rows that are equal in them come in any order.
    By(Vec<usize>),
}

/// The first difference, in words; `None` when they agree.
pub(crate) fn difference(expected: &Outcome, actual: &Outcome, order: &Order) -> Option<String> {
    let errors = (expected.sqlstate(), actual.sqlstate());
    if errors.0 != errors.1 {
        let shown = |state: Option<&str>| state.map_or_else(|| "success".to_owned(), |state| format!("error {state}"));
        return Some(format!("{} is expected, and {} came", shown(errors.0), shown(errors.1)));
    }
    if expected.status != actual.status {
        return Some(format!("status {} is expected, and {} came", char::from(expected.status), char::from(actual.status)));
    }
    if expected.answers.len() != actual.answers.len() {
        return Some(format!("{} answers are expected, and {} came", expected.answers.len(), actual.answers.len()));
    }
    let failed_at = expected.error.as_ref().map(|_| expected.answers.len().saturating_sub(1));
    let pairs = expected.answers.iter().zip(&actual.answers).enumerate();
    // How many rows come before an error is not promised.
    pairs.filter(|(at, _)| Some(*at) != failed_at).find_map(|(_, (expected, actual))| answer_difference(expected, actual, order))
}

fn answer_difference(expected: &Answer, actual: &Answer, order: &Order) -> Option<String> {
    if expected.columns != actual.columns {
        return Some(format!("columns\n      {}\n    are expected, and\n      {}", expected.columns.join(", "), actual.columns.join(", ")));
    }
    if expected.tag != actual.tag {
        return Some(format!("tag {:?} is expected, and {:?} came", expected.tag, actual.tag));
    }
    rows_difference(&expected.rows, &actual.rows, order).or_else(|| rows_difference(&lines(expected), &lines(actual), order))
}

/// What every binary copy begins with; a length of an extension follows.
const BINARY_COPY: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// COPY's data as rows, so that it is compared like one: a server sends a row a message, but only the rows are promised.
fn lines(answer: &Answer) -> Vec<Row> {
    let all = answer.copied.concat();
    match all.strip_prefix(BINARY_COPY) {
        Some(tuples) => binary_tuples(tuples).unwrap_or_else(|| vec![vec![Some(all.clone())]]),
        None => all.split_inclusive(|byte| *byte == b'\n').map(|line| vec![Some(line.to_vec())]).collect(),
    }
}

fn binary_tuples(mut rest: &[u8]) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    loop {
        let (count, after) = rest.split_first_chunk::<2>()?;
        // -1 is the end, and nothing follows it.
        let Ok(count) = usize::try_from(i16::from_be_bytes(*count)) else { return after.is_empty().then_some(rows) };
        rest = after;
        let mut row = Row::new();
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            row.push(length.and_then(|length| after.get(..length)).map(<[u8]>::to_vec));
            rest = after.get(length.unwrap_or(0)..)?;
        }
        rows.push(row);
    }
}

/// The first difference of two results.
pub(crate) fn rows_difference(expected: &[Row], actual: &[Row], order: &Order) -> Option<String> {
    if expected.len() != actual.len() {
        let found = multiset_difference(expected, actual).unwrap_or_default();
        return Some(format!("{} rows are expected, and {} came; {found}", expected.len(), actual.len()));
    }
    match order {
        Order::Any => multiset_difference(expected, actual),
        Order::Total => sequence_difference(expected, actual),
        Order::By(columns) => {
            let sorted_by = |rows: &[Row]| rows.iter().map(|row| columns.iter().filter_map(|at| row.get(*at).cloned()).collect()).collect();
            let (left, right): (Vec<Row>, Vec<Row>) = (sorted_by(expected), sorted_by(actual));
            multiset_difference(expected, actual).or_else(|| sequence_difference(&left, &right))
        }
    }
}

fn sequence_difference(expected: &[Row], actual: &[Row]) -> Option<String> {
    let at = expected.iter().zip(actual).position(|(left, right)| left != right)?;
    let shown = |rows: &[Row]| rows.get(at).map(row_text).unwrap_or_default();
    Some(format!("row {}: {} is expected, and {} came", at + 1, shown(expected), shown(actual)))
}

fn multiset_difference(expected: &[Row], actual: &[Row]) -> Option<String> {
    let sorted = |rows: &[Row]| {
        let mut sorted = rows.to_vec();
        sorted.sort();
        sorted
    };
    let (left, right) = (sorted(expected), sorted(actual));
    let (missing, extra) = (without(&left, &right), without(&right, &left));
    let shown = |rows: &[&Row]| rows.iter().take(3).map(|row| row_text(row)).collect::<Vec<_>>().join("; ");
    (!missing.is_empty() || !extra.is_empty())
        .then(|| format!("{} rows missing ({}), {} that should not be ({})", missing.len(), shown(&missing), extra.len(), shown(&extra)))
}

/// What `rows` has and `others` has not, counting duplicates; both are sorted.
fn without<'a>(rows: &'a [Row], others: &[Row]) -> Vec<&'a Row> {
    let mut others = others.iter().peekable();
    let mut left = Vec::new();
    for row in rows {
        while others.next_if(|other| *other < row).is_some() {}
        if others.next_if(|other| *other == row).is_none() {
            left.push(row);
        }
    }
    left
}

/// The comparer's own tests: what it does not tell apart, no statement's test can.
pub(crate) mod tests {
    use anyhow::{Result, ensure};

    use crate::differential::compare::{Order, difference};
    use crate::differential::outcome::{Answer, Outcome, Row};
    use crate::reply::ServerError;

    fn row(values: &[&str]) -> Row {
        values.iter().map(|value| (*value != "null").then(|| value.as_bytes().to_vec())).collect()
    }

    fn rows(rows: &[&[&str]]) -> Outcome {
        let answer = Answer {
            columns: vec!["n (type 23)".to_owned()],
            rows: rows.iter().map(|values| row(values)).collect(),
            tag: format!("SELECT {}", rows.len()),
            ..Answer::default()
        };
        Outcome { answers: vec![answer], error: None, status: b'I' }
    }

    fn failed(state: &str) -> Outcome {
        let error = ServerError::decode(&[b"C", state.as_bytes(), b"\0\0"].concat());
        Outcome { answers: vec![Answer::default()], error: Some(error), status: b'I' }
    }

    fn changed(change: impl FnOnce(&mut Answer)) -> Outcome {
        let mut outcome = rows(&[&["1"], &["2"]]);
        outcome.answers.first_mut().map(change);
        outcome
    }

    pub(crate) fn tells_wrong_answers() -> Result<()> {
        let right = rows(&[&["1"], &["2"]]);
        let wrong = [
            ("a row less", rows(&[&["1"]]), Order::Any),
            ("a row more", rows(&[&["1"], &["2"], &["2"]]), Order::Any),
            ("another value", rows(&[&["1"], &["3"]]), Order::Any),
            ("a duplicate in place of a row", rows(&[&["1"], &["1"]]), Order::Any),
            ("NULL in place of a value", rows(&[&["1"], &["null"]]), Order::Any),
            ("an empty string in place of a value", rows(&[&["1"], &[""]]), Order::Any),
            ("rows in another order", rows(&[&["2"], &["1"]]), Order::Total),
            ("rows in another order of a column", rows(&[&["2"], &["1"]]), Order::By(vec![0])),
            ("another tag", changed(|answer| answer.tag = "SELECT 1".to_owned()), Order::Any),
            ("another column name", changed(|answer| answer.columns = vec!["m (type 23)".to_owned()]), Order::Any),
            ("another type", changed(|answer| answer.columns = vec!["n (type 20)".to_owned()]), Order::Any),
            ("another line of COPY", changed(|answer| answer.copied = vec![b"1\n".to_vec()]), Order::Any),
            ("an error", failed("22012"), Order::Any),
            ("one answer less", Outcome { answers: Vec::new(), ..right.clone() }, Order::Any),
            ("another status", Outcome { status: b'T', ..right.clone() }, Order::Any),
        ];
        for (name, actual, order) in wrong {
            ensure!(difference(&right, &actual, &order).is_some(), "{name} is not told");
            ensure!(difference(&actual, &right, &order).is_some(), "{name} is not told the other way round");
        }
        ensure!(difference(&failed("22012"), &failed("22003"), &Order::Any).is_some(), "another error is not told");
        Ok(())
    }

    pub(crate) fn allows_what_is_open() -> Result<()> {
        let one = rows(&[&["1", "a"], &["1", "b"], &["2", "c"]]);
        let other = rows(&[&["1", "b"], &["1", "a"], &["2", "c"]]);
        ensure!(difference(&one, &other, &Order::Any).is_none(), "the order of a multiset counts");
        ensure!(difference(&one, &other, &Order::By(vec![0])).is_none(), "the order of ties counts");
        ensure!(difference(&one, &other, &Order::By(vec![0, 1])).is_some(), "the order by two columns does not count");
        ensure!(difference(&failed("22012"), &failed("22012"), &Order::Total).is_none(), "equal errors differ");
        let copied = |parts: &[&[u8]]| changed(|answer| answer.copied = parts.iter().map(|part| part.to_vec()).collect());
        ensure!(difference(&copied(&[b"1\n", b"2\n"]), &copied(&[b"2\n1\n"]), &Order::Any).is_none(), "COPY's messages count");
        Ok(())
    }
}
