//! Models small enough to ship: weights as bfloat16, masked ones left out (docs/formats.md).

use half::bf16;

use super::TensorSpec;

/// The weights of a tensor that are not masked, row after row, rounded to the nearest bfloat16.
pub fn pack(spec: &TensorSpec, values: &[f32]) -> Vec<bf16> {
    let rows = values.chunks(spec.columns().max(1)).enumerate();
    rows.flat_map(|(row, values)| &values[..spec.read(row)])
        .map(|v| bf16::from_f32(*v))
        .collect()
}

/// What [`pack`] has packed: the whole tensor, masked weights 0. `None` if it is not as long as `spec` says.
pub fn unpack(spec: &TensorSpec, packed: &[bf16]) -> Option<Vec<f32>> {
    if packed.len() != spec.unmasked() {
        return None;
    }
    let mut values = vec![0.0; spec.size()];
    let mut rest = packed;
    for (row, values) in values.chunks_mut(spec.columns().max(1)).enumerate() {
        let (here, after) = rest.split_at(spec.read(row));
        for (to, from) in values.iter_mut().zip(here) {
            *to = from.to_f32();
        }
        rest = after;
    }
    Some(values)
}
