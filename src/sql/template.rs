//! Replaces a statement's literals by markers, so that statements of one shape share one plan.
