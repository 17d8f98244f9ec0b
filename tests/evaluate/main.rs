//! Judging: distances, reports, classifiers.

#[path = "../support/mod.rs"]
mod support;

mod boosting;
mod classify;
mod given;
mod memorising;
mod report;
mod soft;
