//! A drawing surface with lines, boxes and text, written as SVG or PNG.
//!
//! The shapes and the writers are kuva's; its ready-made charts are not used, because aligned
//! ratio panels, signed logarithmic colour bars and image grids need their own layout.

use kuva::backend::raster::RasterBackend;
use kuva::backend::svg::SvgBackend;
use kuva::render::color::Color;
use kuva::render::render::{Primitive, Scene, TextAnchor};

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// A filled box: two opposite corners and its colour.
pub(super) type Cell = ((f64, f64), (f64, f64), Rgb);

pub(super) const INK: Rgb = [34, 40, 49];
pub(super) const FAINT: Rgb = [228, 231, 236];
pub(super) const TRUTH: Rgb = [52, 92, 140];
pub(super) const TRUTH_FILL: Rgb = [203, 217, 234];
pub(super) const GENERATED: Rgb = [204, 68, 37];

/// A finished figure.
#[derive(Debug)]
pub struct Figure {
    scene: Scene,
}

impl Figure {
    /// As an SVG document that scales with its place on a page.
    pub fn svg(&self) -> String {
        let view = format!(
            "<svg viewBox=\"0 0 {} {}\" ",
            self.scene.width, self.scene.height
        );
        (SvgBackend::new().render_scene(&self.scene)).replacen("<svg ", &view, 1)
    }

    /// As a PNG file, `scale` pixels a unit; text in a built-in font.
    ///
    /// # Errors
    /// The message of the encoder.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, String> {
        RasterBackend::new()
            .with_scale(scale)
            .render_scene(&self.scene)
    }
}

/// Where text is tied to its point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tie {
    Start,
    Middle,
    End,
}

/// A surface being drawn on; x grows to the right, y downwards.
pub(super) struct Canvas {
    scene: Scene,
}

fn colour(c: Rgb) -> Color {
    Color::Rgb(c[0], c[1], c[2])
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut scene = Scene::new(width, height);
        scene.font_family = Some("DejaVu Sans, Helvetica, Arial, sans-serif".to_string());
        Self { scene }
    }

    pub(super) fn finish(self) -> Figure {
        Figure { scene: self.scene }
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Rgb, width: f64) {
        self.scene.add(Primitive::Line {
            x1: round(from.0),
            y1: round(from.1),
            x2: round(to.0),
            y2: round(to.1),
            stroke: colour(stroke),
            stroke_width: width,
            stroke_dasharray: None,
        });
    }

    pub(super) fn polyline(&mut self, points: &[(f64, f64)], stroke: Rgb, width: f64) {
        if points.len() > 1 {
            self.scene.add(Primitive::PolyLine {
                points: points.iter().map(|p| (round(p.0), round(p.1))).collect(),
                stroke: colour(stroke),
                stroke_width: width,
                stroke_dasharray: None,
            });
        }
    }

    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, fill: Rgb) {
        self.scene.add(Primitive::Circle {
            cx: round(at.0),
            cy: round(at.1),
            r: radius,
            fill: colour(fill),
            fill_opacity: None,
            stroke: None,
            stroke_width: None,
        });
    }

    /// A filled box by its corners.
    pub(super) fn fill(&mut self, a: (f64, f64), b: (f64, f64), fill: Rgb) {
        self.cells(&[(a, b, fill)]);
    }

    /// The outline of a box by its corners.
    pub(super) fn outline(&mut self, a: (f64, f64), b: (f64, f64), stroke: Rgb, width: f64) {
        self.scene.add(Primitive::Rect {
            x: round(a.0.min(b.0)),
            y: round(a.1.min(b.1)),
            width: round((b.0 - a.0).abs()),
            height: round((b.1 - a.1).abs()),
            fill: Color::None,
            stroke: Some(colour(stroke)),
            stroke_width: Some(width),
            opacity: None,
        });
    }

    /// Many filled boxes by their corners.
    pub(super) fn cells(&mut self, cells: &[Cell]) {
        let low = |f: fn(&(f64, f64)) -> f64| {
            cells
                .iter()
                .map(move |(a, b, _)| round(f(a).min(f(b))))
                .collect()
        };
        let size = |f: fn(&(f64, f64)) -> f64| {
            cells
                .iter()
                .map(move |(a, b, _)| round(round(f(a).max(f(b))) - round(f(a).min(f(b)))))
                .collect()
        };
        // Without it neighbouring boxes show hairlines between them on most screens.
        self.scene.add(Primitive::GroupStart {
            transform: None,
            title: None,
            extra_attrs: Some("shape-rendering=\"crispEdges\"".to_string()),
        });
        self.scene.add(Primitive::RectBatch {
            x: low(|p| p.0),
            y: low(|p| p.1),
            w: size(|p| p.0),
            h: size(|p| p.1),
            fills: cells.iter().map(|(_, _, c)| colour(*c)).collect(),
        });
        self.scene.add(Primitive::GroupEnd);
    }

    /// Text on the baseline through `at`.
    pub(super) fn text(&mut self, at: (f64, f64), tie: Tie, size: u32, content: &str) {
        self.write(at, tie, size, content, false, None);
    }

    /// The same in bold.
    pub(super) fn bold(&mut self, at: (f64, f64), tie: Tie, size: u32, content: &str) {
        self.write(at, tie, size, content, true, None);
    }

    /// Text that reads upwards.
    pub(super) fn upwards(&mut self, at: (f64, f64), tie: Tie, size: u32, content: &str) {
        self.write(at, tie, size, content, false, Some(-90.0));
    }

    fn write(
        &mut self,
        at: (f64, f64),
        tie: Tie,
        size: u32,
        content: &str,
        bold: bool,
        rotate: Option<f64>,
    ) {
        self.scene.add(Primitive::Text {
            x: round(at.0),
            y: round(at.1),
            content: content.to_string(),
            size,
            anchor: match tie {
                Tie::Start => TextAnchor::Start,
                Tie::Middle => TextAnchor::Middle,
                Tie::End => TextAnchor::End,
            },
            rotate,
            bold,
            color: Some(colour(INK)),
        });
    }
}

/// Hundredths are enough on paper and keep files short.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
