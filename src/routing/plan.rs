//! The plan of a statement's template: everything about its route that its values do not decide.

/// Whether a replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

#[derive(Debug)]
pub struct Plan;
#[derive(Debug)]
pub struct Planner;
