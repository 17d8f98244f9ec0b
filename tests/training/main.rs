//! Training: what is there to be learnt is learnt.

#[path = "../support/mod.rs"]
mod support;

mod end_to_end;
mod paper_toy;
mod refine;
mod response;
mod toy;
mod weights;
