//! Every shipped configuration is one that the program takes.

use std::path::Path;

use sarm::data::ImageSize;
use sarm::families::sarm::Config;
use sarm::families::sarm::config::{LikelihoodConfig, OrderKind};

fn read(path: &Path) -> Config {
    let text = std::fs::read_to_string(path).unwrap();
    Config::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/configs"))
}

#[test]
fn all_of_them_parse_and_fit_their_images() {
    let mut seen = 0;
    let all = [folder().to_path_buf(), folder().join("paper")];
    for entry in all.iter().flat_map(|f| std::fs::read_dir(f).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        assert_eq!(path.extension().unwrap(), "toml", "{}", path.display());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (height, width) = match name.split(['-', '.']).next() {
            Some("muons") => (32, 32),
            // Photons of data set 1: a row of all voxels.
            Some("calochallenge") => (1, 368),
            _ => (25, 25),
        };
        let size = ImageSize { height, width };
        let model = read(&path).resolve(size).unwrap();
        model.check().unwrap_or_else(|e| panic!("{name}: {e}"));
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} configurations found");
}

/// Figures of the paper: stages, layers, units, likelihoods, optimiser.
#[test]
fn defaults_are_those_of_the_paper() {
    for (name, square, layers) in [("jets", 3, 5), ("muons", 7, 3)] {
        for likelihood in ["dc", "dd"] {
            let config = read(&folder().join(format!("paper/{name}-{likelihood}.toml")));
            assert_eq!(config.order.kind, OrderKind::Spiral);
            assert_eq!(config.stage.len(), 2);
            assert_eq!(config.stage[0].square, Some(square));
            assert_eq!(config.stage[0].units_per_pixel, 5);
            assert_eq!(config.stage[1].units_per_pixel, 1);
            assert!(config.stage.iter().all(|s| s.layers == layers));
            assert_eq!(config.train.batch, 128);
            assert_eq!(config.train.learning_rate, 3e-4);
            assert_eq!(config.train.halve_every, 50);
            match config.likelihood {
                LikelihoodConfig::Dc { components, .. } => {
                    assert_eq!((likelihood, components), ("dc", 5));
                }
                LikelihoodConfig::Dd { latents, power, .. } => {
                    assert_eq!((likelihood, latents, power), ("dd", 10, 1.0));
                }
            }
        }
    }
}
