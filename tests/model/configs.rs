//! Every shipped configuration is one that the program takes.

use std::collections::BTreeSet;
use std::path::Path;

use sarm::data::ImageSize;
use sarm::families;
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
            Some("calorimeter") => (16, 16),
            // Photons of data set 1: a row of all voxels.
            Some("calochallenge") => (1, 368),
            _ => (25, 25),
        };
        let size = ImageSize { height, width };
        seen += 1;
        if name.ends_with("vae.toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let config = families::configuration(&text).unwrap();
            assert!(config.demand(size, false).is_some(), "{name}");
            continue;
        }
        let model = read(&path).resolve(size).unwrap();
        model.check().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert!(seen >= 5, "only {seen} configurations found");
}

/// SARM-1: as SARM-2, in one stage.
#[test]
fn single_stage_models_differ_in_their_stages_alone() {
    for likelihood in ["dc", "dd"] {
        let two = read(&folder().join(format!("paper/jets-{likelihood}.toml")));
        let mut one = read(&folder().join(format!("paper/jets-{likelihood}-1.toml")));
        assert_eq!(one.stage[..], two.stage[1..]);
        one.stage = two.stage.clone();
        assert_eq!(one, two);
    }
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
            // The paper trains to the end.
            assert_eq!(config.train.patience(), 0);
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

const VAE: &str = "[model]\nfamily = 'vae'\n";

/// Keys of all families.
fn keys() -> BTreeSet<String> {
    let of_vae = [
        ("model", ""),
        ("image", "[image]\nheight = 25\nwidth = 25\n"),
        ("network", "[network]\n"),
        ("loss", "[loss]\n"),
        ("perceptual", "[perceptual]\n"),
        ("likelihood", "[likelihood]\nkind = 'dc'\n"),
        ("likelihood", "[likelihood]\nkind = 'dd'\n"),
        ("condition", "[condition]\n"),
        ("train", "[train]\n"),
    ];
    let mut all = keys_of("", &sarm_tables());
    all.extend(keys_of(VAE, &of_vae));
    all
}

fn sarm_tables() -> Vec<(&'static str, &'static str)> {
    vec![
        ("model", "[model]\n"),
        ("image", "[image]\nheight = 3\nwidth = 3\n"),
        ("order", "[order]\n"),
        ("stage", "[[stage]]\n"),
        ("likelihood", "[likelihood]\nkind = 'dc'\n"),
        ("likelihood", "[likelihood]\nkind = 'dd'\n"),
        ("input", "[input]\n"),
        ("input.also", "[[input.also]]\n"),
        ("condition", "[condition]\n"),
        ("symmetry", "[symmetry]\n"),
        ("train", "[train]\n"),
    ]
}

/// Keys that the parser takes behind `head`, as paths: it names them where it meets one that it does not know.
fn keys_of(head: &str, tables: &[(&str, &str)]) -> BTreeSet<String> {
    let known_in = |text: &str| -> Vec<String> {
        let error = (families::configuration(text).err())
            .unwrap_or_else(|| panic!("{text}"))
            .to_string();
        let (_, names) = error
            .split_once("choose one of: ")
            .unwrap_or_else(|| panic!("{error}"));
        let names = names.split(';').next().unwrap();
        names.split(", ").map(String::from).collect()
    };
    let known = |text: &str| known_in(&format!("{head}{text}zzzzzz = 1\n"));
    for table in known_in(&format!("zzzzzz = 1\n{head}")) {
        let named = |(path, _): &&(&str, &str)| *path == table;
        assert!(
            tables.iter().any(|t| named(&t)),
            "[{table}] is not looked into"
        );
    }
    let mut all = BTreeSet::new();
    if head.is_empty() {
        all.insert("likelihood.kind".to_string());
    }
    for (path, text) in tables {
        for name in known(text) {
            if !tables
                .iter()
                .any(|(other, _)| *other == format!("{path}.{name}"))
            {
                all.insert(format!("{path}.{name}"));
            }
        }
    }
    all
}

#[test]
fn the_page_of_keys_lists_those_that_there_are() {
    let page = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/configuration.md"
    ));
    let page = std::fs::read_to_string(page).unwrap();
    // | `key` | unit | default | effect |
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "{line}");
            (cells[1].trim_matches('`'), cells[3])
        })
        .collect();
    let listed: BTreeSet<String> = rows.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(listed, keys());
    assert_eq!(listed.len(), rows.len(), "a key stands there twice");
    // Defaults that a configuration shows are those of the page.
    let all = "[[stage]]\n[[input.also]]\n";
    let mut seen = 0;
    let of_vae = format!("{VAE}[condition]\nnames = ['signal']\n");
    let kinds = ["dc", "dd"].map(|kind| format!("{all}[likelihood]\nkind = '{kind}'\n"));
    for text in kinds.iter().chain([&of_vae]) {
        let config = families::configuration(text).unwrap();
        let shown: toml::Table = config.to_toml().parse().unwrap();
        for (key, default) in &rows {
            let mut value = Some(&toml::Value::Table(shown.clone())).cloned();
            for step in key.split('.') {
                value = value.and_then(|v| match v {
                    toml::Value::Array(list) => list.first()?.get(step).cloned(),
                    table => table.get(step).cloned(),
                });
            }
            let (Some(value), Some(said)) = (value, default.strip_prefix('`')) else {
                continue;
            };
            let said: toml::Table = format!("v = {}", said.trim_end_matches('`'))
                .parse()
                .unwrap();
            // What the text itself says.
            let said_here = ["likelihood.kind", "model.family", "condition.names"];
            if !said_here.contains(key) {
                assert_eq!(value, said["v"], "{key}");
                seen += 1;
            }
        }
    }
    assert!(seen > 25, "only {seen} defaults were compared");
}
