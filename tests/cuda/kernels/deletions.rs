//! Every barrier and every wait of the kernels, left out in turn: a wrong result or a race must tell.
//!
//! `deletions_are_seen` does so, and prints with `--nocapture` who saw what. A place that nobody misses is not needed, or no case needs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::case::{Case, Size};
use super::sanitizers;
use super::{SCHEDULES, examine, table};
use crate::devices::emulated;
use crate::emulation::build::PROJECT;
use crate::emulation::{Emulation, Kernels, seed};

/// Cases that come to a place which are tried first with it left out: the quickest.
const TRIED: usize = 8;

/// A place in a kernel: folder and file, line.
type Site = (String, u32);

/// Every barrier and wait in the sources, and its line.
fn sites() -> BTreeMap<Site, String> {
    let words = [
        "block_barrier(",
        "warp_barrier(",
        "grid_barrier(",
        "copy_async_wait<",
    ];
    let mut found = BTreeMap::new();
    for place in PROJECT {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("kernels")
            .join(place);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // What defines them, and what tests them.
            if ["device.cuh", "contract.cu"].contains(&name) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (i, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if words.iter().any(|word| code.contains(word)) {
                    let site = (format!("{place}/{name}"), i as u32 + 1);
                    found.insert(site, line.trim().to_string());
                }
            }
        }
    }
    found
}

/// Names of the cases that come to each place, the quickest first.
fn cases_of_sites() -> BTreeMap<Site, Vec<String>> {
    let kernels = Kernels::project();
    let met: Mutex<BTreeMap<Site, Vec<(Duration, String)>>> = Mutex::default();
    on_all_processors(table(Size::Small).len(), |cases: &[Case], i| {
        let case = &cases[i];
        kernels.leave_out(None);
        let start = Instant::now();
        examine(case, 0, device).unwrap();
        let took = start.elapsed();
        let mut met = met.lock().unwrap();
        for site in kernels.sites() {
            met.entry(site).or_default().push((took, case.name.clone()));
        }
    });
    let sorted = |(site, mut cases): (Site, Vec<(Duration, String)>)| {
        cases.sort();
        (site, cases.into_iter().map(|(_, name)| name).collect())
    };
    met.into_inner().unwrap().into_iter().map(sorted).collect()
}

fn device(schedule: u64) -> std::sync::Arc<dyn sarm::device::cuda::device::Device> {
    Emulation::seeded(seed() + schedule).device()
}

/// `work` with all cases and each number below `count`.
fn on_all_processors(count: usize, work: impl Fn(&[Case], usize) + Sync) {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let cases = table(Size::Small);
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        i if i < count => work(&cases, i),
                        _ => break,
                    }
                }
            });
        }
    });
}

/// What is left out in a child, and the cases that it runs.
const LEFT_OUT: &str = "SARM_TEST_LEFT_OUT";

/// What the children are told.
fn told((file, line): &Site, names: &[String]) -> String {
    format!("{file}:{line}:{}", names.join(";"))
}

/// `look` at the cases that the parent chose, without what it left out.
fn without_one(look: impl Fn(&Case)) {
    let what = std::env::var(LEFT_OUT).unwrap();
    let [file, line, names] = what.splitn(3, ':').collect::<Vec<_>>().try_into().unwrap();
    let names: Vec<&str> = names.split(';').collect();
    let cases = table(Size::Small);
    Kernels::project().leave_out(Some((file, line.parse().unwrap())));
    let chosen = cases.iter();
    chosen
        .filter(|case| names.contains(&case.name.as_str()))
        .for_each(look);
}

/// Passes where no result tells. A process of its own: addresses may be anything.
#[test]
#[ignore = "a part of deletions_are_seen"]
fn results_without_one() {
    without_one(|case| examine(case, SCHEDULES, device).unwrap());
}

/// Passes whatever comes out: what looks for races has its own say.
#[test]
#[ignore = "a part of deletions_are_seen"]
fn races_without_one() {
    without_one(|case| drop(examine(case, 0, device)));
}

/// Who tells that something is left out.
struct Seen {
    results: bool,
    races: bool,
    /// The process that looks for races ends by an address that is nobody's: a number that was not written yet was taken for one.
    fault: bool,
}

impl Seen {
    fn at(site: &Site, names: &[String]) -> Self {
        let what = told(site, names);
        let alone = [(LEFT_OUT, what.as_str())];
        let results = sanitizers::child("kernels::deletions::results_without_one", &alone);
        let test = "kernels::deletions::races_without_one";
        let races = sanitizers::raced(test, &PROJECT, &alone);
        let is_race = races.output.contains("data race");
        Self {
            results: !results.passed,
            races: is_race,
            fault: !is_race && !races.passed,
        }
    }

    fn nobody(&self) -> bool {
        !self.results && !self.races
    }
}

#[test]
fn deletions_are_seen() {
    if !emulated() {
        return;
    }
    let sites: Vec<(Site, String)> = sites().into_iter().collect();
    let of_sites = cases_of_sites();
    let lines = Mutex::new(BTreeMap::new());
    let problems = Mutex::new(Vec::new());
    on_all_processors(sites.len(), |_, i| {
        let (site, text) = &sites[i];
        let place = format!("{}:{}", site.0, site.1);
        let Some(names) = of_sites.get(site) else {
            let problem = format!("{place}: no case comes to it: {text}");
            problems.lock().unwrap().push(problem);
            return;
        };
        let (quickest, others) = names.split_at(names.len().min(TRIED));
        let mut seen = Seen::at(site, quickest);
        if seen.nobody() && !others.is_empty() {
            seen = Seen::at(site, others);
        }
        if seen.nobody() {
            let problem = format!("{place}: nobody sees it left out: {text}");
            problems.lock().unwrap().push(problem);
        }
        let results = if seen.results { "yes" } else { "no" };
        let races = match (seen.races, seen.fault) {
            (true, _) => "yes",
            (false, true) => "a fault first",
            (false, false) => "no",
        };
        let row = format!("{place}: results {results}, races {races}: {text}");
        lines.lock().unwrap().insert(site.clone(), row);
    });
    for row in lines.into_inner().unwrap().values() {
        println!("{row}");
    }
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
