//! What the kernels take of a multiprocessor, beside what was accepted: `kernels/budget.csv`.
//!
//! ptxas reports registers, spills and shared memory when `build.rs` compiles the kernels. A spill that is
//! new, or registers that leave room for fewer warps, fail here; `make budget` accepts them.

use std::collections::BTreeMap;
use std::path::Path;

/// What ptxas reports of a kernel on an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resources {
    registers: u32,
    spilled: u32,
    stack: u32,
    shared: u32,
}

/// The compiler that reported, and resources by kernel and architecture.
type Table = (String, BTreeMap<(String, String), Resources>);

fn parse(text: &str) -> Table {
    let mut lines = text.lines();
    let compiler = lines.next().unwrap_or_default().to_string();
    let rows = lines.skip(1).map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |i: usize| fields[i].parse::<u32>().unwrap();
        let resources = Resources {
            registers: number(2),
            spilled: number(3) + number(4),
            stack: number(5),
            shared: number(6),
        };
        ((fields[0].into(), fields[1].into()), resources)
    });
    (compiler, rows.collect())
}

/// Warps that fit on a multiprocessor of 65 536 registers, which a warp takes by 256.
fn warps(registers: u32) -> u32 {
    (65_536 / (registers.max(1).next_multiple_of(8) * 32)).min(64)
}

/// Kernels that are new or gone, a line each: that depends on no compiler.
fn other_kernels(found: &Table, accepted: &Table) -> Vec<String> {
    let missing = |of: &Table, there: &Table, what: &str| -> Vec<String> {
        let names = of.1.keys().filter(|name| !there.1.contains_key(*name));
        names
            .map(|(kernel, architecture)| format!("{kernel} on {architecture} is {what}"))
            .collect()
    };
    [
        missing(found, accepted, "new"),
        missing(accepted, found, "gone"),
    ]
    .concat()
}

/// What is worse than was accepted, a line each.
fn worse(found: &Table, accepted: &Table) -> Vec<String> {
    let mut complaints = other_kernels(found, accepted);
    for ((kernel, architecture), now) in &found.1 {
        let name = format!("{kernel} on {architecture}");
        let Some(then) = accepted.1.get(&(kernel.clone(), architecture.clone())) else {
            continue;
        };
        for (what, now, then) in [
            ("bytes of spills", now.spilled, then.spilled),
            ("bytes of stack", now.stack, then.stack),
            ("bytes of fixed shared memory", now.shared, then.shared),
        ] {
            if now > then {
                complaints.push(format!("{name}: {now} {what} instead of {then}"));
            }
        }
        if warps(now.registers) < warps(then.registers) {
            complaints.push(format!(
                "{name}: {} registers instead of {}, so {} warps fit instead of {}",
                now.registers,
                then.registers,
                warps(now.registers),
                warps(then.registers)
            ));
        }
    }
    complaints
}

/// The compiler that `make cuda` brings, as a table names it.
fn pinned() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cuda-requirements.txt");
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let version = lines.find_map(|line| line.strip_prefix("nvidia-cuda-nvcc=="));
    format!("# nvcc V{}", version.unwrap())
}

#[test]
fn kernels_take_what_was_accepted() {
    let found = include_str!(concat!(env!("OUT_DIR"), "/resources.csv"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/budget.csv");
    if std::env::var("SARM_BUDGET").as_deref() == Ok("write") {
        std::fs::write(&file, found).unwrap();
    }
    let accepted = std::fs::read_to_string(&file).unwrap();
    let (found, accepted) = (parse(found), parse(&accepted));
    assert_eq!(
        accepted.0,
        pinned(),
        "kernels/budget.csv is not by the compiler of scripts/cuda-requirements.txt; `make budget` with that one writes it anew"
    );
    // Another compiler allocates registers in another way: only the one of `make cuda` is held to them.
    let complaints = match found.0 == accepted.0 {
        true => worse(&found, &accepted),
        false => other_kernels(&found, &accepted),
    };
    assert!(
        complaints.is_empty(),
        "kernels take more than kernels/budget.csv accepts; `make budget` accepts it\n{}",
        complaints.join("\n")
    );
}

/// build.rs has a list of them, and cargo does not run it for a file that is new.
#[test]
fn every_kernel_file_is_compiled() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let table = include_str!(concat!(env!("OUT_DIR"), "/kernels.rs"));
    let mut found = 0;
    for folder in std::fs::read_dir(&kernels).unwrap() {
        let folder = folder.unwrap().path();
        // `emulation/` has none of its own, but folders of them.
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|x| x == "cu") {
                let inside = path.strip_prefix(&kernels).unwrap().with_extension("");
                assert!(
                    table.contains(&format!("name: {:?},", inside.to_str().unwrap())),
                    "{} is not in SOURCES of build.rs",
                    path.display()
                );
                found += 1;
            }
        }
    }
    assert_eq!(found, table.matches("Image { name: ").count());
}

#[test]
fn what_is_worse_is_seen() {
    let table = |rows: &str| parse(&format!("# nvcc V1\nkernel,..\n{rows}"));
    let then = table("a,sm_80,64,0,0,0,0\nb,sm_80,40,8,8,16,0\n");
    let complaints = |rows: &str| worse(&table(rows), &then).join("; ");
    assert_eq!(complaints("a,sm_80,64,0,0,0,0\nb,sm_80,40,8,8,16,0\n"), "");
    // Fewer of anything, and registers within what a warp is given anyway.
    assert_eq!(complaints("a,sm_80,57,0,0,0,0\nb,sm_80,40,0,0,0,0\n"), "");
    let cases = [
        (
            "a,sm_80,64,4,4,0,0\nb,sm_80,40,8,8,16,0\n",
            "8 bytes of spills instead of 0",
        ),
        (
            "a,sm_80,65,0,0,0,0\nb,sm_80,40,8,8,16,0\n",
            "28 warps fit instead of 32",
        ),
        (
            "a,sm_80,64,0,0,0,0\nb,sm_80,40,8,8,24,0\n",
            "24 bytes of stack instead of 16",
        ),
        (
            "a,sm_80,64,0,0,0,9\nb,sm_80,40,8,8,16,0\n",
            "fixed shared memory instead of 0",
        ),
        ("a,sm_80,64,0,0,0,0\n", "b on sm_80 is gone"),
        (
            "a,sm_80,64,0,0,0,0\nb,sm_80,40,8,8,16,0\nb,sm_90a,40,0,0,0,0\n",
            "b on sm_90a is new",
        ),
    ];
    // By another compiler, what it allocates is not compared, and which kernels there are is.
    let others = |rows: &str| other_kernels(&table(rows), &then).join("; ");
    assert_eq!(others("a,sm_80,99,9,9,9,9\nb,sm_80,40,8,8,16,0\n"), "");
    assert_eq!(
        others("a,sm_80,64,0,0,0,0\nc,sm_80,40,8,8,16,0\n"),
        "c on sm_80 is new; b on sm_80 is gone"
    );
    for (rows, words) in cases {
        assert!(
            complaints(rows).contains(words),
            "{rows}: {}",
            complaints(rows)
        );
    }
}
