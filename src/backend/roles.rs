//! Who is the primary among a shard's servers, by what they say of themselves.
//!
//! A promotion begins a new timeline, so of two servers that both take writes the one on the higher timeline was promoted later. One that
//! cannot show that it is not an old primary is not followed.

use crate::topology::Endpoint;

/// What a server says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In recovery; the timeline it follows.
    Standby { timeline: u32 },
    /// Takes writes, on this timeline.
    Primary { timeline: u32 },
}

/// One server's answer; `None`: it has given none.
pub type Answer<'a> = (&'a Endpoint, Option<Role>);

/// What the answers of a shard's servers come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The listed primary is it.
    Stands { timeline: u32 },
    /// Another server has been promoted. `proven`: the listed primary itself has shown an older timeline. Otherwise it is silent or a
    /// standby, and this timeline has to be newer than the last that it was seen on.
    Promoted { primary: Endpoint, timeline: u32, proven: bool },
    /// No server takes writes.
    Absent,
    /// It cannot be told who is the primary: nobody may be written to. The reason, for people.
    Unclear(String),
}

/// `listed` is whom the map names; `known` the highest timeline that a primary of this shard was seen on, 0 for none.
#[must_use]
pub fn judge(listed: &Endpoint, known: u32, answers: &[Answer<'_>]) -> Verdict {
    let primary = |answer: &Answer<'_>| match answer.1 {
        Some(Role::Primary { timeline }) => Some(timeline),
        _ => None,
    };
    let Some(newest) = answers.iter().filter_map(primary).max() else { return Verdict::Absent };
    let mut best = answers.iter().filter(|answer| primary(answer) == Some(newest)).map(|(endpoint, _)| *endpoint);
    let Some(first) = best.next() else { return Verdict::Absent };
    if let Some(other) = best.next() {
        return Verdict::Unclear(format!("{first} and {other} both take writes, on the same timeline {newest}"));
    }
    if newest < known {
        return Verdict::Unclear(format!("{first} takes writes on timeline {newest}, but the shard has been on timeline {known}"));
    }
    if first == listed {
        return Verdict::Stands { timeline: newest };
    }
    // Its own timeline is older, or it would be the newest.
    let proven = answers.iter().any(|answer| answer.0 == listed && primary(answer).is_some());
    if !proven && newest == known {
        return Verdict::Unclear(format!("{first} takes writes on timeline {newest}, the one that {listed} was last seen on"));
    }
    Verdict::Promoted { primary: first.clone(), timeline: newest, proven }
}

#[cfg(test)]
mod tests;
