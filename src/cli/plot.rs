//! `sarm plot`

mod terminal;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::input::{FileArguments, Select};
use super::{Global, grouped, output, print, refuse_input};
use crate::checkpoint::tensors::write_atomically;
use crate::data::{self, Overview, ReadOptions, SparseImages, Unit};
use crate::evaluate::report::{Figure, overview};
use crate::run::conditions::{Given, Source};
use crate::run::generate::{Job, Request};
use crate::run::pretrained;

/// Images that a page shows one by one.
const SHOWN: usize = 24;

/// Show the images of a file or a model, as a picture or in the terminal.
///
/// Shown are the average image, the spectrum of the pixels, the sums and the first images. Without --out the picture goes to
/// the terminal. Nothing is compared: `evaluate` does that.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  sarm plot jets.h5\n  sarm plot jets.h5 --select signal=1 --out jets.png\n  sarm plot jets-w --out jets-w.svg"
)]
pub struct Plot {
    /// Data file, checkpoint, or the name of a model that ships with sarm: jets-w, jets-qcd, muons-iso, muons-bb.
    #[arg(value_name = "FILE|NAME")]
    file: PathBuf,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    input: FileArguments,
    /// Picture to write: .png or .svg [default: none, the picture goes to the terminal].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Use the first N images of a file, or draw N with a model.
    #[arg(long, value_name = "N", default_value_t = 10_000, allow_negative_numbers = true, value_parser = super::whole::<1, usize>)]
    count: usize,
    /// Random seed of images that a model draws.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = super::whole::<0, u64>)]
    seed: u64,
    /// Conditions of images that a model draws; it draws the ones left out.
    #[arg(long, value_name = "NAME=VALUE,..", value_delimiter = ',')]
    given: Vec<Given>,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
}

/// How a picture is written, by its name.
pub(super) enum Picture {
    Png,
    Svg,
}

impl Picture {
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            _ => bail!(
                "cannot tell what kind of picture '{}' is to be (by its name); end it in .png or .svg",
                path.display()
            ),
        }
    }

    /// `figure` as this kind of picture; `out` is what errors call it.
    pub fn bytes(&self, figure: &Figure, out: &Path) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Svg => Ok(figure.svg().into_bytes()),
            Self::Png => match figure.png(2.0) {
                Ok(bytes) => Ok(bytes),
                Err(why) => bail!(
                    "cannot draw '{}' ({why}); end its name in .svg",
                    out.display()
                ),
            },
        }
    }
}

impl Plot {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        let picture = match &self.out {
            Some(out) => {
                refuse_input(out, [&self.file])?;
                output::check(out, self.force)?;
                Some((out, Picture::of(out)?))
            }
            None => None,
        };
        let (images, unit) = match self.is_model() {
            true => self.draw(global)?,
            false => self.read(global)?,
        };
        let sample = Overview::of(&images, SHOWN);
        let Some((out, picture)) = picture else {
            let terminal = std::io::stdout().is_terminal();
            let plain = !terminal || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            return print(&terminal::overview(
                &sample,
                &unit,
                terminal::columns(),
                !plain,
            ));
        };
        let title = format!(
            "{}: {} images",
            self.file.display(),
            grouped(sample.images as u64)
        );
        let figure = overview(&sample, &title, unit.as_str());
        let bytes = picture.bytes(&figure, out)?;
        output::make_parents(out)?;
        write_atomically(out, &bytes)?;
        global.say(format!("picture: {}", out.display()));
        Ok(())
    }

    /// Whether the file is a checkpoint: a shipped model's name, or by its first bytes.
    fn is_model(&self) -> bool {
        pretrained::named(&self.file).is_some()
            || matches!(
                super::info::kind(&self.file),
                Ok(super::info::Kind::Checkpoint)
            )
    }

    fn draw(&self, global: &Global) -> anyhow::Result<(SparseImages, Unit)> {
        if !self.select.select.is_empty() {
            bail!(
                "--select chooses rows of a data file ('{}' is a model); use --given",
                self.file.display()
            );
        }
        let checkpoint = pretrained::open(&self.file)?;
        let request = Request {
            conditions: Source::Given(pretrained::given(&self.file, &self.given)?),
            device: global.device.clone(),
            threads: global.threads(),
            ..Request::new(self.count as u64, self.seed)
        };
        global.start_threads()?;
        let drawn = Job::new(&checkpoint, &request)?.draw()?;
        Ok((drawn.images, checkpoint.record.unit))
    }

    fn read(&self, global: &Global) -> anyhow::Result<(SparseImages, Unit)> {
        if let Some(given) = self.given.first() {
            bail!(
                "--given {}=.. is for models ('{}' is none); use --select",
                given.name,
                self.file.display()
            );
        }
        global.start_threads()?;
        let options = ReadOptions {
            selections: self.select.select.clone(),
            limit: Some(self.count),
            file: self.input.options(),
            ..ReadOptions::default()
        };
        let found = data::read(&self.file, &options)?;
        for remark in &found.about.remarks {
            global.say(remark);
        }
        for warning in &found.about.warnings {
            log::warn!("{warning}");
        }
        Ok((found.images, found.about.unit))
    }
}
