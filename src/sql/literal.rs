//! Literals: where they stand in the text, and their values.

/// How a literal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralKind {
    /// `42`, `0x2A`, `4_2`.
    Integer,
    /// `42.0`, `.5`, `1e3`.
    Numeric,
    /// `'…'` without escapes.
    Plain,
    /// `E'…'`, or `'…'` where `standard_conforming_strings` is off.
    Escape,
    /// `U&'…'`.
    Unicode,
    /// `$tag$…$tag$`.
    Dollar,
    /// `B'…'` or `X'…'`.
    Bits,
    /// `N'…'`.
    National,
}

/// One literal: the bytes `start..end` of the text, quotes and prefix included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    pub start: u32,
    pub end: u32,
    pub kind: LiteralKind,
}
