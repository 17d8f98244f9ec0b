//! What holds for the text of the sources: who may import whom, how messages read. Links nothing of the program.

mod architecture;
mod messages;
