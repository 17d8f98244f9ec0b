//! Numbers that kernels and host both know.

use std::sync::Arc;

use sarm::device::cuda::device::{Address, Device, Launch};
use sarm::device::cuda::ops::constants as of_all;
use sarm::families::sarm::cuda::ops::constants as of_sarm;
use sarm::nn::adam::{BETA_1, BETA_2, EPSILON};
use sarm::random::{Purpose, unit, words};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};

/// Cases of `kernels/common/constants.cu` and `kernels/sarm/constants.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    // Of no interest to a bench.
    if size == Size::Full {
        return Vec::new();
    }
    let case =
        |folder: &str, launch: fn(Address) -> Launch, known: Vec<(&'static str, f64)>| Case {
            name: format!("constants/{folder}"),
            prepare: Box::new(move |device| prepare(device, launch, &known)),
        };
    vec![
        case("common", of_all::common_constants, known_to_all()),
        case("sarm", of_sarm::sarm_constants, of_sarm::constants()),
    ]
}

/// What `kernels/common/` shares with the host, in the order of `constants.cu`.
fn known_to_all() -> Vec<(&'static str, f64)> {
    let random = words(1 | 2 << 32, Purpose::Draw, 3 << 32 | 4, 5);
    vec![
        ("BETA_1", BETA_1.into()),
        ("BETA_2", BETA_2.into()),
        ("EPSILON", EPSILON.into()),
        ("Purpose::Draw", f64::from(Purpose::Draw as u32)),
        ("unit of the largest word", unit(u32::MAX).into()),
        ("unit of the smallest word", unit(0).into()),
        ("first random word", random[0].into()),
        ("second random word", random[1].into()),
        ("third random word", random[2].into()),
    ]
}

/// What each is more in the kernels than here: nothing, to the last bit. One more number than is known must stay as it was: else
/// the kernel knows more.
fn prepare(
    device: &Arc<dyn Device>,
    launch: fn(Address) -> Launch,
    known: &[(&'static str, f64)],
) -> Prepared {
    let numbers = Arc::new(poisoned::<f64>(device, known.len() + 1));
    let nothing = |name, read: Box<dyn Fn() -> Vec<f64>>| Output {
        name,
        read,
        exact: vec![0.0],
        naive: vec![0.0],
        differences: Vec::new(),
    };
    let mut outputs = Vec::new();
    for (i, (name, here)) in known.iter().copied().enumerate() {
        let numbers = Arc::clone(&numbers);
        let more = move || vec![numbers.to_vec().unwrap()[i] - here];
        outputs.push(nothing(name, Box::new(more)));
    }
    let (last, behind) = (known.len(), Arc::clone(&numbers));
    let written = move || vec![f64::from(!behind.to_vec().unwrap()[last].is_nan())];
    outputs.push(nothing(
        "a number that only the kernel knows",
        Box::new(written),
    ));
    Prepared {
        launches: vec![launch(numbers.address())],
        outputs,
        demand: Demand::default(),
        memory: Vec::new(),
    }
}
