//! Calorimeter showers in `index.html`: tables and figures.

use std::fmt::Write;

use super::plot::{Figure, HistogramPlot, histogram_page};
use super::text::{escape, thousands, value_with_error};
use crate::evaluate::histogram::Comparison;
use crate::evaluate::{LayerMetrics, ShowerEvaluation, ShowerMetrics, Sides};

/// The section's tables.
pub(super) fn write(out: &mut String, found: &ShowerEvaluation) {
    let _ = writeln!(
        out,
        "<p class=\"note\">Showers of <b>{}</b>, by the definitions of the CaloChallenge (arXiv 2410.21611). Voxels below \
         {:.4} MeV count as empty. <b>Separation</b>: 0 for equal histograms, 1 for such that share no bin, of what lies \
         within the challenge's edges; <b>truth</b>: the same for one half of the truth against the other. \
         <b>Outside</b>: what the edges leave out of truth and of the generated showers.</p>",
        escape(&found.particle),
        found.least_mev
    );
    out.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Quantity</th><th>Truth: mean</th><th>Generated: mean</th>\
         <th>Truth: width</th><th>Generated: width</th><th>Separation</th><th>Truth</th><th>Outside</th></tr></thead>\
         <tbody>\n",
    );
    match &found.energy_ratio {
        Some(ratio) => row(out, "E<sub>tot</sub> / E<sub>inc</sub>", ratio),
        None => {
            let why = found.reasons.get("energy_ratio");
            let why = why.map_or(String::new(), |w| escape(w));
            let _ = writeln!(
                out,
                "<tr><td>E<sub>tot</sub> / E<sub>inc</sub></td><td colspan=\"7\">not available: {why}</td></tr>"
            );
        }
    }
    for at in &found.energy_ratio_at {
        let name = format!("at {} MeV", thousands(at.incident_mev as usize));
        row(out, &name, &at.metrics);
    }
    row(out, "voxel energy [MeV]", &found.voxels);
    out.push_str("</tbody></table></div>\n");
    layers(
        out,
        "Separation in each layer",
        found,
        |m| number(m.separation),
        |m| number(m.separation_halves),
    );
    layers(
        out,
        "Mean in each layer",
        found,
        |m| value_with_error(m.mean.generated, None),
        |m| value_with_error(m.mean.truth, None),
    );
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".to_string(), |v| format!("{v:.4}"))
}

fn row(out: &mut String, name: &str, m: &ShowerMetrics) {
    let _ = write!(out, "<tr><td>{name}</td>");
    for value in [m.mean.truth, m.mean.generated, m.std.truth, m.std.generated] {
        let _ = write!(out, "<td>{value:.5}</td>");
    }
    let Sides { truth, generated } = m.outside;
    let _ = writeln!(
        out,
        "<td>{}</td><td>{}</td><td>{:.2} %, {:.2} %</td></tr>",
        number(m.separation),
        number(m.separation_halves),
        100.0 * truth,
        100.0 * generated
    );
}

/// A row for each layer, a column for each quantity: of the generated showers, in brackets of the truth.
fn layers(
    out: &mut String,
    title: &str,
    found: &ShowerEvaluation,
    generated: impl Fn(&ShowerMetrics) -> String,
    truth: impl Fn(&ShowerMetrics) -> String,
) {
    let _ = write!(
        out,
        "<h3>{title}</h3><p class=\"note\">In brackets: of the truth alone. Energies in MeV, centres and widths in mm.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th>Layer</th>"
    );
    for (name, _) in LayerMetrics::QUANTITIES {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for layer in &found.layers {
        let _ = write!(out, "<tr><td>{}</td>", layer.layer);
        for (_, pick) in LayerMetrics::QUANTITIES {
            let cell =
                pick(layer).map_or("–".into(), |m| format!("{} ({})", generated(m), truth(m)));
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// A figure of the section, to be drawn.
#[derive(Clone, Copy)]
pub(super) struct ShowerFigure<'a> {
    pub(super) name: &'static str,
    pub(super) caption: &'static str,
    comparison: &'a Comparison,
    x_title: &'static str,
    y_title: &'static str,
    log: bool,
}

/// What there is to draw.
pub(super) fn figures(found: &ShowerEvaluation) -> Vec<ShowerFigure<'_>> {
    let mut all = Vec::new();
    if let Some(comparison) = &found.histograms.energy_ratio {
        all.push(ShowerFigure {
            name: "energy_ratio",
            caption: "Energy of all voxels over that of the particle",
            comparison,
            x_title: "E(voxels) / E(particle)",
            y_title: "(1/N) dN/dratio",
            log: false,
        });
    }
    if let Some(comparison) = &found.histograms.voxels {
        all.push(ShowerFigure {
            name: "voxel_energy",
            caption: "Energies of single voxels",
            comparison,
            x_title: "Voxel energy E [MeV]",
            y_title: "Voxels per shower, dn/dE [1/MeV]",
            log: true,
        });
    }
    all
}

impl ShowerFigure<'_> {
    pub(super) fn draw(&self) -> Figure {
        let plot = HistogramPlot {
            title: "Calorimeter showers",
            x_title: self.x_title,
            y_title: self.y_title,
            log_x: self.log,
            log_y: self.log,
            ..HistogramPlot::default()
        };
        histogram_page(self.comparison, &plot)
    }
}
