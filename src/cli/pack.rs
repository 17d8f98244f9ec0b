//! `sarm pack`, `sarm unpack`

use std::path::{Path, PathBuf};

use super::{Global, grouped, output, refuse_input};
use crate::run::checkpoint::{save, save_packed};
use crate::run::pretrained;

/// Make a model small enough to ship: weights in bfloat16, without the masked ones.
///
/// Every verb reads a packed model like any other. Because its weights are rounded it differs slightly from the original:
/// evaluate the packed one. (A card rounds weights the same way in any case.)
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm pack --model runs/w/model.safetensors --out jets-w.safetensors"
)]
pub struct Pack {
    /// Checkpoint file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Output file. Directories that lead to it are made.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite --out.
    #[arg(long)]
    force: bool,
}

/// Make a packed model a full checkpoint: float32, masked weights as zeros.
///
/// For programs that read plain checkpoints. What packing rounded off does not come back: both give the same images.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  sarm unpack --model jets-w --out jets.safetensors")]
pub struct Unpack {
    /// Checkpoint file, or the name of a model that ships with sarm: jets-w, jets-qcd, muons-iso, muons-bb.
    #[arg(long, value_name = "FILE|NAME")]
    model: PathBuf,
    /// Output file. Directories that lead to it are made.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite --out.
    #[arg(long)]
    force: bool,
}

impl Pack {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        refuse_input(&self.out, [&self.model])?;
        output::check(&self.out, self.force)?;
        let checkpoint = pretrained::open(&self.model)?;
        // Who gets the model learns what it was trained on, not where that lies on this machine.
        let mut record = checkpoint.record;
        let of_refining = record.refined.as_mut().map(|refined| &mut refined.data);
        for data in [&mut record.data].into_iter().chain(of_refining) {
            if let Some(name) = Path::new(data).file_name() {
                *data = name.to_string_lossy().into_owned();
            }
        }
        output::make_parents(&self.out)?;
        let (model, prior) = (checkpoint.model.as_ref(), checkpoint.prior.as_ref());
        save_packed(&self.out, model, prior, &record)?;
        tell_size(global, &self.out);
        Ok(())
    }
}

impl Unpack {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        refuse_input(&self.out, [&self.model])?;
        output::check(&self.out, self.force)?;
        let checkpoint = pretrained::open(&self.model)?;
        output::make_parents(&self.out)?;
        let (model, prior) = (checkpoint.model.as_ref(), checkpoint.prior.as_ref());
        save(&self.out, model, prior, &checkpoint.record)?;
        tell_size(global, &self.out);
        Ok(())
    }
}

fn tell_size(global: &Global, path: &Path) {
    if let Ok(file) = std::fs::metadata(path) {
        global.say(format!("{}: {} bytes", path.display(), grouped(file.len())));
    }
}
