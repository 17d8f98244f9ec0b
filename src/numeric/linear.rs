//! Systems of a few linear equations.

/// X of A X = B, A symmetric and positive definite; each equation is a row of A with one of B, of N numbers, behind it.
pub fn solve<const N: usize>(mut equations: Vec<Vec<f64>>) -> Vec<[f64; N]> {
    let n = equations.len();
    for i in 0..n {
        let pivot = equations[i].clone();
        for (j, equation) in equations.iter_mut().enumerate() {
            if j != i {
                let factor = equation[i] / pivot[i];
                equation
                    .iter_mut()
                    .zip(&pivot)
                    .for_each(|(e, p)| *e -= factor * p);
            }
        }
    }
    let solution =
        |(i, equation): (usize, &Vec<f64>)| std::array::from_fn(|m| equation[n + m] / equation[i]);
    equations.iter().enumerate().map(solution).collect()
}
