//! Passwords: in the file, in a file of their own, or in an environment variable.

use crate::config::Source;
use crate::config::reader::Reader;

impl Source<'_> {
    /// `NAME`, `NAME_file` (relative to the configuration's folder; one line end at its end is left out) or `NAME_env`; at most one of them.
    pub(crate) fn secret(&self, reader: &Reader<'_>, name: &str) -> Option<String> {
        let (file_key, variable_key) = (format!("{name}_file"), format!("{name}_env"));
        let (plain, file, variable) = (reader.text(name), reader.text(&file_key), reader.text(&variable_key));
        if [plain.is_some(), file.is_some(), variable.is_some()].iter().filter(|given| **given).count() > 1 {
            reader.wrong(name, &format!("is given twice: use one of {name}, {file_key} and {variable_key}"));
        }
        if let Some(file) = file {
            return match std::fs::read_to_string(self.folder.join(&file)) {
                Ok(text) => Some(text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned()),
                Err(error) => {
                    reader.wrong(&file_key, &format!("names a file that cannot be read: {error}"));
                    None
                }
            };
        }
        if let Some(variable) = variable {
            let value = match self.environment {
                Some(environment) => environment.get(&variable).cloned(),
                None => std::env::var(&variable).ok(),
            };
            if value.is_none() {
                reader.wrong(&variable_key, &format!("names the variable {variable}, which is not set"));
            }
            return value;
        }
        plain
    }
}
