//! The training images of `sarm evaluate`: whether generated ones are theirs.

use std::path::PathBuf;

use crate::cli::input::{Duplicates, Select};
use crate::cli::{Global, joined};
use crate::data::{self, Dataset, FileOptions, ReadOptions, Selection};
use crate::evaluate::report::TrainingFiles;
use crate::evaluate::{EvaluateError, Memorising, memorising};

/// Which images the model was trained on.
#[derive(clap::Args)]
pub(super) struct Training {
    /// File of the images that the model was trained on: are generated ones nearer to these than to the truth?
    ///
    /// The truth must be other images of the same kind. Patterns, data sets and options of files are those of --truth. For each
    /// generated image the nearest of equally many training and true images is found, of at most 20 000 each.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    training: Vec<PathBuf>,
    /// Rows to use of each --training file [default: those of --select].
    #[arg(long, value_name = "NAME=VALUE|NAME=LOW..HIGH", requires = "training")]
    select_training: Vec<Selection>,
}

/// Training images that were read.
pub(super) struct Read {
    data: Dataset,
    pub(super) files: TrainingFiles,
}

impl Training {
    /// The training images, where a file is named.
    ///
    /// # Errors
    /// Files that cannot be read, images of another size than the true ones, files that hold images of the truth unless that is
    /// allowed.
    pub(super) fn read(
        &self,
        truth: &mut Dataset,
        select: &Select,
        file: FileOptions,
        duplicates: &Duplicates,
        global: &Global,
    ) -> anyhow::Result<Option<Read>> {
        if self.training.is_empty() {
            return Ok(None);
        }
        let paths = data::matching(&self.training)?;
        let selections = match self.select_training.as_slice() {
            [] => select.select.clone(),
            own => own.to_vec(),
        };
        let selection = selections.iter().map(ToString::to_string).collect();
        let mut training = data::read_all(
            &paths,
            &ReadOptions {
                selections,
                size: Some((truth.images.height(), truth.images.width())),
                file,
                ..ReadOptions::default()
            },
        )?;
        truth.agree(&mut training)?;
        duplicates.inspect(&training)?.tell(global);
        duplicates.apart(&training, truth)?;
        Ok(Some(Read {
            data: training,
            files: TrainingFiles {
                files: joined(&paths),
                selection,
            },
        }))
    }
}

impl Read {
    pub(super) fn compare(
        &self,
        truth: &Dataset,
        generated: &Dataset,
        seed: u64,
    ) -> Result<Memorising, EvaluateError> {
        let began = std::time::Instant::now();
        let found = memorising(&self.data, truth, generated, seed);
        let seconds = began.elapsed().as_secs_f64();
        log::info!("looked for nearest training images in {seconds:.3} s");
        found
    }
}

/// A line for each class.
pub(super) fn summary(found: &Memorising) -> impl Iterator<Item = (&str, String)> {
    found.classes.iter().map(|(name, nearest)| {
        let text = match nearest {
            Some(nearest) => format!(
                "{}: {:.4} +- {:.4} of the generated images are nearest to a training image, and not to one of as many true ones",
                nearest.memory().words(),
                nearest.share,
                nearest.error
            ),
            None => {
                let why = found.reasons.get(name);
                why.map_or("not available".to_string(), |w| format!("not available: {w}"))
            }
        };
        (name.as_str(), format!("memorising       {text}"))
    })
}
