//! How a calorimeter is cut into voxels: the challenge's binning files, XML.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{ImageSize, MAX_PIXELS};

/// Bytes of a binning file at the most: the challenge's largest has 7 KB.
const MOST_BYTES: u64 = 1 << 20;
/// Elements, attributes and texts at the most.
const MOST_NODES: u32 = 1 << 14;

/// A layer of a calorimeter: rings around the particle's direction, cut into equal angles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaloLayer {
    /// Its number in the detector.
    pub id: usize,
    /// Where rings begin and end: radii in mm, ascending, one more than rings.
    pub r_edges: Vec<f64>,
    /// Equal angles, from -pi to pi, that each ring is cut into.
    pub angles: usize,
}

/// The voxels of a calorimeter as the CaloChallenge numbers them: layer by layer, angle by angle, and from the inside out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaloBinning {
    /// Name of the particle that it is for: `photon`, `pion`, `electron`.
    pub particle: String,
    /// The layers that have voxels, as they follow one another in a shower.
    pub layers: Vec<CaloLayer>,
}

/// Why a binning file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BinningError {
    /// The operating system refused.
    #[error("cannot open '{path}' ({source}); check the path")]
    Io {
        /// The file.
        path: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file that says something else.
    #[error(
        "'{path}' is no binning file ({why}); use one of the CaloChallenge's, such as binning_dataset_2.xml"
    )]
    Invalid {
        /// The file.
        path: String,
        /// What does not hold.
        why: String,
    },
    /// Several particles, or none of the name asked for.
    #[error("'{path}' holds binnings of {has} ({why}); choose one with --particle")]
    Particle {
        /// The file.
        path: String,
        /// The particles that it has.
        has: String,
        /// What was asked for.
        why: String,
    },
}

impl CaloLayer {
    /// Rings.
    pub fn rings(&self) -> usize {
        self.r_edges.len().saturating_sub(1)
    }

    /// Voxels.
    pub fn voxels(&self) -> usize {
        self.rings() * self.angles
    }
}

impl CaloBinning {
    /// Read a binning file. `particle` chooses among several; it may be left out where there is one.
    ///
    /// # Errors
    /// See [`BinningError`].
    pub fn read(path: &Path, particle: Option<&str>) -> Result<Self, BinningError> {
        let name = path.display().to_string();
        let io = |source| BinningError::Io {
            path: name.clone(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        let invalid = |why: String| BinningError::Invalid {
            path: name.clone(),
            why,
        };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(invalid(format!("it has more than {MOST_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text".into()))?;
        let all = parse(&text).map_err(invalid)?;
        let has = || {
            let names: Vec<_> = all.iter().map(|b| b.particle.as_str()).collect();
            names.join(", ")
        };
        let choice = |why: String| BinningError::Particle {
            path: name.clone(),
            has: has(),
            why,
        };
        let mut found = (all.iter()).filter(|b| particle.is_none_or(|p| b.particle == p));
        match (found.next(), found.next(), particle) {
            (Some(one), None, _) => Ok(one.clone()),
            (Some(_), Some(_), _) => Err(choice("one is wanted".into())),
            (None, _, Some(asked)) => Err(choice(format!("'{asked}' was asked for"))),
            (None, _, None) => Err(invalid("it has no particle".into())),
        }
    }

    /// Voxels of a shower.
    pub fn voxels(&self) -> usize {
        self.layers.iter().map(CaloLayer::voxels).sum()
    }

    /// The image that a shower is: a row of pixels for each layer where all have as many voxels, else one single row.
    pub fn image(&self) -> ImageSize {
        let first = self.layers.first().map_or(0, CaloLayer::voxels);
        match self.layers.iter().all(|layer| layer.voxels() == first) {
            true => ImageSize {
                height: self.layers.len(),
                width: first,
            },
            false => ImageSize {
                height: 1,
                width: self.voxels(),
            },
        }
    }

    /// In words: `photon, layers 0, 1, 2, 3, 12 of 8, 160, 190, 5, 5 voxels`.
    pub fn describe(&self) -> String {
        let size = self.image();
        if size.height > 1 {
            let Self { particle, .. } = self;
            return format!(
                "{particle}, {} layers of {} voxels",
                size.height, size.width
            );
        }
        let list = |of: fn(&CaloLayer) -> usize| {
            let numbers: Vec<_> = self.layers.iter().map(|l| of(l).to_string()).collect();
            numbers.join(", ")
        };
        format!(
            "{}, layers {} of {} voxels",
            self.particle,
            list(|layer| layer.id),
            list(CaloLayer::voxels)
        )
    }

    /// Where the voxels of each layer lie in a shower.
    pub fn ranges(&self) -> Vec<std::ops::Range<usize>> {
        let mut end = 0;
        (self.layers.iter())
            .map(|layer| {
                let start = end;
                end += layer.voxels();
                start..end
            })
            .collect()
    }

    /// What does not make sense, in words.
    fn check(&self) -> Result<(), String> {
        let of = |layer: &CaloLayer, what: String| {
            Err(format!("'{}', layer {}: {what}", self.particle, layer.id))
        };
        if self.particle.is_empty() {
            return Err("a particle has no name".into());
        }
        let mut before = None;
        let mut voxels = 0usize;
        for layer in &self.layers {
            if before.is_some_and(|id| id >= layer.id) {
                return of(layer, "its id does not ascend".into());
            }
            before = Some(layer.id);
            let finite = layer.r_edges.iter().all(|r| r.is_finite() && *r >= 0.0);
            if !finite || !layer.r_edges.windows(2).all(|r| r[0] < r[1]) {
                return of(layer, "its r_edges do not ascend from 0 or above".into());
            }
            if layer.angles == 0 {
                return of(layer, "its n_bin_alpha is 0".into());
            }
            let more = layer.rings().checked_mul(layer.angles);
            voxels = more
                .and_then(|n| n.checked_add(voxels))
                .unwrap_or(usize::MAX);
            if voxels > MAX_PIXELS {
                return of(layer, format!("there are more than {MAX_PIXELS} voxels"));
            }
        }
        match voxels {
            0 => Err(format!("'{}' has no voxels", self.particle)),
            _ => Ok(()),
        }
    }
}

/// The binnings of all particles in a file's text; what is wrong with it.
fn parse(text: &str) -> Result<Vec<CaloBinning>, String> {
    let options = roxmltree::ParsingOptions {
        // Entities could make a small file a large one.
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..Default::default()
    };
    let tree = roxmltree::Document::parse_with_options(text, options).map_err(|e| e.to_string())?;
    let mut all = Vec::new();
    for particle in tree.root_element().children().filter(|n| n.is_element()) {
        let attribute = |node: roxmltree::Node<'_, '_>, name: &str| {
            (node.attribute(name).map(str::to_string)).ok_or_else(|| {
                let line = tree.text_pos_at(node.range().start).row;
                let element = node.tag_name().name().to_string();
                format!("line {line}: '{element}' has no attribute '{name}'")
            })
        };
        let mut binning = CaloBinning {
            particle: attribute(particle, "name")?,
            layers: Vec::new(),
        };
        for layer in particle.children().filter(|n| n.is_element()) {
            let line = tree.text_pos_at(layer.range().start).row;
            let number = |name: &str, text: &str| {
                (text.trim().parse::<usize>()).map_err(|_| {
                    format!("line {line}: {name} is '{text}', which is no whole number")
                })
            };
            let edges = attribute(layer, "r_edges")?;
            let edges: Result<Vec<f64>, String> = (edges.split(','))
                .map(|r| {
                    let radius = r.trim().parse::<f64>();
                    radius
                        .map_err(|_| format!("line {line}: r_edges has '{r}', which is no number"))
                })
                .collect();
            let layer = CaloLayer {
                id: number("id", &attribute(layer, "id")?)?,
                r_edges: edges?,
                angles: number("n_bin_alpha", &attribute(layer, "n_bin_alpha")?)?,
            };
            // One edge alone: a part of the detector that this particle's showers leave out.
            if layer.rings() > 0 {
                binning.layers.push(layer);
            }
        }
        binning.check()?;
        all.push(binning);
    }
    match all.is_empty() {
        true => Err("it has no particle".into()),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"<?xml version="1.0"?>
        <Bins>
          <Bin pid="22" name="photon">
            <Layer id="0" r_edges="0, 2.5,10" n_bin_alpha="3"/>
            <Layer id="1" r_edges="0" n_bin_alpha="1"/>
            <!-- a layer that has another shape -->
            <Layer id="4" r_edges="0,1e2" n_bin_alpha="1"/>
          </Bin>
          <Bin pid="11" name="electron">
            <Layer id="0" r_edges="0,1,2" n_bin_alpha="4"/>
            <Layer id="1" r_edges="0,1,2,3,4" n_bin_alpha="2"/>
          </Bin>
        </Bins>"#;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binning.xml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn particles_and_their_layers() {
        let (_folder, path) = file(TWO);
        let photon = CaloBinning::read(&path, Some("photon")).unwrap();
        assert_eq!(
            photon.layers,
            [
                CaloLayer {
                    id: 0,
                    r_edges: vec![0.0, 2.5, 10.0],
                    angles: 3
                },
                CaloLayer {
                    id: 4,
                    r_edges: vec![0.0, 100.0],
                    angles: 1
                },
            ]
        );
        let size = |height, width| ImageSize { height, width };
        assert_eq!((photon.voxels(), photon.image()), (7, size(1, 7)));
        assert_eq!(photon.ranges(), [0..6, 6..7]);
        // As many voxels in each layer: a row for each, however they are cut.
        let electron = CaloBinning::read(&path, Some("electron")).unwrap();
        assert_eq!((electron.voxels(), electron.image()), (16, size(2, 8)));
        for (asked, why) in [
            (None, "photon, electron (one is wanted)"),
            (Some("pion"), "'pion' was asked for"),
        ] {
            let error = CaloBinning::read(&path, asked).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("--particle"),
                "{error}"
            );
        }
        let (_folder, path) = file(&TWO.replace("electron", "photon"));
        assert!(CaloBinning::read(&path, Some("photon")).is_err());
    }

    #[test]
    fn mistakes_are_named_and_hostile_files_refused() {
        let layer = r#"<Layer id="0" r_edges="0, 2.5,10" n_bin_alpha="3"/>"#;
        let many = "<x/>".repeat(MOST_NODES as usize);
        let entities =
            r#"<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><Bins>&y;</Bins>"#;
        let deep = "<x>".repeat(1 << 13);
        for (from, to, why) in [
            (
                layer,
                r#"<Layer id="0" r_edges="0,2" />"#,
                "line 4: 'Layer' has no attribute 'n_bin_alpha'",
            ),
            (layer, r#"<Layer id="0" n_bin_alpha="1"/>"#, "'r_edges'"),
            (
                layer,
                r#"<Layer id="-1" r_edges="0,1" n_bin_alpha="1"/>"#,
                "line 4: id is '-1'",
            ),
            (
                layer,
                r#"<Layer id="0" r_edges="0,,1" n_bin_alpha="1"/>"#,
                "line 4: r_edges has ''",
            ),
            (
                layer,
                r#"<Layer id="0" r_edges="0,nan" n_bin_alpha="1"/>"#,
                "do not ascend",
            ),
            (
                layer,
                r#"<Layer id="0" r_edges="2,1" n_bin_alpha="1"/>"#,
                "do not ascend",
            ),
            (
                layer,
                r#"<Layer id="0" r_edges="0,1" n_bin_alpha="0"/>"#,
                "n_bin_alpha is 0",
            ),
            (
                layer,
                r#"<Layer id="7" r_edges="0,1" n_bin_alpha="1"/>"#,
                "layer 4: its id does not ascend",
            ),
            (
                layer,
                r#"<Layer id="0" r_edges="0,1" n_bin_alpha="65537"/>"#,
                "more than 65536 voxels",
            ),
            (
                layer,
                r#"<Layer id="0" r_edges="0,1,2" n_bin_alpha="18446744073709551615"/>"#,
                "more than 65536",
            ),
            ("</Bins>", "", "never closed"),
            (TWO, "<Bins></Bins>", "no particle"),
            (TWO, r#"<Bins><Bin name="photon"/></Bins>"#, "no voxels"),
            (TWO, "", "no binning file"),
            (TWO, "\u{89}HDF", "no binning file"),
            (TWO, entities, "DTD"),
            (TWO, &format!("<Bins>{many}</Bins>"), "no binning file"),
            (TWO, &deep, "no binning file"),
            (
                TWO,
                &" ".repeat(MOST_BYTES as usize + 1),
                "more than 1048576 bytes",
            ),
        ] {
            assert!(TWO.contains(from), "{from}");
            let (_folder, path) = file(&TWO.replace(from, to));
            let error = CaloBinning::read(&path, Some("photon")).unwrap_err();
            assert!(error.to_string().contains(why), "{why}: {error}");
        }
        let missing = CaloBinning::read(Path::new("no.xml"), None).unwrap_err();
        assert!(missing.to_string().starts_with("cannot open 'no.xml'"));
    }
}
