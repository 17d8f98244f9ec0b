//! `sarm info`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::input::{Settings, WeightedFileArguments};
use super::{grouped, print, print_json};
use crate::checkpoint::{Refined, ToldApart};
use crate::data;
use crate::device::Cpu;
use crate::device::cuda::driver;
use crate::family::TensorInfo;
use crate::run::checkpoint::Checkpoint;
use crate::run::pretrained;

/// Show what is in a data file, a checkpoint or a configuration, or which devices this machine has.
#[derive(clap::Args)]
pub struct Info {
    /// HDF5, numpy, safetensors or TOML file, or a model that ships with sarm: jets-w, jets-qcd, muons-iso, muons-bb.
    #[arg(required_unless_present = "devices")]
    file: Option<PathBuf>,
    #[command(flatten)]
    images: WeightedFileArguments,
    /// List the devices that --device accepts on this machine.
    #[arg(long, conflicts_with = "file")]
    devices: bool,
    #[command(flatten)]
    settings: Settings,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) enum Kind {
    Data,
    Checkpoint,
    Config,
}

/// By the first bytes; a name helps only where they cannot tell.
pub(super) fn kind(path: &Path) -> anyhow::Result<Kind> {
    use std::io::Read;
    // A data set may be named with the file.
    let path = &data::split(path).0;
    let mut start = [0; 9];
    let mut file =
        std::fs::File::open(path).with_context(|| format!("cannot open '{}'", path.display()))?;
    let read = file
        .read(&mut start)
        .with_context(|| format!("cannot read '{}'", path.display()))?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    Ok(match (&start[..read], extension) {
        (b, _) if b.starts_with(b"\x89HDF\r\n\x1a\n") => Kind::Data,
        (b, _) if b.starts_with(b"\x93NUMPY") => Kind::Data,
        (b, "npz") if b.starts_with(b"PK") => Kind::Data,
        (b, _) if b.get(8) == Some(&b'{') => Kind::Checkpoint,
        (_, "safetensors") => Kind::Checkpoint,
        (_, "h5" | "hdf5" | "hdf" | "npy" | "npz") => Kind::Data,
        _ => Kind::Config,
    })
}

/// Whether `text` is TOML that says something.
fn is_table(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|t| !t.is_empty())
}

impl Info {
    pub fn run(self) -> anyhow::Result<()> {
        let Some(file) = self.file else {
            return devices(self.json);
        };
        let known = pretrained::named(&file).map(|_| Kind::Checkpoint);
        let kind = known.map_or_else(|| kind(&file), Ok)?;
        if !self.settings.is_empty() && !matches!(kind, Kind::Config) {
            bail!(
                "'{}' is no configuration (--set changes one); leave --set out",
                file.display()
            );
        }
        match kind {
            Kind::Data => {
                let summary = data::describe_with(&file, &self.images.options())?;
                let inspected = inspect(&file, &summary, self.images.options())?;
                if self.json {
                    print_json(&DataFile {
                        summary,
                        inspected: inspected.as_ref(),
                    })
                } else {
                    print(&data_text(&summary, inspected.as_ref()))
                }
            }
            Kind::Checkpoint => {
                let checkpoint = pretrained::open(&file)?;
                if self.json {
                    print_json(&as_json(&checkpoint)?)
                } else {
                    print(&as_text(&file, &checkpoint))
                }
            }
            Kind::Config => {
                let bytes = std::fs::read(&file)
                    .with_context(|| format!("cannot read '{}'", file.display()))?;
                let named = file.extension().is_some_and(|e| e == "toml");
                let text = match String::from_utf8(bytes) {
                    Ok(text) if named || is_table(&text) => text,
                    Err(e) if named => {
                        return Err(e).with_context(|| format!("in '{}'", file.display()));
                    }
                    _ => bail!("'{}' is not HDF5, safetensors or TOML", file.display()),
                };
                let config = self.settings.of(&text, &file)?;
                if self.json {
                    print(&(config.to_json() + "\n"))
                } else {
                    print(&format!(
                        "# {}: valid; every setting, defaults filled in\n{}",
                        file.display(),
                        config.to_toml()
                    ))
                }
            }
        }
    }
}

/// A data file: what it holds, and what its images are like.
#[derive(serde::Serialize)]
struct DataFile<'a> {
    #[serde(flatten)]
    summary: data::FileSummary,
    #[serde(flatten)]
    inspected: Option<&'a Inspected>,
}

/// What its images are like.
#[derive(serde::Serialize)]
struct Inspected {
    unit: data::Unit,
    /// Whether GeV were assumed, since the file names no unit.
    unit_assumed: bool,
    inspection: data::Inspection,
    /// What is read in another way than it stands in the file.
    remarks: Vec<String>,
    warnings: Vec<String>,
}

/// Look at all images of a file that has some.
fn inspect(
    file: &Path,
    summary: &data::FileSummary,
    options: data::FileOptions,
) -> anyhow::Result<Option<Inspected>> {
    if summary.problem.is_some() || summary.images.is_none_or(|n| n == 0) {
        return Ok(None);
    }
    // Showers are looked at as rows, whatever they are cut into.
    let options = data::ReadOptions {
        size: summary.height.zip(summary.width),
        file: options,
        ..data::ReadOptions::default()
    };
    let dataset = data::read(file, &options)?;
    let inspection = dataset.inspect();
    let mut warnings = dataset.about.warnings.clone();
    warnings.extend(dataset.about.unused_weights.clone());
    warnings.extend(dataset.remarks(&inspection));
    Ok(Some(Inspected {
        unit: dataset.about.unit,
        unit_assumed: dataset.about.unit_assumed,
        inspection,
        remarks: dataset.about.remarks,
        warnings,
    }))
}

/// The devices of this machine.
#[derive(serde::Serialize)]
struct Devices {
    cpu: String,
    cuda: Vec<Card>,
    /// Why there is no card.
    without_cuda: Option<String>,
}

#[derive(serde::Serialize)]
struct Card {
    name: String,
    /// What `nvidia-smi --id` takes.
    uuid: Option<String>,
    compute_capability: String,
    /// New enough for this program.
    usable: bool,
    multiprocessors: u32,
    memory_bytes: u64,
}

fn devices(json: bool) -> anyhow::Result<()> {
    let cpu = Cpu::new(0)?.describe();
    let (cards, without_cuda) = match driver::cards() {
        Ok(cards) => (cards, None),
        Err(problem) => (Vec::new(), Some(problem.to_string())),
    };
    let cuda: Vec<Card> = cards
        .into_iter()
        .map(|p| Card {
            name: p.name,
            uuid: p.uuid,
            compute_capability: format!("{}.{}", p.capability.0, p.capability.1),
            usable: p.capability >= driver::OLDEST_CARD,
            multiprocessors: p.multiprocessors,
            memory_bytes: p.memory,
        })
        .collect();
    if json {
        return print_json(&Devices {
            cpu,
            cuda,
            without_cuda,
        });
    }
    let mut text = format!("{cpu}\n");
    for (number, card) in cuda.iter().enumerate() {
        text += &format!(
            "cuda:{number}, {}, compute capability {}{}, {} multiprocessors, {} MiB\n",
            card.name,
            card.compute_capability,
            if card.usable { "" } else { " (too old)" },
            card.multiprocessors,
            grouped(card.memory_bytes >> 20)
        );
    }
    if let Some(problem) = without_cuda {
        text += &format!("no cuda: {problem}\n");
    }
    print(&text)
}

fn data_text(s: &data::FileSummary, inspected: Option<&Inspected>) -> String {
    let mut text = format!("{}: {} bytes\n", s.path.display(), grouped(s.bytes));
    if let (Some(layout), Some(n), Some(h), Some(w)) = (s.layout, s.images, s.height, s.width) {
        text += &format!(
            "images      {} of {h} x {w}, {layout} layout",
            grouped(n as u64)
        );
        text += &match s.found_in.as_deref() {
            None | Some("image" | "value") => "\n".into(),
            Some(name) => format!(", data set '{name}'\n"),
        };
    }
    if let Some(problem) = &s.problem {
        text += &format!("no images   {problem}\n");
    }
    if let Some(zeros) = s.zero_fraction {
        let over = grouped(s.sampled as u64);
        text += &format!(
            "zeros       {:.2} % of the pixels of {over} images\n",
            100.0 * zeros
        );
    }
    if let Some(i) = inspected {
        if let Some(p) = &i.inspection.pixels {
            text += &format!(
                "nonzero     {} pixels: smallest {:.4e}, median {}, largest {:.5} {}\n",
                grouped(p.count),
                p.smallest,
                match p.median < 0.01 {
                    true => format!("{:.3e}", p.median),
                    false => format!("{:.3}", p.median),
                },
                p.largest,
                i.unit
            );
        }
        text += &format!(
            "sum         {:.5} {} an image, on average\n",
            i.inspection.mean_sum, i.unit
        );
        if i.unit_assumed {
            text += "unit        GeV is assumed: the file names none; give --scale if the sums are not right\n";
        }
        for remark in &i.remarks {
            text += &format!("read as     {remark}\n");
        }
        for warning in &i.warnings {
            text += &format!("WARNING     {warning}\n");
        }
    }
    for (value, count) in s.classes.iter().flatten() {
        text += &format!("signal = {value:<2} {} images\n", grouped(*count));
    }
    text += "\ndata sets\n";
    for d in &s.datasets {
        text += &format!(
            "  {:<16} {:<8} {:?}  {}  {} bytes\n",
            d.name,
            d.kind,
            d.shape,
            if d.filters.is_empty() {
                "plain".into()
            } else {
                d.filters.join(", ")
            },
            grouped(d.stored)
        );
        if let Some(from) = &d.from {
            text += &format!("  {:<16} {from}\n", "");
        }
    }
    for (name, why) in &s.unreadable {
        text += &format!("  {name:<16} {why}\n");
    }
    if !s.attributes.is_empty() {
        text += "\nattributes\n";
    }
    for (name, value) in &s.attributes {
        text += &format!("  {name:<16} {value}\n");
    }
    text
}

fn as_json(c: &Checkpoint) -> anyhow::Result<serde_json::Value> {
    let tensors = c.model.tensors();
    let config: serde_json::Value = serde_json::from_str(&c.model.config_json())?;
    Ok(serde_json::json!({
        "kind": "checkpoint",
        "sha256": c.sha256,
        "family": c.model.family(),
        "config": config,
        "record": c.record,
        "parameters": tensors.iter().map(TensorInfo::size).sum::<usize>(),
        "unmasked_parameters": tensors.iter().map(|t| t.unmasked).sum::<usize>(),
        "prior": c.prior.as_ref().map(|p| serde_json::json!({
            "labels": p.labels,
            "densities": p.densities.iter().map(|d| serde_json::json!({"range": d.range, "nll": d.nll})).collect::<Vec<_>>(),
        })),
        "tensors": tensors,
    }))
}

/// How it was refined: behind the epochs, and lines of its own.
fn refined_as_text(refined: &Refined) -> String {
    let ([done, of], [images, held]) = (refined.rounds, refined.images);
    let mut text = format!(", then refined in {done} of {of} rounds");
    // Early files do not say it.
    if images > 0 {
        text += &format!(
            "\nrefined on  {} {:?}: {} images, {} held out, whose likelihood `validation` is",
            refined.data,
            refined.select,
            grouped(images as u64),
            grouped(held as u64),
        );
    }
    text + &rounds_as_text(refined)
}

/// What each round of refining found, a line each.
fn rounds_as_text(refined: &Refined) -> String {
    let auc = |found: &ToldApart| match (found.auc, found.auc_error) {
        (Some(auc), Some(error)) => format!("{auc:.4} +- {error:.4}"),
        _ => "nothing found".into(),
    };
    let nll = |nll: Option<f64>| nll.map_or(String::new(), |nll| format!("{nll:.4}"));
    let mut lines = Vec::new();
    if !refined.history.is_empty() || refined.after.is_some() {
        lines.push(format!("{:<5}  {:<16}  validation", "round", "trees' AUC"));
    }
    // A round's trees judge what the one before it made. Early rounds of a file may not have been kept.
    let first = refined.rounds[0].saturating_sub(refined.history.len());
    let mut validation = refined.validation_nll_before.filter(|_| first == 0);
    for (done, round) in (first..).zip(&refined.history) {
        let (before, of) = (auc(&round.before), nll(validation));
        lines.push(format!("{done:>5}  {before:<16}  {of}"));
        validation = round.validation_nll;
    }
    if !lines.is_empty() {
        let after = (refined.after.as_ref()).map_or("not judged yet".into(), auc);
        let (done, of) = (refined.rounds[0], nll(validation));
        lines.push(format!("{done:>5}  {after:<16}  {of}"));
    }
    let indented = lines.iter().map(|line| format!("\n            {line}"));
    indented.collect()
}

/// How the conditions are distributed, a line each.
fn prior_as_text(checkpoint: &Checkpoint) -> String {
    let conditions = checkpoint.model.conditions();
    let Some(prior) = &checkpoint.prior else {
        return match conditions.names.is_empty() {
            true => String::new(),
            false => "conditions  distribution not known: give them to generate\n\n".into(),
        };
    };
    let mut lines = Vec::new();
    let all: u64 = prior.labels.images.iter().sum();
    for (i, name) in prior.labels.names.iter().enumerate() {
        let values = prior.labels.values_of(i);
        let each = values.iter().map(|(v, n)| match prior.labels.in_parts() {
            true => format!("{v} ({:.3e} of all weight)", *n as f64 / all as f64),
            false => format!("{v} ({} images)", grouped(*n)),
        });
        lines.push(format!("{name}: {}", each.collect::<Vec<_>>().join(", ")));
    }
    for d in &prior.densities {
        let r = &d.range;
        let [low, high] = r.ends();
        let what = match conditions.total.as_ref() == Some(&r.name) {
            true => " (total: the sum of an image's pixels)",
            false => "",
        };
        lines.push(format!(
            "{}: {low} to {high}, NLL {:.4} nats{what}",
            r.name, d.nll
        ));
    }
    format!("conditions  {}\n\n", lines.join("\n            "))
}

fn as_text(path: &Path, c: &Checkpoint) -> String {
    let r = &c.record;
    let size = c.model.image();
    let tensors = c.model.tensors();
    let all: usize = tensors.iter().map(TensorInfo::size).sum();
    let unmasked: usize = tensors.iter().map(|t| t.unmasked).sum();
    let objective = c.model.objective();
    let nats = |v: Option<f64>| {
        v.map_or("not measured".into(), |v| {
            format!("{v:.4} {}", objective.unit)
        })
    };
    let training = format!("train {}", objective.name);
    let mut text = format!(
        "{}: {} for images of {} x {}\n\
         sha256      {}\n\
         parameters  {}, {} of them not masked\n\
         trained on  {} {:?}: {} images, {} held out\n\
         pixels in   {}{}\n\
         epochs      {}{}\n\
         {training:<11} {}\n\
         validation  {}\n\
         written by  sarm {}\n\n",
        path.display(),
        c.model.title(),
        size.height,
        size.width,
        c.sha256,
        grouped(all as u64),
        grouped(unmasked as u64),
        r.data,
        r.select,
        grouped(r.images[0] as u64),
        grouped(r.images[1] as u64),
        r.unit,
        [
            r.scale.map(|s| format!(", multiplied by {s}")),
            r.threshold.map(|t| format!(", below {t} set to zero")),
        ]
        .into_iter()
        .flatten()
        .collect::<String>(),
        r.epochs,
        (r.refined.as_ref()).map_or(String::new(), refined_as_text),
        nats(r.train_nll),
        nats(r.validation_nll),
        r.version,
    );
    for (name, names) in &r.names {
        let each = names.iter().enumerate();
        let each: Vec<_> = each.map(|(i, n)| format!("{i} is {n}")).collect();
        text += &format!("{name:<11} {}\n", each.join(", "));
    }
    text += &prior_as_text(c);
    text += &c.model.config_toml();
    text += "\n";
    for t in tensors {
        text += &format!("{:<28} {:?}\n", t.name, t.shape);
    }
    text
}
