//! Everything that is wrong with a configuration, told at once.

use std::cell::RefCell;
use std::fmt;

/// One mistake and where it stands: `shard-config/proxy.toml:12:8`, or the environment variable's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub place: String,
    pub text: String,
}

/// All mistakes of one reading, in the order found. Displays one a line.
#[derive(Debug, Default)]
pub struct Mistakes {
    list: RefCell<Vec<Mistake>>,
}

impl Mistakes {
    pub(crate) fn add(&self, place: &str, text: impl Into<String>) {
        self.list.borrow_mut().push(Mistake { place: place.to_owned(), text: text.into() });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// The mistakes, in the order found.
    #[must_use]
    pub fn into_vec(self) -> Vec<Mistake> {
        self.list.into_inner()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.borrow().iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", mistake.place, mistake.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
