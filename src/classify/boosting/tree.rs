//! One tree, grown leaf by leaf where the loss falls most (as LightGBM and scikit-learn grow theirs).

use rayon::prelude::*;

use super::bins::{BINS, Binned, Bins};

/// How a tree is grown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Growth {
    /// The most leaves.
    pub leaves: usize,
    /// The fewest events of a leaf.
    pub events: usize,
    /// Added to the sum of second derivatives of a leaf.
    pub ridge: f64,
    /// What the values of leaves are multiplied by.
    pub rate: f64,
}

/// First and second derivative of the loss by the score of an event.
pub(super) type Slope = [f32; 2];

/// Sums over events.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    first: f64,
    second: f64,
    events: u32,
}

impl Sums {
    fn add(&mut self, slope: Slope) {
        self.first += f64::from(slope[0]);
        self.second += f64::from(slope[1]);
        self.events += 1;
    }

    fn plus(self, other: Self) -> Self {
        Self {
            first: self.first + other.first,
            second: self.second + other.second,
            events: self.events + other.events,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            first: self.first - other.first,
            second: self.second - other.second,
            events: self.events.saturating_sub(other.events),
        }
    }

    /// Twice what the loss falls by when these events get the best common value.
    fn score(self, ridge: f64) -> f64 {
        self.first * self.first / (self.second + ridge)
    }
}

/// Events of bin `bin` of column `column` and below go left.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    column: usize,
    bin: u8,
    gain: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Leaf(f64),
    Inner { split: Split, children: [usize; 2] },
}

/// A grown tree; its first node is the root.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// A leaf while the tree grows.
struct Growing {
    node: usize,
    /// Its events are `order[start .. end]`.
    start: usize,
    end: usize,
    sums: Sums,
    /// `[columns * BINS]`.
    histogram: Vec<Sums>,
    best: Option<Split>,
}

impl Tree {
    /// Grow on the events of `binned`, whose `slopes` say where the loss falls; `scores` get the new tree's values.
    ///
    /// Every sum runs over events in their order, one column a task: the tree is the same for any number of threads.
    pub fn grow(
        binned: &Binned,
        bins: &Bins,
        slopes: &[Slope],
        growth: &Growth,
        scores: &mut [f64],
    ) -> Self {
        let mut order: Vec<u32> = (0..slopes.len() as u32).collect();
        let mut sums = Sums::default();
        slopes.iter().for_each(|slope| sums.add(*slope));
        let mut nodes = vec![Node::Leaf(0.0)];
        let mut leaves = vec![Growing::of(
            0,
            (0, slopes.len()),
            sums,
            histogram(binned, &order, slopes),
            bins,
            growth,
        )];
        while leaves.len() < growth.leaves {
            // The first of the best.
            let best = (leaves.iter().enumerate())
                .filter_map(|(place, leaf)| leaf.best.map(|split| (place, split)))
                .reduce(|a, b| if b.1.gain > a.1.gain { b } else { a });
            let Some((place, split)) = best else { break };
            let parent = leaves.swap_remove(place);
            let column = &binned[split.column];
            let part = &mut order[parent.start..parent.end];
            let left = partition(part, |event| column[event as usize] <= split.bin);
            let middle = parent.start + left;
            let places = [(parent.start, middle), (middle, parent.end)];
            // The smaller side is counted, the other one is what is left of the parent.
            let small = usize::from(left > parent.end - middle);
            let (start, end) = places[small];
            let counted = histogram(binned, &order[start..end], slopes);
            let mut rest = parent.histogram;
            rest.par_iter_mut()
                .zip(&counted)
                .with_min_len(16 * BINS)
                .for_each(|(rest, counted)| *rest = rest.minus(*counted));
            let children = [nodes.len(), nodes.len() + 1];
            nodes[parent.node] = Node::Inner { split, children };
            nodes.extend([Node::Leaf(0.0); 2]);
            let mut some = Sums::default();
            order[start..end]
                .iter()
                .for_each(|event| some.add(slopes[*event as usize]));
            let others = parent.sums.minus(some);
            let (mut sums, mut histograms) = ([some, others], [counted, rest]);
            if small == 1 {
                sums.reverse();
                histograms.reverse();
            }
            for (k, histogram) in histograms.into_iter().enumerate() {
                let leaf = Growing::of(children[k], places[k], sums[k], histogram, bins, growth);
                leaves.push(leaf);
            }
        }
        for leaf in leaves {
            let value = -growth.rate * leaf.sums.first / (leaf.sums.second + growth.ridge);
            nodes[leaf.node] = Node::Leaf(value);
            for event in &order[leaf.start..leaf.end] {
                scores[*event as usize] += value;
            }
        }
        Self { nodes }
    }

    /// Add the tree's values to the scores of other events.
    pub fn add_to(&self, binned: &Binned, scores: &mut [f64]) {
        (scores.par_iter_mut().enumerate().with_min_len(1024)).for_each(|(event, score)| {
            let mut node = 0;
            while let Node::Inner { split, children } = &self.nodes[node] {
                node = children[usize::from(binned[split.column][event] > split.bin)];
            }
            if let Node::Leaf(value) = self.nodes[node] {
                *score += value;
            }
        });
    }

    /// Whether nothing was worth a split.
    pub fn is_stump(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Add what each split gained to `gains` `[columns]`.
    pub fn gains(&self, gains: &mut [f64]) {
        for node in &self.nodes {
            if let Node::Inner { split, .. } = node {
                gains[split.column] += split.gain;
            }
        }
    }
}

impl Growing {
    fn of(
        node: usize,
        (start, end): (usize, usize),
        sums: Sums,
        histogram: Vec<Sums>,
        bins: &Bins,
        growth: &Growth,
    ) -> Self {
        let large_enough = end - start >= 2 * growth.events;
        let best = large_enough
            .then(|| best_split(&histogram, sums, bins, growth))
            .flatten();
        Self {
            node,
            start,
            end,
            sums,
            histogram,
            best,
        }
    }
}

/// Sums of the slopes of `events` by column and bin.
fn histogram(binned: &Binned, events: &[u32], slopes: &[Slope]) -> Vec<Sums> {
    let slopes: Vec<Slope> = events.iter().map(|e| slopes[*e as usize]).collect();
    let mut all = vec![Sums::default(); binned.len() * BINS];
    (all.par_chunks_mut(BINS).zip(binned).with_min_len(4)).for_each(|(sums, column)| {
        for (event, slope) in events.iter().zip(&slopes) {
            sums[usize::from(column[*event as usize])].add(*slope);
        }
    });
    all
}

/// The split that gains most, the first of equal ones; `None` where none gains anything.
fn best_split(histogram: &[Sums], all: Sums, bins: &Bins, growth: &Growth) -> Option<Split> {
    // Hessians below this are events that are known for sure: nothing is left to gain.
    const LEAST: f64 = 1e-3;
    let own = all.score(growth.ridge);
    let of_column = |column: usize| {
        let mut best: Option<Split> = None;
        let mut left = Sums::default();
        let sums = &histogram[column * BINS..(column + 1) * BINS];
        for (bin, sums) in sums[..bins.count(column) - 1].iter().enumerate() {
            left = left.plus(*sums);
            let right = all.minus(left);
            if (left.events.min(right.events) as usize) < growth.events
                || left.second.min(right.second) < LEAST
            {
                continue;
            }
            let gain = 0.5 * (left.score(growth.ridge) + right.score(growth.ridge) - own);
            if gain > best.map_or(1e-9, |b| b.gain) {
                best = Some(Split {
                    column,
                    bin: bin as u8,
                    gain,
                });
            }
        }
        best
    };
    let found: Vec<_> = (0..histogram.len() / BINS)
        .into_par_iter()
        .with_min_len(16)
        .map(of_column)
        .collect();
    (found.into_iter().flatten()).reduce(|a, b| if b.gain > a.gain { b } else { a })
}

/// Bring the events of which `rule` holds to the front, both groups in their order; how many there are.
fn partition(events: &mut [u32], rule: impl Fn(u32) -> bool) -> usize {
    let (front, back): (Vec<u32>, Vec<u32>) = events.iter().partition(|e| rule(**e));
    events[..front.len()].copy_from_slice(&front);
    events[front.len()..].copy_from_slice(&back);
    front.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_split_is_the_best_one_by_brute_force() {
        // A score of 0: slopes of the logistic loss are 1/2 - label and 1/4.
        let columns: Vec<Vec<f32>> = (1..4u32)
            .map(|k| {
                (0..60u32)
                    .map(|i| ((i * i * k + 3 * i) % 17) as f32)
                    .collect()
            })
            .collect();
        let label = |i: usize| f32::from(u8::from(columns[1][i] > 8.0 || i.is_multiple_of(7)));
        let slopes: Vec<Slope> = (0..60).map(|i| [0.5 - label(i), 0.25]).collect();
        let growth = Growth {
            leaves: 2,
            events: 5,
            ridge: 1.0,
            rate: 1.0,
        };
        let bins = Bins::of(&columns);
        let mut scores = vec![0.0; 60];
        let tree = Tree::grow(&bins.apply(&columns), &bins, &slopes, &growth, &mut scores);
        let score = |events: &[usize]| {
            let first: f64 = events.iter().map(|i| f64::from(slopes[*i][0])).sum();
            first * first / (0.25 * events.len() as f64 + 1.0)
        };
        let all: Vec<usize> = (0..60).collect();
        let mut best = (0.0, Vec::new(), Vec::new());
        for column in &columns {
            for limit in 0..17 {
                let (left, right): (Vec<usize>, Vec<usize>) =
                    all.iter().partition(|i| column[**i] <= limit as f32);
                let gain = 0.5 * (score(&left) + score(&right) - score(&all));
                if left.len().min(right.len()) >= 5 && gain > best.0 + 1e-9 {
                    best = (gain, left, right);
                }
            }
        }
        let mut gains = vec![0.0; 3];
        tree.gains(&mut gains);
        let found: f64 = gains.iter().sum();
        assert!((found - best.0).abs() < 1e-9, "{gains:?}, {}", best.0);
        for side in [&best.1, &best.2] {
            let first: f64 = side.iter().map(|i| f64::from(slopes[*i][0])).sum();
            let value = -first / (0.25 * side.len() as f64 + 1.0);
            assert!(side.iter().all(|i| (scores[*i] - value).abs() < 1e-9));
        }
        // Walking the tree gives what growing it gave.
        let mut walked = vec![0.0; 60];
        tree.add_to(&bins.apply(&columns), &mut walked);
        assert_eq!(walked, scores);
    }

    #[test]
    fn leaves_are_as_many_and_as_large_as_asked_for() {
        let columns = vec![(0..1000).map(|i| i as f32).collect::<Vec<f32>>()];
        let slopes: Vec<Slope> = (0..1000).map(|i| [(i as f32 * 0.05).sin(), 0.25]).collect();
        let growth = Growth {
            leaves: 8,
            events: 30,
            ridge: 0.0,
            rate: 1.0,
        };
        let bins = Bins::of(&columns);
        let mut scores = vec![0.0; 1000];
        let tree = Tree::grow(&bins.apply(&columns), &bins, &slopes, &growth, &mut scores);
        let mut runs: Vec<usize> = Vec::new();
        for pair in scores.chunk_by(|a, b| a == b) {
            runs.push(pair.len());
        }
        assert_eq!(runs.len(), 8);
        assert!(runs.iter().all(|r| *r >= 30), "{runs:?}");
        assert!(!tree.is_stump());
    }
}
