//! The command line: parses, calls the library, prints. One file per verb.

mod bench;
mod compare;
mod encode;
mod evaluate;
mod generate;
mod info;
mod input;
mod interrupt;
mod output;
mod pack;
mod plot;
mod progress;
mod refine;
mod score;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::data::grouped;
use crate::device::{self, DeviceChoice, Opened, Task};
use crate::numeric::Isa;

/// Learns sparse detector images from Monte Carlo and generates new ones, fast, with an exact likelihood.
///
/// Messages go to stderr, data to stdout. Exit codes: 0 success, 1 failure, 2 wrong usage, 128 + its number stopped by a
/// signal (Ctrl-C: 130, SIGTERM: 143).
#[derive(Parser)]
#[command(name = "sarm", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    global: Global,
}

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Options of every verb")]
struct Global {
    /// Number of threads [default: one per core]. It never changes a result.
    #[arg(long, global = true, display_order = 1000, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where to compute: auto, cpu, cuda or cuda:N; for `generate` also cuda:0,1,.. or cuda:all.
    ///
    /// With auto, training and generation run on the first card, if there is one, and scoring runs on the CPU. Cards round to
    /// bfloat16: a log-likelihood is then accurate to about 1e-3 of its value, and a card's images differ from the CPU's.
    #[arg(long, global = true, display_order = 1001, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print errors only: no progress, no summary.
    #[arg(long, short, global = true, display_order = 1002)]
    quiet: bool,
    /// Seconds between lines of progress where stderr is no terminal. For tests of them.
    #[arg(long, global = true, hide = true, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    progress_every: f64,
    /// Print more; give it twice for everything.
    #[arg(short, long, global = true, display_order = 1003, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a model on images.
    Train(train::Train),
    /// Bring a trained model closer to what classifiers see.
    Refine(refine::Refine),
    /// Generate new images with a model.
    Generate(generate::Generate),
    /// Compare generated images with true ones: metrics.json and a page of plots.
    Evaluate(evaluate::Evaluate),
    /// Compare runs and reports side by side.
    Compare(compare::Compare),
    /// Compute the exact log-likelihood of images in nats, of a sparse VAE lower bounds.
    Score(score::Score),
    /// Find the codes of images with a VAE.
    Encode(encode::Encode),
    /// Show the images of a file or a model, as a picture or in the terminal.
    Plot(plot::Plot),
    /// Make a model small enough to ship.
    Pack(pack::Pack),
    /// Make a packed model a full checkpoint.
    Unpack(pack::Unpack),
    /// Show what is in a data file, a checkpoint or a configuration.
    Info(info::Info),
    /// Measure images per second and compare with the paper's tables.
    Bench(bench::Bench),
    /// Print a completion script for a shell.
    Completions {
        /// Name of the shell.
        shell: clap_complete::Shell,
    },
}

/// Run the program: parse, dispatch, report.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    report_full_disks();
    keep_freed_memory();
    let level = match (arguments.global.quiet, arguments.global.verbose) {
        (true, _) => log::LevelFilter::Error,
        (_, 0) => log::LevelFilter::Warn,
        (_, 1) => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format_target(false)
        .init();
    // Before any work: what computes asks no more.
    if let Err(error) = Isa::chosen() {
        return ended(Err(error.into()));
    }
    let global = &arguments.global;
    let done = match arguments.verb {
        Verb::Train(verb) => return ended(verb.run(global)),
        Verb::Refine(verb) => return ended(verb.run(global)),
        Verb::Generate(verb) => return ended(verb.run(global)),
        Verb::Evaluate(verb) => verb.run(global),
        Verb::Compare(verb) => verb.run(global),
        Verb::Score(verb) => verb.run(global),
        Verb::Encode(verb) => verb.run(global),
        Verb::Plot(verb) => verb.run(global),
        Verb::Pack(verb) => verb.run(global),
        Verb::Unpack(verb) => verb.run(global),
        Verb::Info(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(global),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sarm", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    ended(done.map(|()| ExitCode::SUCCESS))
}

fn ended(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tell(format!("sarm: {}", in_full(&error)));
            ExitCode::from(1)
        }
    }
}

/// An error and its causes, each said once: many messages quote their cause already.
fn in_full(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.is_empty() {
            true => cause,
            false if said.contains(&cause) => said,
            false => format!("{said}: {cause}"),
        }
    })
}

/// Parse a whole number, `LEAST` or more.
fn whole<const LEAST: u64, T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|n| *n >= LEAST);
    number
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("it must be a whole number, at least {LEAST}, below 2^64"))
}

/// Parse a size in bytes above 0: `4GiB`, `512MiB`, `1073741824`.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("", 0)];
    let unit = units.iter().find_map(|(unit, shift)| {
        let number = text.strip_suffix(unit)?;
        Some((number, shift))
    });
    unit.filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|(number, shift)| number.parse::<u64>().ok()?.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "give a whole number of bytes, KiB, MiB, GiB or TiB: 4GiB, 512MiB".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|s| (0.001..1e6).contains(s));
    seconds.ok_or_else(|| "give seconds, 0.001 or more".into())
}

/// A file that may not grow is a failed write, told like any other, not the death of the program.
fn report_full_disks() {
    // SAFETY: no other thread runs yet, and ignoring a signal installs no handler.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Have freed memory stay with the process, up to 64 MiB at the end of each thread's heap. glibc gives back twice the largest piece that it saw
/// freed: less than what a step of training has between its layers, whose pages would be cleared anew each time. Whoever has set that in the environment has his way.
fn keep_freed_memory() {
    let chosen = [
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_MMAP_THRESHOLD_",
        "GLIBC_TUNABLES",
    ];
    if chosen.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    // SAFETY: settings of the allocator, whose values are in its range; no other thread runs yet.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
        // Setting either threshold stops glibc from adapting both: this is as far as it would go.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
    }
}

/// Print a line to stderr. Nobody listening is no reason to stop.
fn tell(line: impl std::fmt::Display) {
    use std::io::Write;
    // The line and its end in one write, so that lines of several processes do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

impl Global {
    fn threads(&self) -> usize {
        self.threads.map_or(0, usize::from)
    }

    /// The threads of library code outside engines.
    fn start_threads(&self) -> anyhow::Result<()> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads())
            .build_global()
            .context("cannot start threads")
    }

    /// The devices that the options ask for, for `task`. Library code outside them uses as many threads.
    ///
    /// The remark is to be said when work begins: what is refused before is refused in one line.
    fn open(&self, task: Task) -> anyhow::Result<Opened> {
        self.start_threads()?;
        let opened = device::open(&self.device, self.threads(), task)?;
        log::info!("{}", opened.devices.describe());
        Ok(opened)
    }

    /// Print a line for a person.
    fn say(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            tell(line);
        }
    }
}

/// The command line as typed, for provenance.
fn command_line() -> String {
    let words: Vec<_> = std::env::args_os().collect();
    let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
    words.join(" ")
}

/// Names of files in a line.
fn joined(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

/// Data for stdout. A reader that stops reading is not a failure.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Refuse an output that is one of the inputs, whatever --force says.
fn refuse_input<'a>(
    out: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    // A data set may be named with the file.
    let file = |input: &PathBuf| crate::data::split(input).0;
    if inputs.into_iter().any(|input| same_file(out, &file(input))) {
        anyhow::bail!(
            "'{}' is an input of this command (it would be overwritten); choose another --out",
            out.display()
        );
    }
    Ok(())
}

/// Whether two names lead to one file that is there.
fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    let identity = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().map(|m| (m.dev(), m.ino()))
    };
    #[cfg(not(unix))]
    let identity = |path: &Path| path.canonicalize();
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `-h` says in a line what an option does; `--help` has the rest. What all verbs share stands behind what is a verb's own.
    #[test]
    fn short_help_is_short() {
        const LONGEST: usize = 120;
        let mut command = Arguments::command();
        command.build();
        let mut long = Vec::new();
        for verb in command.get_subcommands().filter(|v| v.get_name() != "help") {
            for option in verb.get_arguments() {
                let help = option
                    .get_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if help.is_empty() || help.len() > LONGEST {
                    long.push(format!("{} {}: {help}", verb.get_name(), option.get_id()));
                }
            }
            let help = verb.clone().render_help().to_string();
            let help = help.split("\n\nExample").next().unwrap_or_default();
            let shared = help.find("Options of every verb:");
            let (own, shared) = help.split_at(shared.unwrap_or_else(|| panic!("{help}")));
            let defined = |text: &str, option: &str| {
                let starts = |line: &&str| {
                    let line = line.trim_start();
                    line.starts_with(option) || line.contains(&format!(", {option}"))
                };
                text.lines().filter(starts).count()
            };
            for option in ["--threads <N>", "--device <", "--quiet  ", "--verbose.."] {
                let found = (defined(own, option), defined(shared, option));
                assert_eq!(found, (0, 1), "{option}: {help}");
            }
        }
        assert!(
            long.is_empty(),
            "too long for -h (the first paragraph):\n{}",
            long.join("\n")
        );
    }

    #[test]
    fn sizes_are_parsed() {
        for (text, size) in [
            ("1", 1),
            ("1073741824", 1 << 30),
            ("3KiB", 3 << 10),
            ("512MiB", 512 << 20),
            ("4GiB", 4 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "0",
            "0GiB",
            "GiB",
            "-1",
            "+1",
            "1.5GiB",
            "4GB",
            "4G",
            "4 GiB",
            "4gib",
            "1e9",
            "16777216TiB",
            "18446744073709551616",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
