//! Who may import whom. `CONTRIBUTING.md` draws the layers ("The house"); here the sources are read and held against
//! that picture: arrows run downwards only, sideways only where the picture says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod source;

use source::{Arrow, arrows, tokens, without_tests};

/// The line in `CONTRIBUTING.md` above the picture.
const MARKER: &str = "<!-- layers -->";

/// Rooms that know families through the traits of `family` and the list in `families/mod.rs` only.
const GENERAL: [&str; 4] = ["cli", "run", "evaluate", "classify"];

/// The picture: rows from the top, and the arrows within a row that it allows.
struct Layers {
    rows: Vec<Vec<String>>,
    /// Folders of `families`.
    families: Vec<String>,
    sideways: BTreeSet<(String, String)>,
}

impl Layers {
    /// Read the fenced block below the marker: a row of rooms a line; `a -> b` is an arrow within a row.
    fn parse(text: &str, families: Vec<String>) -> Layers {
        let (_, rest) = text
            .split_once(MARKER)
            .expect("the picture has lost its marker");
        let block = rest.split("```").nth(1).expect("a fenced block");
        let (mut rows, mut sideways) = (Vec::new(), BTreeSet::new());
        for line in block.lines().skip(1) {
            let words = |text: &str| -> Vec<String> {
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .filter(|word| !word.is_empty())
                    .map(String::from)
                    .collect()
            };
            if line.contains("->") {
                for arrow in line.split(',') {
                    let (from, to) = arrow.split_once("->").expect("a -> b");
                    let from = words(from).pop().expect("the room before ->");
                    sideways.insert((from, words(to).remove(0)));
                }
            } else if !words(line).is_empty() {
                rows.push(words(line));
            }
        }
        Layers {
            rows,
            families,
            sideways,
        }
    }

    fn row(&self, room: &str) -> Option<usize> {
        self.rows
            .iter()
            .position(|row| row.iter().any(|r| r == room))
    }

    /// What is wrong with an arrow, if anything is.
    fn wrong(&self, arrow: &Arrow) -> Option<&'static str> {
        let from = room(&arrow.from);
        let to = match arrow.to.first() {
            None => return Some("takes everything from the root: name the rooms"),
            Some(to) => to.as_str(),
        };
        if from == to {
            return inside(arrow);
        }
        let named = arrow.to.get(1).filter(|_| to == "families");
        if GENERAL.contains(&&*from) && named.is_some_and(|name| self.families.contains(name)) {
            return Some("names a family: what it does is the same for all of them");
        }
        match (self.row(&from), self.row(to)) {
            (Some(upper), Some(lower)) if upper < lower => None,
            (Some(a), Some(b)) if a == b => match self.sideways.contains(&(from, to.to_string())) {
                true => None,
                false => Some("runs sideways"),
            },
            (Some(_), Some(_)) => Some("runs up"),
            _ => Some("joins rooms that are not in the picture"),
        }
    }
}

/// Families know neither each other nor the list of families.
fn inside(arrow: &Arrow) -> Option<&'static str> {
    match (&arrow.from[..], &arrow.to[..]) {
        ([families, family, _, ..], [_, other, ..]) if families == "families" => {
            (family != other).then_some("runs from one family into another, or into their list")
        }
        _ => None,
    }
}

/// The room of a module: its first name.
fn room(module: &[String]) -> String {
    module.first().cloned().unwrap_or_default()
}

/// A file of `src/`: its path there, its module, its arrows.
struct File {
    path: PathBuf,
    module: Vec<String>,
    arrows: Vec<Arrow>,
}

/// All files of `src/` that are compiled into the program, the root of the library left out: it lists the rooms.
fn sources() -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files, mut of_tests) = (vec![src.clone()], Vec::new(), BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let within = path.strip_prefix(&src).unwrap().with_extension("");
            let module: Vec<String> = within
                .iter()
                .map(|name| name.to_str().unwrap().to_string())
                .collect();
            let (kept, tests) = without_tests(tokens(&fs::read_to_string(&path).unwrap()));
            let mut parent = module.clone();
            if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
                parent.pop();
            }
            of_tests.extend(
                tests
                    .into_iter()
                    .map(|name| [&parent[..], &[name]].concat()),
            );
            if module != ["lib"] {
                files.push(File {
                    path: path.strip_prefix(&src).unwrap().to_path_buf(),
                    arrows: arrows(&module, &kept),
                    module,
                });
            }
        }
    }
    files.retain(|file| !(1..=file.module.len()).any(|n| of_tests.contains(&file.module[..n])));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The picture in `CONTRIBUTING.md`.
fn picture() -> Layers {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md");
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/families");
    let families = fs::read_dir(families)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let names = families.map(|path| {
        path.with_extension("")
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_string()
    });
    Layers::parse(
        &fs::read_to_string(path).unwrap(),
        names.filter(|name| name != "mod").collect(),
    )
}

#[test]
fn every_room_is_in_the_picture_once() {
    let drawn: Vec<String> = picture().rows.into_iter().flatten().collect();
    let mut sorted = drawn.clone();
    sorted.sort();
    let there: BTreeSet<String> = sources().iter().map(|file| room(&file.module)).collect();
    assert_eq!(sorted, there.into_iter().collect::<Vec<_>>());
}

#[test]
fn arrows_run_downwards() {
    let layers = picture();
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in sources() {
        for arrow in &file.arrows {
            seen += 1;
            if let Some(problem) = layers.wrong(arrow) {
                let (path, line) = (file.path.display(), arrow.line);
                let (from, to) = (room(&arrow.from), arrow.to.join("::"));
                wrong.push(format!("src/{path}:{line}: {from} -> {to} {problem}"));
            }
        }
    }
    assert!(seen > 500, "only {seen} paths found");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The program is a shell around the command line.
#[test]
fn main_knows_the_command_line_only() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs");
    let tokens = tokens(&fs::read_to_string(path).unwrap());
    let named: Vec<&str> = (tokens.windows(3))
        .filter(|w| w[0].0 == "sarm" && w[1].0 == "::")
        .map(|w| w[2].0.as_str())
        .collect();
    assert_eq!(named, ["cli"]);
}

/// Files and folders side by side do not go round in circles, as far as they name each other's modules. `mod.rs` is
/// left out: a parent names its children.
#[test]
fn files_side_by_side_do_not_go_in_circles() {
    let mut folders: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let files = sources();
    let modules: BTreeSet<&[String]> = (files.iter())
        .flat_map(|file| (1..=file.module.len()).map(|n| &file.module[..n]))
        .collect();
    for file in &files {
        for arrow in &file.arrows {
            let shared = (file.module.iter().zip(&arrow.to))
                .take_while(|(a, b)| a == b)
                .count();
            let (Some(from), Some(_)) = (file.module.get(shared), arrow.to.get(shared)) else {
                continue;
            };
            if from != "mod" && shared > 0 && modules.contains(&arrow.to[..=shared]) {
                folders
                    .entry(file.module[..shared].to_vec())
                    .or_default()
                    .entry(from.clone())
                    .or_default()
                    .insert(arrow.to[shared].clone());
            }
        }
    }
    let circles: Vec<String> = (folders.iter())
        .filter_map(|(folder, names)| {
            circle(names).map(|c| format!("src/{}: {}", folder.join("/"), c.join(" -> ")))
        })
        .collect();
    assert!(folders.len() > 5);
    assert!(circles.is_empty(), "\n{}\n", circles.join("\n"));
}

/// A circle among `arrows`, if there is one.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    // What names nothing that is left cannot be on a circle.
    let mut left = arrows.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.values_mut()
            .for_each(|to| to.retain(|name| names.contains(name)));
        left.retain(|_, to| !to.is_empty());
        if left.len() == names.len() {
            break;
        }
    }
    let mut path = vec![left.keys().next()?.clone()];
    loop {
        let next = left[path.last()?].first()?.clone();
        if let Some(start) = path.iter().position(|name| *name == next) {
            path.push(next);
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

#[test]
fn arrows_against_the_picture_are_found() {
    let picture =
        "```text\n cli\nrun | bench\nfamilies\ndata\n\nsideways: bench -> run, run -> never\n```\n";
    let layers = Layers::parse(
        &format!("{MARKER}\n{picture}"),
        vec!["a".into(), "z".into()],
    );
    let wrong = |from: &str, text: &str| -> Vec<Option<&str>> {
        let from: Vec<String> = from.split("::").map(String::from).collect();
        (arrows(&from, &tokens(text)).iter())
            .map(|arrow| layers.wrong(arrow))
            .collect()
    };
    assert_eq!(wrong("cli", "use crate::{data, run::a};"), [None, None]);
    assert_eq!(
        wrong("data::read", "use super::super::run;"),
        [Some("runs up")]
    );
    assert_eq!(wrong("bench", "use crate::run;"), [None]);
    assert_eq!(wrong("run", "use crate::bench;"), [Some("runs sideways")]);
    let unknown = Some("joins rooms that are not in the picture");
    assert_eq!(wrong("run", "use crate::attic;"), [unknown]);
    assert!(wrong("run", "use crate::*;")[0].is_some());
    let text = "use crate::families::{a::b, open};";
    assert!(wrong("run", text)[0].is_some_and(|problem| problem.contains("names a family")));
    assert_eq!(wrong("run", text)[1], None);
    assert_eq!(wrong("bench", text), [None, None]);
    assert_eq!(
        wrong("families::a::b", "use super::c; use crate::data;"),
        [None, None]
    );
    assert!(wrong("families::a::b", "use super::super::z;")[0].is_some());
    assert!(wrong("families::a::mod", "use crate::families::open;")[0].is_some());
    assert_eq!(wrong("families::mod", "use self::a::x;"), [None]);
}

#[test]
fn circles_are_found() {
    let map = |pairs: &[(&str, &str)]| {
        let mut map: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            map.entry((*from).into()).or_default().insert((*to).into());
        }
        map
    };
    assert_eq!(circle(&map(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&map(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]));
    assert_eq!(found.unwrap(), ["b", "c", "b"]);
}
