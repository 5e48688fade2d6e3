//! Who is the primary, by what the servers say.

use crate::backend::roles::{Role, Verdict, judge};
use crate::topology::Endpoint;

fn server(name: &str) -> Endpoint {
    Endpoint { host: name.to_owned(), port: 5432, database: "app".to_owned() }
}

/// The answers of a (listed), b and c: `p2` takes writes on timeline 2, `s2` follows it, `-` is silent.
fn verdict(known: u32, answers: &str) -> String {
    let names = ["a", "b", "c"].map(server);
    let role = |word: &str| {
        let timeline = word.get(1..)?.parse().ok()?;
        Some(if word.starts_with('p') { Role::Primary { timeline } } else { Role::Standby { timeline } })
    };
    let answers: Vec<_> = names.iter().zip(answers.split(' ').map(role)).collect();
    match judge(&server("a"), known, &answers) {
        Verdict::Stands { timeline } => format!("stands {timeline}"),
        Verdict::Promoted { primary, timeline, proven } => format!("{} {timeline}{}", primary.host, if proven { " proven" } else { "" }),
        Verdict::Absent => "absent".to_owned(),
        Verdict::Unclear(_) => "unclear".to_owned(),
    }
}

#[test]
fn the_later_timeline_is_the_primary() {
    let cases = [
        // All is as listed.
        (0, "p1 s1 s1", "stands 1"),
        (1, "p1 s1 -", "stands 1"),
        (1, "p1 - -", "stands 1"),
        // The primary is gone, and nobody was promoted yet.
        (1, "- s1 s1", "absent"),
        (1, "s1 s1 -", "absent"),
        // One was promoted.
        (1, "- p2 s2", "b 2"),
        (1, "- p2 -", "b 2"),
        (1, "s2 p2 s2", "b 2"),
        // The old primary returns: it is older, and shows it.
        (1, "p1 p2 s2", "b 2 proven"),
        (0, "p1 p2 -", "b 2 proven"),
        // A replica that was promoted by mistake long ago, and by nobody's wish.
        (3, "p3 p2 s3", "stands 3"),
        // Whether it is newer is not known here; the catalog may know.
        (0, "- p2 -", "b 2"),
        // Not newer than what the primary was last seen on.
        (2, "- p2 -", "unclear"),
        (2, "- p1 -", "unclear"),
        (2, "s2 p2 -", "unclear"),
        // The listed primary itself is an old one.
        (2, "p1 s1 -", "unclear"),
        (2, "p1 - -", "unclear"),
        // Two at once.
        (1, "p1 p1 -", "unclear"),
        (1, "- p2 p2", "unclear"),
        (1, "p1 p2 p2", "unclear"),
        (1, "p1 p2 p3", "c 3 proven"),
    ];
    for (known, answers, expected) in cases {
        assert_eq!(verdict(known, answers), expected, "known {known}: {answers}");
    }
}
