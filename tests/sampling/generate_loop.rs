//! The generation loop with a toy sampler: nothing lost, nothing twice, wherever a run was cut.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sarm::data::{Dataset, Layout, ReadOptions, SparseImages, describe, read};
use sarm::family::EngineError;
use sarm::family::Sampler;
use sarm::run::generate::{Ending, GenerateError, GeneratePlan, Outcome, generate};
use sarm::run::identity::Identity;
use sarm::run::journal::Journal;

const SIDE: usize = 5;

/// Image `i` depends on seed and `i` alone; some images are empty.
struct Toy {
    seed: u64,
    block: usize,
    fail_at: u64,
    /// Ranges that were announced, and those asked for since.
    announced: Vec<(u64, usize)>,
    asked: Vec<(u64, usize)>,
}

impl Sampler for Toy {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        self.asked.push((first, count));
        let mut images = SparseImages::new(SIDE, SIDE).unwrap();
        for i in first..first + count as u64 {
            if i >= self.fail_at {
                return Err(EngineError::Device("the toy broke".into()));
            }
            let mut x = (i ^ (self.seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let keep = x >> 60;
            images.push((0..(SIDE * SIDE) as u16).filter_map(|p| {
                x = x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                ((x >> 60) > keep).then_some((p, 1.0 + (x >> 40) as f32))
            }));
        }
        Ok(images)
    }

    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        self.announced.push((first, count));
        match first + count as u64 > self.fail_at {
            true => Err(EngineError::Device("the toy broke ahead".into())),
            false => Ok(()),
        }
    }

    fn preferred_count(&self) -> usize {
        self.block
    }
}

fn toy() -> Toy {
    Toy {
        seed: 7,
        block: 13,
        fail_at: u64::MAX,
        announced: Vec::new(),
        asked: Vec::new(),
    }
}

fn plan(out: &Path, layout: Layout) -> GeneratePlan {
    let identity = Identity {
        model: [3; 32],
        condition: [0; 32],
        seed: 7,
        first: 1000,
        count: 100,
        height: SIDE as u32,
        width: SIDE as u32,
        arithmetic: "float32".into(),
    };
    let mut plan = GeneratePlan::new(out, identity, layout);
    plan.constants.insert("signal".into(), 1.0);
    plan
}

fn observables(
    first: u64,
    images: &SparseImages,
) -> Result<BTreeMap<String, Vec<f32>>, EngineError> {
    let sums = images.iter().map(|(_, v)| v.iter().sum()).collect();
    let numbers = (first..).take(images.len()).map(|i| i as f32).collect();
    Ok(BTreeMap::from([
        ("jet_pt".into(), sums),
        ("number".into(), numbers),
    ]))
}

fn run(plan: &GeneratePlan) -> Result<Outcome, GenerateError> {
    generate(plan, &mut toy(), &observables, &mut |_| {
        ControlFlow::Continue(())
    })
}

fn resumed(plan: &GeneratePlan) -> GeneratePlan {
    GeneratePlan {
        resume: true,
        ..plan.clone()
    }
}

/// Stop after about `images`.
fn stop_after(plan: &GeneratePlan, images: u64) -> Outcome {
    generate(
        plan,
        &mut toy(),
        &observables,
        &mut |p| match p.done >= images {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        },
    )
    .unwrap()
}

fn content(path: &Path) -> Dataset {
    let columns = ["jet_pt", "number", "signal"].map(String::from).to_vec();
    let options = ReadOptions {
        columns,
        ..Default::default()
    };
    read(path, &options).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn assert_same(path: &Path, whole: &Dataset, what: &str) {
    let found = content(path);
    assert_eq!(found.images, whole.images, "{what}");
    assert_eq!(found.columns, whole.columns, "{what}");
}

struct Case {
    dir: tempfile::TempDir,
    out: PathBuf,
}

fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.h5");
    Case { dir, out }
}

#[test]
fn a_run_writes_what_the_sampler_draws() {
    for layout in [Layout::Dense, Layout::Sparse] {
        let c = case();
        let outcome = run(&plan(&c.out, layout)).unwrap();
        assert_eq!(
            (outcome.ending, outcome.drawn, outcome.replayed),
            (Ending::Complete, 100, 0)
        );
        let found = content(&c.out);
        assert_eq!(found.images, toy().sample(1000, 100).unwrap());
        assert_eq!(found.columns["number"][99], 1099.0);
        assert!(found.columns["signal"].iter().all(|s| *s == 1.0));
        assert_eq!(names(c.dir.path()), ["out.h5"], "nothing else is left");
        let about = describe(&c.out).unwrap();
        assert_eq!(about.attributes["seed"].to_string(), "7");
        assert_eq!(about.attributes["first_image"].to_string(), "1000");
        assert_eq!(
            about.attributes["model_sha256"].to_string(),
            "03".repeat(32)
        );
        assert_eq!(about.layout, Some(layout));
    }
}

#[test]
fn the_file_does_not_depend_on_blocks_or_resuming() {
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    run(&plan).unwrap();
    // Not the bytes: HDF5's object headers carry the second in which they were made.
    let attributes = || describe(&c.out).unwrap().attributes;
    let (whole, about) = (content(&c.out), attributes());
    fs::remove_file(&c.out).unwrap();
    stop_after(&plan, 40);
    let mut other = Toy { block: 9, ..toy() };
    generate(&resumed(&plan), &mut other, &observables, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_same(&c.out, &whole, "other blocks, and resumed");
    assert_eq!(attributes(), about);
}

/// A device draws one block ahead, and nothing in vain but after a stop.
#[test]
fn what_is_announced_is_asked_for_next() {
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    // The toy's blocks until `images` are done, checked.
    let run = |plan: &GeneratePlan, mut toy: Toy, images: u64| {
        generate(
            plan,
            &mut toy,
            &observables,
            &mut |p| match p.done >= images {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
        )
        .unwrap();
        let asked = toy.asked.len();
        assert_eq!(toy.announced[..asked], toy.asked[..]);
        toy
    };
    let toy = run(&plan, self::toy(), 40);
    assert_eq!(toy.asked, [(1000, 13), (1013, 13), (1026, 13), (1039, 13)]);
    assert_eq!(toy.announced[4..], [(1052, 13)], "one ahead");
    let toy = run(
        &resumed(&plan),
        Toy {
            block: 20,
            ..self::toy()
        },
        200,
    );
    assert_eq!(toy.asked, [(1052, 20), (1072, 20), (1092, 8)]);
    assert_eq!(toy.announced, toy.asked, "nothing beyond the end");
    // A run of one block, of none, and one that is stopped before it starts.
    for (count, stop, asked) in [(5, 200, 1), (0, 200, 0), (50, 0, 0)] {
        let mut plan = plan.clone();
        plan.force = true;
        plan.identity.count = count;
        let toy = run(&plan, self::toy(), stop);
        assert_eq!((toy.asked.len(), toy.announced.len()), (asked, asked));
    }
}

/// All that is announced is announced before what is in front of it is asked for.
#[test]
fn blocks_are_announced_one_ahead() {
    struct Ahead(Toy);
    impl Sampler for Ahead {
        fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
            let images = self.0.sample(first, count);
            let last = first + count as u64 == 1100;
            let ahead = self.0.announced.len() - self.0.asked.len();
            assert_eq!(ahead, usize::from(!last), "at {first}");
            images
        }
        fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
            self.0.announce(first, count)
        }
        fn preferred_count(&self) -> usize {
            self.0.preferred_count()
        }
    }
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    let mut sampler = Ahead(toy());
    generate(&plan, &mut sampler, &observables, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(sampler.0.asked.len(), 8);
}

#[test]
fn resuming_at_every_cut_of_the_journal_gives_the_uninterrupted_run() {
    for layout in [Layout::Dense, Layout::Sparse] {
        let c = case();
        run(&plan(&c.out, layout)).unwrap();
        let whole = content(&c.out);
        fs::remove_file(&c.out).unwrap();
        let plan = plan(&c.out, layout);
        let journal = Journal::path_for(&c.out);
        let outcome = stop_after(&plan, 60);
        assert_eq!(outcome.ending, Ending::Interrupted);
        assert_eq!(names(c.dir.path()), ["out.h5.partial"]);
        let bytes = fs::read(&journal).unwrap();
        // Every byte of the header and around the ends of blocks, and a stride of the rest.
        let cuts = (0..200)
            .chain((200..bytes.len()).step_by(37))
            .chain([bytes.len()]);
        for cut in cuts {
            fs::write(&journal, &bytes[..cut]).unwrap();
            let outcome = run(&resumed(&plan)).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            assert_eq!(outcome.drawn + outcome.replayed, 100);
            assert_same(&c.out, &whole, &format!("cut at {cut}"));
            assert_eq!(names(c.dir.path()), ["out.h5"]);
            fs::remove_file(&c.out).unwrap();
        }
    }
}

#[test]
fn flipped_bits_are_found() {
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    run(&plan).unwrap();
    let whole = content(&c.out);
    fs::remove_file(&c.out).unwrap();
    stop_after(&plan, 60);
    let journal = Journal::path_for(&c.out);
    let bytes = fs::read(&journal).unwrap();
    let (mut refused, mut redone) = (0, 0);
    for at in (0..160).chain((160..bytes.len()).step_by(41)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&journal, &damaged).unwrap();
        match run(&resumed(&plan)) {
            Ok(outcome) => {
                assert!(outcome.replayed < 60, "byte {at} was not noticed");
                assert_same(&c.out, &whole, &format!("bit of byte {at}"));
                fs::remove_file(&c.out).unwrap();
                redone += 1;
            }
            Err(GenerateError::Journal(e)) => {
                assert!(e.to_string().contains("--force"), "{e}");
                assert!(!c.out.exists());
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
        fs::remove_file(&journal).ok();
    }
    assert!(refused >= 100 && redone > 50, "{refused} {redone}");
}

#[test]
fn interrupted_again_and_again() {
    let c = case();
    run(&plan(&c.out, Layout::Dense)).unwrap();
    let whole = content(&c.out);
    fs::remove_file(&c.out).unwrap();
    let plan = resumed(&plan(&c.out, Layout::Dense));
    let mut done = 0;
    while stop_after(&plan, done + 1).ending == Ending::Interrupted {
        done += 5;
    }
    assert_same(&c.out, &whole, "many stops");
}

#[test]
fn a_failing_sampler_leaves_what_was_drawn() {
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    let mut broken = Toy {
        fail_at: 1050,
        ..toy()
    };
    let error = generate(&plan, &mut broken, &observables, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap_err();
    // It was heard when the block before was asked for, which is not lost.
    assert!(error.to_string().contains("toy broke ahead"));
    assert_eq!(names(c.dir.path()), ["out.h5.partial"]);
    let outcome = run(&resumed(&plan)).unwrap();
    assert_eq!((outcome.replayed, outcome.drawn), (39, 61));
    assert_eq!(content(&c.out).images, toy().sample(1000, 100).unwrap());
}

#[test]
fn what_is_there_already() {
    let c = case();
    let plan = plan(&c.out, Layout::Dense);
    let message = |p: &GeneratePlan| run(p).unwrap_err().to_string();
    // An unfinished run.
    stop_after(&plan, 20);
    assert!(message(&plan).contains("--resume"));
    let mut other = resumed(&plan);
    other.identity.seed = 8;
    other.identity.count = 90;
    let why = message(&other);
    assert!(
        why.contains("seed 7 instead of 8") && why.contains("count 100 instead of 90"),
        "{why}"
    );
    let mut forced = plan.clone();
    forced.force = true;
    assert_eq!(run(&forced).unwrap().replayed, 0);
    // A finished one.
    assert!(message(&plan).contains("exists"));
    let before = fs::metadata(&c.out).unwrap().modified().unwrap();
    assert_eq!(
        run(&resumed(&plan)).unwrap().ending,
        Ending::AlreadyComplete
    );
    assert_eq!(fs::metadata(&c.out).unwrap().modified().unwrap(), before);
    assert!(message(&other).contains("seed 7 instead of 8"));
    assert_eq!(run(&forced).unwrap().drawn, 100);
    assert_eq!(names(c.dir.path()), ["out.h5"]);
    // Somebody else's file in the journal's place.
    fs::remove_file(&c.out).unwrap();
    fs::write(Journal::path_for(&c.out), "my notes").unwrap();
    assert!(message(&plan).contains("--force"));
    assert!(message(&resumed(&plan)).contains("does not start as a journal"));
    assert_eq!(fs::read(Journal::path_for(&c.out)).unwrap(), b"my notes");
}

/// Another kind of device draws other images: they are not mixed, in neither stage of a run.
#[test]
fn another_arithmetic_is_another_run() {
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    let mut card = resumed(&plan);
    card.identity.arithmetic = "bf16, sm_90".into();
    stop_after(&plan, 20);
    let refused = || {
        let said = run(&card).unwrap_err().to_string();
        for words in [
            "arithmetic float32 instead of bf16, sm_90",
            "cpu for float32, cuda for bf16",
            "--force",
        ] {
            assert!(said.contains(words), "{said}");
        }
    };
    refused();
    assert_eq!(run(&resumed(&plan)).unwrap().replayed, 26);
    let about = describe(&c.out).unwrap();
    assert_eq!(about.attributes["arithmetic"].to_string(), "float32");
    refused();
    // A journal of the card's own goes on; one of a name that it cannot hold whole does not.
    for (name, goes_on) in [("bf16, sm_90", true), (&*"long".repeat(9), false)] {
        let mut plan = plan.clone();
        plan.out = c.dir.path().join(format!("{}.h5", name.len()));
        plan.identity.arithmetic = name.into();
        stop_after(&plan, 20);
        assert_eq!(run(&resumed(&plan)).is_ok(), goes_on, "{name}");
    }
}

#[test]
fn a_journal_of_an_older_version_is_refused() {
    let c = case();
    let plan = plan(&c.out, Layout::Sparse);
    stop_after(&plan, 20);
    let journal = Journal::path_for(&c.out);
    let mut bytes = fs::read(&journal).unwrap();
    bytes[8] = 1;
    fs::write(&journal, &bytes).unwrap();
    let said = run(&resumed(&plan)).unwrap_err().to_string();
    assert!(
        said.contains("its version is 1") && said.contains("--force"),
        "{said}"
    );
    assert!(fs::read(&journal).unwrap() == bytes);
}

#[test]
fn a_stale_journal_beside_a_finished_output_goes() {
    let c = case();
    let plan = plan(&c.out, Layout::Dense);
    stop_after(&plan, 20);
    let journal = fs::read(Journal::path_for(&c.out)).unwrap();
    run(&resumed(&plan)).unwrap();
    fs::write(Journal::path_for(&c.out), journal).unwrap();
    assert_eq!(
        run(&resumed(&plan)).unwrap().ending,
        Ending::AlreadyComplete
    );
    assert_eq!(names(c.dir.path()), ["out.h5"]);
}

#[test]
fn two_runs_on_one_output() {
    let c = case();
    let plan = plan(&c.out, Layout::Dense);
    let mut inner = None;
    generate(&plan, &mut toy(), &observables, &mut |_| {
        let mut second = resumed(&plan);
        second.force = true;
        inner.get_or_insert_with(|| run(&second).unwrap_err().to_string());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(inner.unwrap().contains("in use"));
    assert_eq!(content(&c.out).images.len(), 100);
}

#[test]
fn odd_ranges() {
    let c = case();
    let mut empty = plan(&c.out, Layout::Sparse);
    empty.identity.count = 0;
    assert_eq!(run(&empty).unwrap().ending, Ending::Complete);
    assert_eq!(describe(&c.out).unwrap().images, Some(0));
    let mut last = plan(&c.dir.path().join("b.h5"), Layout::Sparse);
    last.identity.first = u64::MAX;
    assert!(matches!(run(&last), Err(GenerateError::Range { .. })));
    // A directory that is not there, and no trace of the try.
    let nowhere = plan(&c.dir.path().join("no/b.h5"), Layout::Dense);
    assert!(
        run(&nowhere)
            .unwrap_err()
            .to_string()
            .contains("check the path")
    );
}
