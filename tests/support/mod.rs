//! What the test programs share. Each of them holds all of it and uses a part.
#![allow(dead_code)]

pub mod common;
pub mod decisions;
pub mod dice;
pub mod h5;
pub mod program;
pub mod rounded;
