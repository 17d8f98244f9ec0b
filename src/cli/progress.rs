//! How far a long run is: a bar on a terminal, a plain line now and then elsewhere, nothing with `--quiet`. All on stderr.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Global, grouped};

/// What a run does, over a number of images.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    lines: Option<Lines>,
}

/// Says where a run is, time after time, until it is dropped.
struct Lines {
    state: Arc<Mutex<State>>,
    _end: Sender<()>,
}

struct State {
    total: u64,
    what: String,
    done: u64,
    remark: String,
    /// When images were first counted, and how many there were.
    from: Option<(Instant, u64)>,
}

impl Progress {
    /// Over `total` images.
    pub fn new(global: &Global, total: u64) -> Self {
        let target = match global.quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {human_pos}/{human_len} images  {per_sec}  {eta} left  {msg}",
        );
        if let Ok(style) = style {
            let rate = |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                // A line that cannot be written to a terminal is no reason to stop.
                let _ = write!(w, "{:.0} images/s", state.per_sec());
            };
            bar.set_style(style.with_key("per_sec", rate));
        }
        let every = Duration::from_secs_f64(global.progress_every);
        let lines = (!global.quiet && bar.is_hidden()).then(|| Lines::start(total, every));
        Self {
            bar,
            quiet: global.quiet,
            lines: lines.flatten(),
        }
    }

    /// The run begins, or goes on after `done` images that are in no rate.
    pub fn begin(&self, done: u64) {
        self.bar.set_position(done);
        self.bar.reset_eta();
        self.change(|state| {
            state.done = done;
            state.from = Some((Instant::now(), done));
        });
    }

    /// Where it is: `done` images, doing `what`.
    pub fn at(&self, done: u64, what: &str, remark: String) {
        self.bar.set_prefix(what.to_string());
        self.bar.set_message(remark.clone());
        self.bar.set_position(done);
        self.change(|state| {
            state.done = done;
            state.what = what.into();
            state.remark = remark;
        });
    }

    /// Print a line that stays.
    pub fn say(&self, line: impl Into<String>) {
        match (self.quiet, self.bar.is_hidden()) {
            (true, _) => {}
            (_, true) => super::tell(line.into()),
            (_, false) => self.bar.println(line.into()),
        }
    }

    /// The run is over.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Some(lines) = &self.lines {
            change(&mut lines.state.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Lines {
    /// A line `every` so often. `None` where there is no thread to be had: then there are no lines.
    fn start(total: u64, every: Duration) -> Option<Self> {
        let state = Arc::new(Mutex::new(State {
            total,
            what: String::new(),
            done: 0,
            remark: String::new(),
            from: None,
        }));
        let (end, ended) = channel::<()>();
        let shared = Arc::clone(&state);
        let say = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(every) {
                let line = {
                    let state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    state.line(Instant::now(), resident())
                };
                super::tell(line);
            }
        };
        let builder = std::thread::Builder::new().name("progress".into());
        builder.spawn(say).ok()?;
        Some(Self { state, _end: end })
    }
}

impl State {
    /// `epoch 3/8: 12 000 of 80 000 images, 5 300 images/s, 13 s left, 210 MiB of memory, NLL 93.10`
    fn line(&self, now: Instant, memory: Option<u64>) -> String {
        let mut line = match self.what.is_empty() {
            true => String::new(),
            false => format!("{}: ", self.what),
        };
        line += &format!("{} of {} images", grouped(self.done), grouped(self.total));
        if let Some((began, before)) = self.from
            && self.done > before
        {
            let rate = (self.done - before) as f64 / now.duration_since(began).as_secs_f64();
            let left = self.total.saturating_sub(self.done) as f64 / rate;
            line += &format!(
                ", {} images/s, {} left",
                grouped(rate.round() as u64),
                duration(Duration::from_secs_f64(left))
            );
        }
        if let Some(bytes) = memory {
            line += &format!(", {} MiB of memory", grouped(bytes >> 20));
        }
        if !self.remark.is_empty() {
            line += &format!(", {}", self.remark);
        }
        line
    }
}

/// Bytes of memory that this process holds, where the system says it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// `35 s`, `12 min`, `3 h 20 min`, `4 d 7 h`: two figures say enough of a guess.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (minutes, hours) = (time.as_secs_f64() / 60.0, seconds / 3600);
    match seconds {
        0 => format!("{:.1} s", time.as_secs_f64()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{minutes:.0} min"),
        7200..172_800 => format!("{hours} h {} min", seconds % 3600 / 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_count_rate_time_left_and_memory() {
        let began = Instant::now();
        let mut state = State {
            total: 80_000,
            what: "epoch 3/8".into(),
            done: 12_000,
            remark: "NLL 93.10".into(),
            from: Some((began, 2000)),
        };
        let now = began + Duration::from_secs(10);
        assert_eq!(
            state.line(now, Some(300 << 20)),
            "epoch 3/8: 12 000 of 80 000 images, 1 000 images/s, 68 s left, 300 MiB of memory, NLL 93.10"
        );
        state.from = None;
        state.remark.clear();
        assert_eq!(state.line(now, None), "epoch 3/8: 12 000 of 80 000 images");
        if cfg!(target_os = "linux") {
            assert!(resident().unwrap() > 1 << 20);
        }
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        for (seconds, text) in [
            (0.26, "0.3 s"),
            (1.4, "1 s"),
            (119.0, "119 s"),
            (150.0, "2 min"),
            (7100.0, "118 min"),
            (12_000.0, "3 h 20 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
    }
}
