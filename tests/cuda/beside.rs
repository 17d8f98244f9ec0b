//! What a device does beside its work: marks, page-locked memory, copies past the stream.
//!
//! On the emulation of a card, one that does nothing before it is waited for among them; with
//! `SARM_TEST_DEVICE=cuda` and feature `cuda` on the card itself; by way of the driver's imitation in a child.

#[cfg(feature = "cuda")]
use crate::driver;
use std::sync::Arc;

use crate::devices::{Failing, under_test};
use crate::emulation::Emulation;
use crate::support::common::{CONFIGS, data, model};
use sarm::device::cuda::device::{Device, HostMemory, Memory};
use sarm::families::sarm::Engine;
use sarm::families::sarm::cuda::CudaEngine;

/// What `memory` holds now, without waiting.
fn peek(device: &Arc<dyn Device>, memory: &Memory<u8>, host: &mut dyn HostMemory) -> Vec<u8> {
    let to = &mut host.bytes_mut()[..memory.len()];
    // SAFETY: the memory is this long.
    unsafe { device.read_aside(memory.address(), to).unwrap() };
    host.bytes()[..memory.len()].to_vec()
}

fn marks_are_behind_what_was_asked_for(device: &Arc<dyn Device>) {
    let mut host = device.host_memory(1000).unwrap();
    assert_eq!(host.bytes(), [0; 1000]);
    let mut memory = Memory::<u8>::zeros(device, 1000).unwrap();
    let other = Memory::<u8>::zeros(device, 5).unwrap();
    let marks: Vec<_> = (0..5)
        .map(|round| {
            memory.write(0, &[round; 1000]).unwrap();
            memory.fill(10 + round).unwrap();
            memory.write(500, &[round; 500]).unwrap();
            other.fill(round).unwrap();
            device.mark().unwrap()
        })
        .collect();
    // In any order, again, and from another thread.
    for round in [4, 1, 4] {
        let mark = &marks[round];
        mark.wait().unwrap();
    }
    std::thread::scope(|scope| {
        let marks = marks;
        scope.spawn(move || marks[0].wait().unwrap());
    });
    let found = peek(device, &memory, host.as_mut());
    assert_eq!(found, [[14; 500], [4; 500]].concat());
    assert_eq!(peek(device, &other, host.as_mut()), [4; 5]);
    // Nothing at all is no copy.
    let empty = Memory::<u8>::zeros(device, 0).unwrap();
    assert!(peek(device, &empty, host.as_mut()).is_empty());
    assert!(device.host_memory(0).unwrap().bytes().is_empty());
}

#[test]
fn marks_memory_and_copies_of_a_device() {
    marks_are_behind_what_was_asked_for(&under_test());
    marks_are_behind_what_was_asked_for(&Emulation::late().device());
}

/// Who forgets to wait must notice it: the emulation is of use for that alone.
#[test]
fn a_late_device_does_what_is_waited_for_and_no_more() {
    let device = Emulation::late().device();
    let mut host = device.host_memory(3).unwrap();
    let memory = Memory::<u8>::zeros(&device, 3).unwrap();
    memory.fill(1).unwrap();
    let mark = device.mark().unwrap();
    memory.fill(2).unwrap();
    assert_eq!(peek(&device, &memory, host.as_mut()), [0xFF; 3]);
    mark.wait().unwrap();
    assert_eq!(peek(&device, &memory, host.as_mut()), [1; 3]);
    assert_eq!(memory.to_vec().unwrap(), [2; 3]);
}

/// Also what fails is found late, and stays.
#[test]
fn failures_come_out_where_they_are_waited_for() {
    let device = Emulation::late().device();
    let launch = sarm::device::cuda::device::Launch::new("no_such_kernel", 1, 32, &0u32);
    let before = device.mark().unwrap();
    // SAFETY: there is no such kernel.
    unsafe { device.launch(&launch).unwrap() };
    let behind = device.mark().unwrap();
    before.wait().unwrap();
    let problem = behind.wait().unwrap_err().to_string();
    assert!(problem.contains("no_such_kernel"), "{problem}");
    assert_eq!(device.synchronise().unwrap_err().to_string(), problem);
}

#[test]
fn an_engine_gives_the_same_on_a_late_device() {
    let (toml, height, width) = CONFIGS[0];
    let model = model(toml, height, width, 1, 0.3);
    let data = data(&model, 41, 5, 0.3);
    let score = |device| {
        let engine = CudaEngine::new(device);
        engine.score(&model, Arc::clone(&data)).unwrap()
    };
    assert_eq!(
        score(Emulation::late().device()),
        score(Emulation::new().device())
    );
}

#[test]
fn a_lost_device_fails_here_too() {
    for calls in 0..5 {
        let device = Failing::after(Emulation::new().device(), calls);
        let all = || {
            let mut host = device.host_memory(1)?;
            let memory = device.allocate(1)?;
            device.mark()?.wait()?;
            // SAFETY: there is one byte.
            let read = unsafe { device.read_aside(memory, host.bytes_mut()) };
            // SAFETY: allocated above, and used no more.
            unsafe { device.release(memory) };
            read
        };
        assert!(all().unwrap_err().to_string().contains("lost"), "{calls}");
    }
}

/// The driver's side, on an imitation of the driver: the first test of this file in a child.
#[cfg(feature = "cuda")]
#[test]
fn the_driver_marks_and_copies() {
    let run = |machine: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "beside::marks_memory_and_copies_of_a_device"])
            .env("LD_LIBRARY_PATH", driver::folder())
            .env("SARM_IMITATION", machine)
            .env("SARM_TEST_DEVICE", "cuda")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    };
    let (passed, said) = run("");
    assert!(passed && said.contains("1 passed"), "{said}");
    // The card itself uses page-locked memory and events before the test does.
    for (call, code, words) in [
        ("cuMemHostAlloc:2", 2, "page-locked"),
        ("cuStreamCreate:2", 2, "cuStreamCreate"),
        ("cuEventRecord:9", 719, "LAUNCH_FAILED"),
        ("cuEventSynchronize:12", 700, "cuEventSynchronize"),
        ("cuMemcpyDtoHAsync_v2:1", 214, "cuMemcpyDtoHAsync"),
    ] {
        let (passed, said) = run(&format!("fail={call}:{code}"));
        assert!(!passed && said.contains(words), "{call}: {said}");
    }
}
