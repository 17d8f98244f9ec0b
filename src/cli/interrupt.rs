//! Signals that ask for an end: the first asks a long run to stop where nothing is lost; a second Ctrl-C or SIGTERM ends it
//! at once.

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
    /// Whether it ends at once a run that was asked to end before. The others come more than once by themselves: a closed
    /// terminal and its shell both send SIGHUP, the kernel repeats SIGXCPU every second of computing, and Slurm sends
    /// SIGUSR1 to every process of a step.
    hurries: bool,
}

#[cfg(unix)]
const SIGNALS: [Signal; 6] = {
    const fn signal(name: &'static str, number: i32, hurries: bool) -> Signal {
        Signal {
            name,
            number: number as u8,
            hurries,
        }
    }
    [
        signal("Ctrl-C", libc::SIGINT, true),
        signal("SIGTERM", libc::SIGTERM, true),
        signal("SIGHUP", libc::SIGHUP, false),
        signal("SIGUSR1", libc::SIGUSR1, false),
        signal("SIGUSR2", libc::SIGUSR2, false),
        signal("SIGXCPU", libc::SIGXCPU, false),
    ]
};

impl Signal {
    /// 130 for Ctrl-C, 143 for SIGTERM, 128 + its number for any: as if it had not been caught.
    pub fn code(self) -> i32 {
        128 + i32::from(self.number)
    }

    /// The same, to return from `main`.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + self.number)
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Whether the program was started with this signal ignored, as `nohup` does with SIGHUP.
#[cfg(unix)]
fn ignored(signal: Signal) -> bool {
    // SAFETY: all zeros is a valid sigaction, and a null action only asks for the present one.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal.number.into(), std::ptr::null(), &mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether somebody asked to stop.
#[cfg(unix)]
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicUsize>);

#[cfg(unix)]
impl Interrupt {
    /// From now on, for the rest of the process. What is ignored stays ignored.
    pub fn watch() -> anyhow::Result<Self> {
        use anyhow::Context;
        use signal_hook::flag;

        let (came, again) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        for signal in SIGNALS.into_iter().filter(|s| !ignored(*s)) {
            let number = signal.number.into();
            // In this order: at the first signal there is nothing yet to end at once for.
            if signal.hurries {
                flag::register_conditional_shutdown(number, signal.code(), Arc::clone(&again))
                    .map(drop)
            } else {
                Ok(())
            }
            .and_then(|()| flag::register(number, Arc::clone(&again)))
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

    /// Until work begins that asks for [`signal`](Self::signal) itself: end the program as soon as there is one, after
    /// `last_words`.
    pub fn end_until_work_begins(
        &self,
        last_words: impl Fn(Signal) + Send + 'static,
    ) -> anyhow::Result<Preparation> {
        use anyhow::Context;

        let preparation = Preparation(Arc::new(AtomicBool::new(false)));
        let (this, over) = (self.clone(), Arc::clone(&preparation.0));
        let wait = move || {
            while !over.load(Ordering::Acquire) {
                let Some(signal) = this.signal() else {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    continue;
                };
                // Work that begins in this very moment ends by itself.
                if !over.swap(true, Ordering::AcqRel) {
                    last_words(signal);
                    // Not `exit`: another thread may be in the middle of HDF5, which would be torn down under it.
                    signal_hook::low_level::exit(signal.code());
                }
            }
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(wait)
            .context("cannot start threads")?;
        Ok(preparation)
    }
}

/// The time before the work that asks for signals itself.
#[cfg(unix)]
pub struct Preparation(Arc<AtomicBool>);

#[cfg(unix)]
impl Preparation {
    /// The work begins.
    pub fn over(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(unix)]
impl Drop for Preparation {
    fn drop(&mut self) {
        self.over();
    }
}

/// Elsewhere the system ends the program at once; the journal makes that safe too.
#[cfg(not(unix))]
#[derive(Clone)]
pub struct Interrupt;

#[cfg(not(unix))]
impl Interrupt {
    pub fn watch() -> anyhow::Result<Self> {
        Ok(Self)
    }

    pub fn signal(&self) -> Option<Signal> {
        None
    }

    pub fn end_until_work_begins(
        &self,
        _last_words: impl Fn(Signal) + Send + 'static,
    ) -> anyhow::Result<Preparation> {
        Ok(Preparation)
    }
}

#[cfg(not(unix))]
pub struct Preparation;

#[cfg(not(unix))]
impl Preparation {
    pub fn over(&self) {}
}

/// Say what goes on with a run that was stopped `when`, whatever --quiet says: nothing else tells that there is no result.
pub fn tell_how_to_go_on(signal: Signal, when: &str, command: &str) {
    super::tell(format!(
        "sarm: stopped by {signal} {when}; go on with: {command}"
    ));
}

/// The same command with --resume, to be given to a shell; `without` a word that does not go with that.
pub fn resuming(without: Option<&str>) -> String {
    with_resume(std::env::args_os(), without)
}

/// The same command, to be given to a shell.
pub fn again() -> String {
    quoted(std::env::args_os()).join(" ")
}

fn quoted(words: impl Iterator<Item = std::ffi::OsString>) -> Vec<String> {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@%".contains(c);
    let quote = |word: String| match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words
        .map(|word| quote(word.to_string_lossy().into_owned()))
        .collect()
}

fn with_resume(words: impl Iterator<Item = std::ffi::OsString>, without: Option<&str>) -> String {
    let mut words = quoted(words);
    words.retain(|word| Some(word.as_str()) != without);
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".into());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_on_in_a_shell() {
        let resumed = |words: &[&str]| with_resume(words.iter().map(|w| w.into()), Some("--force"));
        for (words, line) in [
            (
                &["sarm", "generate", "--out=a.h5"][..],
                "sarm generate --out=a.h5 --resume",
            ),
            (&["./sarm", "--resume", "x,y:1"], "./sarm --resume x,y:1"),
            (
                &["sarm", "train", "--force", "--out", "w"],
                "sarm train --out w --resume",
            ),
            (
                &["sarm", "my file", "", "it's", "$HOME", "é"],
                r"sarm 'my file' '' 'it'\''s' '$HOME' é --resume",
            ),
        ] {
            assert_eq!(resumed(words), line);
        }
    }
}
