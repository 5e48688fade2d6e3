//! `shardyard check`: what would not work, and what to type to mend it.

mod catalog;
mod schema;
mod servers;

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::cli::cluster::Cluster;
use crate::config;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// Something does not work.
    Error,
    /// Something works less well than it could.
    Warning,
}

/// What is wrong, where, and how to mend it.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    place: String,
    text: String,
    mend: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, place: &str, text: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Error, place: place.to_owned(), text: text.into(), mend: mend.into() });
    }

    fn warning(&mut self, place: &str, text: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Warning, place: place.to_owned(), text: text.into(), mend: mend.into() });
    }
}

/// Exit code 3 when there is an error, 0 when there are warnings at most.
pub(crate) async fn run(folder: &Path, as_json: bool) -> Result<u8> {
    let mut findings = Findings::default();
    match config::read(folder, None) {
        Ok(options) => {
            if let Err(error) = config::check_file_limit(&options) {
                findings.warning("this process", error.to_string(), error.mend());
            }
            look(&Cluster { options }, &mut findings).await;
        }
        Err(mistakes) => {
            for mistake in mistakes.into_vec() {
                findings.error(&mistake.place, mistake.text, "edit the file");
            }
        }
    }
    if as_json {
        let findings: Vec<_> = findings.0.iter().map(to_json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "findings": findings }))?);
    } else {
        findings.0.iter().for_each(print);
        if findings.0.is_empty() {
            println!("nothing is wrong");
        }
    }
    Ok(if findings.0.iter().any(|finding| finding.severity == Severity::Error) { 3 } else { 0 })
}

async fn look(cluster: &Cluster, findings: &mut Findings) {
    catalog::look(cluster, findings).await;
    match cluster.state().await {
        Ok((map, rules)) => {
            servers::look(cluster, &map, findings).await;
            schema::look(cluster, &map, &rules, findings).await;
        }
        // Told by `catalog::look`.
        Err(_) if !findings.0.is_empty() => {}
        Err(error) => findings.error("catalog", format!("{error:#}"), "shardyard init"),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn to_json(finding: &Finding) -> serde_json::Value {
    json!({ "severity": word(finding.severity), "place": finding.place, "text": finding.text, "mend": finding.mend })
}

fn print(finding: &Finding) {
    println!("{}: {}: {}\n    {}", word(finding.severity), finding.place, finding.text, finding.mend);
}
