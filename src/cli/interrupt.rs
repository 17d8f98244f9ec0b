//! Ctrl-C and SIGTERM: the first asks a long run to stop where nothing is lost, the second ends it at once.

use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What asks for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    name: &'static str,
    number: u8,
}

#[cfg(unix)]
const SIGNALS: [Signal; 2] = [
    Signal {
        name: "Ctrl-C",
        number: libc::SIGINT as u8,
    },
    Signal {
        name: "SIGTERM",
        number: libc::SIGTERM as u8,
    },
];

impl Signal {
    /// 130 for Ctrl-C, 143 for SIGTERM: as if it had not been caught.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + self.number)
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Whether somebody asked to stop.
#[cfg(unix)]
pub struct Interrupt(Arc<AtomicUsize>);

#[cfg(unix)]
impl Interrupt {
    /// From now on, for the rest of the process.
    pub fn watch() -> anyhow::Result<Self> {
        use anyhow::Context;
        use signal_hook::flag;

        let (came, again) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        for signal in SIGNALS {
            let number = signal.number.into();
            // In this order: at the first signal there is nothing yet to end at once for.
            flag::register_conditional_shutdown(
                number,
                128 + i32::from(signal.number),
                Arc::clone(&again),
            )
            .and_then(|_| flag::register(number, Arc::clone(&again)))
            .and_then(|_| flag::register_usize(number, Arc::clone(&came), signal.number.into()))
            .with_context(|| format!("cannot watch for {signal}"))?;
        }
        Ok(Self(came))
    }

    /// What asked, if anything did.
    pub fn signal(&self) -> Option<Signal> {
        let came = self.0.load(Ordering::Relaxed);
        SIGNALS.into_iter().find(|s| usize::from(s.number) == came)
    }
}

/// Elsewhere the system ends the program at once; the journal makes that safe too.
#[cfg(not(unix))]
pub struct Interrupt;

#[cfg(not(unix))]
impl Interrupt {
    pub fn watch() -> anyhow::Result<Self> {
        Ok(Self)
    }

    pub fn signal(&self) -> Option<Signal> {
        None
    }
}
