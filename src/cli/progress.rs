//! Progress bars: on stderr, only on a terminal, never with `--quiet`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Global;

/// A bar over `total` images.
pub fn bar(global: &Global, total: u64) -> ProgressBar {
    let target = if global.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
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
    bar
}
