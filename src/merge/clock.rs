//! Dates and times as PostgreSQL writes them with `DateStyle` ISO, as numbers that have their order.

/// Microseconds of a day.
const DAY: i128 = 86_400_000_000;

/// `2024-02-29`, `0044-03-15 BC`, `infinity`: days, with room for both infinities.
#[must_use]
pub fn date(text: &[u8]) -> Option<i64> {
    if let Some(infinite) = infinite(text) {
        return Some(infinite);
    }
    let (text, before_christ) = era(std::str::from_utf8(text).ok()?);
    days(text, before_christ)
}

/// `2024-02-29 12:34:56.789`, with a zone as in `+05:30` or without: microseconds in UTC.
#[must_use]
pub fn timestamp(text: &[u8]) -> Option<i64> {
    if let Some(infinite) = infinite(text) {
        return Some(infinite);
    }
    let (text, before_christ) = era(std::str::from_utf8(text).ok()?);
    let (date, rest) = text.split_once(' ')?;
    let (clock, zone) = match rest.find(['+', '-']) {
        Some(at) => (rest.get(..at)?, zone(rest.get(at..)?)?),
        None => (rest, 0),
    };
    let days = i128::from(days(date, before_christ)?);
    let micros = days * DAY + i128::from(time(clock.as_bytes())?) - i128::from(zone);
    i64::try_from(micros).ok()
}

/// `12:34:56.789`: microseconds.
#[must_use]
pub fn time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros = format!("{fraction:0<6}").parse::<i64>().ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

fn infinite(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(i64::MAX),
        b"-infinity" => Some(i64::MIN),
        _ => None,
    }
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// `+05`, `-03:30`, `+00:19:32`: microseconds.
fn zone(text: &str) -> Option<i64> {
    let (sign, rest) = text.split_at_checked(1)?;
    let mut seconds = 0_i64;
    let mut unit = 3_600;
    for part in rest.split(':') {
        seconds += part.parse::<i64>().ok()? * unit;
        unit /= 60;
    }
    Some(if sign == "-" { -seconds } else { seconds } * 1_000_000)
}

/// Days since 1970 of `year-month-day` in the proleptic Gregorian calendar.
fn days(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    // As date2j: years begin in March, so that the leap day is their last.
    let shifted = if month > 2 { year } else { year - 1 };
    let (cycle, of_cycle) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests;
