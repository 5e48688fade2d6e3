//! What ParameterStatus has told the client, so that it is told again when the proxy itself changes a setting.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use crate::session::shared::Greeting;
use crate::wire::to_client;

/// The reported settings as the client knows them.
#[derive(Debug, Default)]
pub(super) struct Reported {
    greeting: Option<Arc<Greeting>>,
    application_name: String,
    /// What differs from the greeting by now.
    changes: BTreeMap<String, String>,
    /// To be sent before the next ReadyForQuery, as ReportChangedGUCOptions does.
    due: BytesMut,
}

impl Reported {
    /// Tells the client all of them, as at login.
    pub(super) fn greet(&mut self, greeting: Arc<Greeting>, application_name: String, out: &mut BytesMut) {
        for (name, value) in &greeting.parameters {
            let value = if name == "application_name" { &application_name } else { value };
            to_client::parameter_status(out, name, value);
        }
        *self = Self { greeting: Some(greeting), application_name, changes: BTreeMap::new(), due: BytesMut::new() };
    }

    /// Whether the client knows anything but what it was greeted with.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    fn at_login(&self, name: &str) -> Option<&str> {
        let greeting = self.greeting.as_ref()?;
        if name == "application_name" { Some(&self.application_name) } else { greeting.parameters.get(name).map(String::as_str) }
    }

    fn known(&self, name: &str) -> Option<&str> {
        self.changes.get(name).map(String::as_str).or_else(|| self.at_login(name))
    }

    /// The client was sent what the server reported: it knows the server's values now.
    pub(super) fn follow(&mut self, parameters: &BTreeMap<String, String>) {
        for (name, value) in parameters {
            if self.known(name) != Some(value) {
                self.changes.insert(name.clone(), value.clone());
            }
        }
    }

    /// Tells the client what differs from what it knows. The server has exactly the client's settings.
    pub(super) fn tell(&mut self, parameters: &BTreeMap<String, String>) {
        for (name, value) in parameters {
            if self.known(name) != Some(value) {
                to_client::parameter_status(&mut self.due, name, value);
                self.changes.insert(name.clone(), value.clone());
            }
        }
    }

    /// Tells the client that all is as at login again.
    pub(super) fn tell_login(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        for (name, value) in std::mem::take(&mut self.changes) {
            if let Some(at_login) = self.at_login(&name).filter(|at_login| *at_login != value) {
                to_client::parameter_status(&mut due, &name, at_login);
            }
        }
        self.due = due;
    }

    /// Sends what is due.
    pub(super) fn flush(&mut self, out: &mut BytesMut) {
        if !self.due.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut self.due));
        }
    }
}
