//! What training takes of memory, from the shape of the network alone.

use super::config::{LikelihoodConfig, ModelConfig};
use super::{Config, StageShape};
use crate::data::ImageSize;
use crate::family::{Demand, Lower};

/// Bytes of a parameter while a checkpoint is made on the processor: 24 of the network (twice), of the weights with both of
/// Adam's moments and of the packed weights; 20 of the state that is written. Measured: 44.6 with 90 million.
const OF_PARAMETER: u64 = 44;
/// The same on the host of a card, which has weights and moments itself.
const OF_PARAMETER_BESIDE_A_CARD: u64 = 28;

/// What training `model` takes of the memory of the host, where its configuration makes sense.
fn of_model(model: &ModelConfig, batch: usize, on_card: bool) -> Demand {
    let parameters = model.parameters();
    let bytes = match on_card {
        true => parameters.saturating_mul(OF_PARAMETER_BESIDE_A_CARD),
        false => {
            // Activations and their derivatives, both ways round, of the images of a batch.
            let stages = StageShape::all(model, &model.stage_pixels());
            let of_stage = |s: &StageShape| {
                // A gate and its side; where each image stands, where gates are shown what is left.
                let of_pixel = if s.left > 0 { 4 } else { 2 };
                (3 * (s.layers + 1) + 1) * s.units() + of_pixel * s.pixels
            };
            let inputs = stages.last().map_or(0, StageShape::inputs);
            let numbers = 2 * inputs + stages.iter().map(of_stage).sum::<usize>();
            let of_batch = 4 * numbers as u64 * batch as u64;
            (parameters.saturating_mul(OF_PARAMETER)).saturating_add(of_batch)
        }
    };
    Demand { parameters, bytes }
}

/// What training `config` on images of `size` takes; `None` where it does not go with them.
pub(super) fn of_training(config: &Config, size: ImageSize, on_card: bool) -> Option<Demand> {
    let model = config.resolve(size).ok()?;
    model.check().ok()?;
    Some(of_model(&model, config.train.batch, on_card))
}

/// Settings of `config` that are lower, so that training takes `bytes` at the most.
pub(super) fn lower(config: &Config, size: ImageSize, on_card: bool, bytes: u64) -> Lower {
    let asked = config.resolve(size).ok();
    let Some(asked) = asked.filter(|model| model.check().is_ok()) else {
        return Lower::Unknown;
    };
    let most = |of: fn(&super::config::StageConfig) -> usize| {
        asked.stage.iter().map(of).max().unwrap_or(1)
    };
    let (units, layers) = (most(|s| s.units_per_pixel), most(|s| s.layers));
    let (word, values) = match asked.likelihood {
        LikelihoodConfig::Dc { components, .. } => ("components", components),
        LikelihoodConfig::Dd { latents, .. } => ("latents", latents),
    };
    let with = |units: usize, layers: usize, values: usize| {
        let mut model = asked.clone();
        for stage in &mut model.stage {
            stage.units_per_pixel = stage.units_per_pixel.min(units);
            stage.layers = stage.layers.min(layers);
        }
        match &mut model.likelihood {
            LikelihoodConfig::Dc { components, .. } => *components = values,
            LikelihoodConfig::Dd { latents, .. } => *latents = values,
        }
        model
    };
    // A total wants two components.
    let takes = |units: usize, layers: usize, values: usize| {
        let model = with(units, layers, values);
        let takes = || of_model(&model, config.train.batch, on_card).bytes;
        model.check().is_ok().then(takes)
    };
    let fits = |&(units, layers, values): &(usize, usize, usize)| {
        takes(units, layers, values).is_some_and(|takes| takes <= bytes)
    };
    // One setting, as little as will do; then several, those first that cost least of what the network can learn.
    let fewer_units = (1..units).rev().map(|units| (units, layers, values));
    let fewer_layers = (1..layers).rev().map(|layers| (units, layers, values));
    let fewer_values = (1..values).rev().map(|values| (units, layers, values));
    let of_all = (1..=units)
        .rev()
        .flat_map(|u| (1..=layers).rev().map(move |l| (u, l)));
    let of_all = of_all.flat_map(|(u, l)| (1..=values).rev().map(move |v| (u, l, v)));
    let found = (fewer_units.chain(fewer_layers).chain(fewer_values))
        .chain(of_all)
        .find(fits);
    let Some(found) = found else {
        let least = (1..=values).find_map(|v| Some((v, takes(1, 1, v)?)));
        return least.map_or(Lower::Unknown, |(v, takes)| {
            let settings = format!("units_per_pixel = 1, layers = 1 and {word} = {v}");
            Lower::Least(settings, takes)
        });
    };
    let changes = [
        ("units_per_pixel", units, found.0),
        ("layers", layers, found.1),
        (word, values, found.2),
    ];
    let changes = changes.into_iter().filter(|(_, was, is)| was != is);
    let words: Vec<String> = changes
        .map(|(key, was, is)| format!("{key} ({was} -> {is})"))
        .collect();
    Lower::Fits(words.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALORIMETER: ImageSize = ImageSize {
        height: 45,
        width: 144,
    };

    #[test]
    fn what_is_proposed_fits() {
        for text in [
            "",
            "[[stage]]\nunits_per_pixel = 3\nlayers = 2",
            "[[stage]]\nsquare = 9\nunits_per_pixel = 8\n[[stage]]\nlayers = 1",
            "[likelihood]\nkind = 'dd'\nlatents = 16\nlevels = 100",
            "[likelihood]\nkind = 'dc'\nspace = 'log'\n[input]\nleft = 8\n[condition]\nnames = ['all']\ntotal = 'all'",
        ] {
            let config = Config::parse(text).unwrap();
            let whole = of_training(&config, CALORIMETER, false).unwrap();
            assert_eq!(
                whole.parameters,
                config.resolve(CALORIMETER).unwrap().parameters()
            );
            assert!(whole.bytes > 44 * whole.parameters);
            assert!(of_training(&config, CALORIMETER, true).unwrap().bytes < whole.bytes);
            for share in [2, 3, 5] {
                let allowed = whole.bytes / share;
                let proposed = match lower(&config, CALORIMETER, false, allowed) {
                    Lower::Fits(proposed) => proposed,
                    Lower::Least(_, takes) => {
                        assert!(takes > allowed);
                        continue;
                    }
                    Lower::Unknown => panic!("{text}"),
                };
                // Do what it says.
                let mut changed = config.resolve(CALORIMETER).unwrap();
                for change in proposed.split(" and ") {
                    let (key, values) = change.split_once(" (").unwrap();
                    let value = values.trim_end_matches(')').split_once(" -> ").unwrap().1;
                    let value: usize = value.parse().unwrap();
                    match (key, &mut changed.likelihood) {
                        ("components", LikelihoodConfig::Dc { components, .. }) => {
                            *components = value;
                        }
                        ("latents", LikelihoodConfig::Dd { latents, .. }) => *latents = value,
                        _ => {}
                    }
                    for stage in &mut changed.stage {
                        match key {
                            "units_per_pixel" => {
                                stage.units_per_pixel = stage.units_per_pixel.min(value);
                            }
                            "layers" => stage.layers = stage.layers.min(value),
                            _ => {}
                        }
                    }
                }
                changed.check().unwrap();
                let bytes = of_model(&changed, config.train.batch, false).bytes;
                assert!(bytes <= allowed, "{text}: {proposed}");
            }
            let Lower::Least(settings, takes) = lower(&config, CALORIMETER, false, 1 << 20) else {
                panic!("{text}");
            };
            assert!(settings.starts_with("units_per_pixel = 1, layers = 1 and "));
            assert!(takes > 1 << 20 && takes < whole.bytes);
        }
        let config = Config::parse("[[stage]]\nunits_per_pixel = 3\nlayers = 2").unwrap();
        let units = of_training(
            &Config::parse("[[stage]]\nunits_per_pixel = 2\nlayers = 2").unwrap(),
            CALORIMETER,
            false,
        );
        assert_eq!(
            lower(&config, CALORIMETER, false, units.unwrap().bytes),
            Lower::Fits("units_per_pixel (3 -> 2)".into())
        );
    }
}
