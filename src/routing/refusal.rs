//! Why a statement is not run: named table and clause, and what to do instead.

pub struct Refusal;
