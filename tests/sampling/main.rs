//! Drawing: the same images however they are drawn, and from the right distribution.

#[path = "../support/mod.rs"]
mod support;

mod checked_decisions;
mod distribution;
mod generate_loop;
mod idle;
mod incremental;
mod mirror;
mod several;
