//! How answers become one, as far as the statement's text tells.

/// What is done with the rows of all shards. Columns are the shards': the client's, then hidden ones that the proxy has added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergePlan {
    /// ORDER BY. Unless rows are combined, every shard's rows come in this order.
    pub order: Vec<OrderItem>,
    /// Rows that several shards have of one group become one; `None`: every row stands for itself.
    pub combine: Option<Combine>,
    /// Columns at the end that the client does not get.
    pub hidden: usize,
    /// Text is compared by its bytes wherever this statement compares some.
    pub text_by_bytes: bool,
    /// Equal text is the same bytes.
    pub text_is_bytes: bool,
    pub limit: Option<Amount>,
    pub offset: Option<Amount>,
}

/// One item of ORDER BY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderItem {
    pub column: ColumnRef,
    pub descending: bool,
    pub nulls_first: bool,
}

/// A column of the shards' rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnRef {
    /// From the first, counted from 0.
    Output(usize),
    /// The first of this name, among those of the client.
    Named(String),
    /// Among the hidden ones.
    Hidden(usize),
    /// At the position, counted from 1, that the text's literal of this index says.
    Position(usize),
}

/// How rows of one group become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Combine {
    /// The columns whose values tell groups apart.
    pub groups: Vec<ColumnRef>,
    /// One for each column, hidden ones included.
    pub roles: Vec<Role>,
}

/// What a column of a group's row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No aggregate, so that it has one value in its group.
    Plain,
    Count,
    Sum,
    Min,
    Max,
    And,
    Or,
    /// An average, made of these two hidden columns.
    Average {
        sum: usize,
        count: usize,
    },
}

/// A number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// The text's literal of this index.
    Literal(usize),
    /// `$n`.
    Parameter(usize),
    /// FETCH FIRST ROW ONLY.
    One,
}

/// The types of the answers turn out to be none that the proxy merges. Nothing has been sent to the client yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unmergeable(pub String);

impl MergePlan {
    /// Rows are passed on as they come.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.order.is_empty() && self.combine.is_none()
    }
}
