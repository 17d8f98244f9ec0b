//! Judging generated images against truth.
