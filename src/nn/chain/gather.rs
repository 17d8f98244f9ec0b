//! Which numbers of its input a layer adds up for each of its outputs, in either direction.

use super::product::{Forward, Group, Groups, Panels, Run, Weights};
use super::window::Phase;
use super::{Activation, Size, Window};

/// The images of one side of a window, `[height, width, channels]`, and the zeros around them that windows reach into.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    image: Size,
    /// Rows and columns with the zeros.
    whole: [usize; 2],
    /// Rows above the image, columns left of it.
    before: [usize; 2],
}

impl Frame {
    fn numbers(&self) -> usize {
        self.whole[0] * self.whole[1] * self.image.channels
    }

    /// Images with zeros around them; `None` where there are none to add.
    fn framed(&self, images: &[f32]) -> Option<Vec<f32>> {
        let Size {
            height,
            width,
            channels,
        } = self.image;
        if self.whole == [height, width] {
            return None;
        }
        let count = images.len() / self.image.numbers();
        let row = self.whole[1] * channels;
        let mut framed = Vec::with_capacity(count * self.numbers());
        for (i, image) in images.chunks_exact(self.image.numbers()).enumerate() {
            framed.resize(i * self.numbers() + self.before[0] * row, 0.0);
            for from in image.chunks_exact(width * channels) {
                let end = framed.len() + row;
                framed.resize(framed.len() + self.before[1] * channels, 0.0);
                framed.extend_from_slice(from);
                framed.resize(end, 0.0);
            }
        }
        framed.resize(count * self.numbers(), 0.0);
        Some(framed)
    }
}

/// Sums over windows: of a large image for each place of a small one, or the other way round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gather {
    frame: Frame,
    to: Size,
    groups: Groups,
    /// Places in a window, in the order of the rows of weights.
    taps: Vec<usize>,
    /// With one channel, which would be one number of a vector: what is added to what afterwards, `[pixel of the input * side * side + place in the window, output]`.
    spread: Option<Vec<[u32; 2]>>,
    /// Places in a window.
    all_taps: usize,
}

fn along(first: usize, second: usize, side: usize) -> usize {
    first * side + second
}

impl Gather {
    /// For each place of the small image, `channels` sums over its window of the large one.
    pub fn down(window: &Window, channels: usize) -> Self {
        let to = Size {
            height: window.small[0],
            width: window.small[1],
            channels,
        };
        if channels == 1 && window.side > 1 {
            return Self::spread(window, window.large, to, |place, pixel| [pixel, place]);
        }
        Self::of_phases(&[window.down()], window, window.large, to)
    }

    /// For each pixel of the large image, sums over the places of the small one, of `channels` channels, whose windows cover it.
    pub fn up(window: &Window, channels: usize) -> Self {
        let small = Size {
            height: window.small[0],
            width: window.small[1],
            channels,
        };
        if window.large.channels == 1 && window.side > 1 {
            return Self::spread(window, small, window.large, |place, pixel| [place, pixel]);
        }
        Self::of_phases(&window.up(), window, small, window.large)
    }

    fn of_phases(phases: &[Phase], window: &Window, from: Size, to: Size) -> Self {
        let lengths = [from.height, from.width];
        let before = [0, 1].map(|i| phases.iter().map(|p| p.before(i)).max().unwrap_or(0));
        let whole = [0, 1].map(|i| {
            let ends = phases.iter().map(|p| p.end(i, before[i]));
            ends.max().unwrap_or(0).max(before[i] + lengths[i])
        });
        let pixel = |row: usize, column: usize| along(row, column, whole[1]) * from.channels;
        let (mut groups, mut order) = (Vec::new(), Vec::new());
        for phase in phases {
            let places = phase.places(before).map(|(place, output)| {
                let output = along(output[0], output[1], to.width) * to.channels;
                [pixel(place[0], place[1]) as u32, output as u32]
            });
            let [rows, columns] = &phase.taps;
            let starts = (0..rows.len())
                .flat_map(|row| (0..columns.len()).map(move |column| pixel(row, column)));
            let runs = runs(order.len() * from.channels, from.channels, starts);
            groups.push(Group {
                places: places.collect(),
                runs,
            });
            order.extend(phase.places_in_window(window.side));
        }
        Self {
            groups: Groups::new(groups, to.channels),
            frame: Frame {
                image: from,
                whole,
                before,
            },
            to,
            taps: order,
            spread: None,
            all_taps: window.side * window.side,
        }
    }

    /// `ends(place, pixel)`: which of the two is the input.
    fn spread(
        window: &Window,
        from: Size,
        to: Size,
        ends: impl Fn(usize, usize) -> [usize; 2],
    ) -> Self {
        let taps = window.side * window.side;
        let mut pairs = Vec::new();
        window.pairs(|place, pixel, tap| {
            let [from, output] = ends(place, pixel);
            pairs.push((tap, [(from * taps + tap) as u32, output as u32]));
        });
        // Neighbours in the list have outputs of their own, so that they need not wait for each other.
        pairs.sort_by_key(|(tap, _)| *tap);
        let pixels = from.height * from.width;
        let group = Group {
            places: (0..pixels)
                .map(|pixel| [(pixel * from.channels) as u32, (pixel * taps) as u32])
                .collect(),
            runs: runs(0, from.channels, [0].into_iter()),
        };
        Self {
            groups: Groups::new(vec![group], taps),
            frame: Frame {
                image: from,
                whole: [from.height, from.width],
                before: [0; 2],
            },
            to,
            taps: vec![0],
            spread: Some(pairs.into_iter().map(|(_, pair)| pair).collect()),
            all_taps: taps,
        }
    }

    /// Columns of the weights.
    fn columns(&self) -> usize {
        match self.spread {
            Some(_) => self.all_taps,
            None => self.to.channels,
        }
    }

    /// Channels of the output.
    pub fn channels(&self) -> usize {
        self.to.channels
    }

    fn rows(&self) -> usize {
        self.taps.len() * self.frame.image.channels
    }

    /// Numbers that the products of one image read and make, beside image and output.
    pub fn between(&self) -> usize {
        match self.spread {
            Some(_) => self.frame.numbers() / self.frame.image.channels * self.columns(),
            None => self.frame.numbers(),
        }
    }

    /// Place in a window, channel of the input and of the output that a weight is for.
    fn weight(&self, row: usize, column: usize) -> [usize; 3] {
        let from = self.frame.image.channels;
        match self.spread {
            Some(_) => [column, row, 0],
            None => [self.taps[row / from], row % from, column],
        }
    }

    /// `weight([place in a window, channel of the input, of the output])` of each, as [`forward`](Self::forward) reads them.
    pub fn panels(&self, weight: impl Fn([usize; 3]) -> f32) -> Panels {
        Panels::new(self.rows(), self.columns(), |row, column| {
            weight(self.weight(row, column))
        })
    }

    /// The layer's output for the images `x`; `bias` has a number a channel.
    pub fn forward(
        &self,
        weights: &Panels,
        bias: &[f32],
        x: &[f32],
        activation: Activation,
    ) -> Vec<f32> {
        let framed = self.frame.framed(x);
        let forward = Forward {
            groups: &self.groups,
            x: (framed.as_deref().unwrap_or(x), self.frame.numbers()),
            weights,
            bias,
            activation,
        };
        let Some(pairs) = &self.spread else {
            return forward.work();
        };
        let added = Forward {
            bias: &vec![0.0; self.columns()],
            activation: Activation::None,
            ..forward
        }
        .work();
        let images = x.len() / self.frame.image.numbers();
        // Of its one channel.
        let mut y = vec![bias[0]; images * self.to.numbers()];
        let each = y.chunks_exact_mut(self.to.numbers());
        for (y, added) in each.zip(added.chunks_exact(self.between())) {
            for [from, to] in pairs {
                y[*to as usize] += added[*from as usize];
            }
        }
        y.iter_mut().for_each(|y| *y = activation.of(*y));
        y
    }

    /// The sums of the outputs `pixels` alone of one image, `[pixels, channels]`.
    ///
    /// # Panics
    /// Where it does not go down to a small image, or has one channel.
    pub fn forward_at(
        &self,
        weights: &Panels,
        bias: &[f32],
        x: &[f32],
        pixels: &[usize],
    ) -> Vec<f32> {
        let Some(group) = self.groups.only() else {
            panic!("outputs of several kinds are not chosen among");
        };
        assert!(self.spread.is_none());
        let framed = self.frame.framed(x);
        let places = pixels.iter().enumerate().map(|(i, pixel)| {
            let [from, _] = group.places[*pixel];
            [from, (i * bias.len()) as u32]
        });
        let chosen = Group {
            places: places.collect(),
            runs: group.runs.clone(),
        };
        Forward {
            groups: &Groups::new(vec![chosen], bias.len()),
            x: (framed.as_deref().unwrap_or(x), self.frame.numbers()),
            weights,
            bias,
            activation: Activation::None,
        }
        .work()
    }

    /// Write derivatives by the weights, from those by the sums, to `gradients`: `weight([place in a window, channel of the input, of the
    /// output])` is where the weight's lies there, those of all channels of the output side by side.
    pub fn gradients(
        &self,
        x: &[f32],
        dy: &[f32],
        gradients: &mut [f32],
        weight: impl Fn([usize; 3]) -> usize,
    ) {
        let framed = self.frame.framed(x);
        let x = (framed.as_deref().unwrap_or(x), self.frame.numbers());
        let columns = self.columns();
        let rows = 0..self.rows();
        let Some(pairs) = &self.spread else {
            let rows: Vec<usize> = rows.map(|row| weight(self.weight(row, 0))).collect();
            return Weights {
                groups: &self.groups,
                x,
                dy,
                gradients,
                rows: &rows,
            }
            .work();
        };
        let of_image = self.between();
        let mut by_added = vec![0.0; dy.len() / self.to.numbers() * of_image];
        let each = by_added.chunks_exact_mut(of_image);
        for (by_added, dy) in each.zip(dy.chunks_exact(self.to.numbers())) {
            for [from, to] in pairs {
                by_added[*from as usize] = dy[*to as usize];
            }
        }
        let mut of_rows = vec![0.0; self.rows() * columns];
        let starts: Vec<usize> = rows.map(|row| row * columns).collect();
        Weights {
            groups: &self.groups,
            x,
            dy: &by_added,
            gradients: &mut of_rows,
            rows: &starts,
        }
        .work();
        for (row, of_row) in of_rows.chunks_exact(columns).enumerate() {
            for (column, gradient) in of_row.iter().enumerate() {
                gradients[weight(self.weight(row, column))] = *gradient;
            }
        }
    }
}

/// Pieces of `count` numbers that start at `starts`, and in the rows from `row` on; those that follow one another are one.
fn runs(row: usize, count: usize, starts: impl Iterator<Item = usize>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, start) in starts.enumerate() {
        match runs.last_mut() {
            Some(last) if last.start + last.count == start => last.count += count,
            _ => runs.push(Run {
                start,
                row: row + i * count,
                count,
            }),
        }
    }
    runs
}
