//! Which numbers of its input a layer adds up for each of its outputs, in either direction.

use super::product::{Forward, Group, Panels, Run, Weights};
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
        let mut framed = vec![0.0; count * self.numbers()];
        for (image, framed) in
            (images.chunks_exact(self.image.numbers())).zip(framed.chunks_exact_mut(self.numbers()))
        {
            let rows = framed.chunks_exact_mut(self.whole[1] * channels);
            for (from, to) in (image.chunks_exact(width * channels)).zip(rows.skip(self.before[0]))
            {
                to[self.before[1] * channels..][..width * channels].copy_from_slice(from);
            }
        }
        Some(framed)
    }
}

/// Sums over windows: of a large image for each place of a small one, or the other way round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gather {
    frame: Frame,
    to: Size,
    groups: Vec<Group>,
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
        let side = window.side;
        let ends = window.small.map(|count| (count - 1) * window.stride + side);
        let large = [window.large.height, window.large.width];
        let whole = [0, 1].map(|i| ends[i].max(large[i] + window.before[i]));
        let from = window.large.channels;
        let pixel = |row: usize, column: usize| along(row, column, whole[1]) * from;
        let places = (0..window.places()).map(|place| {
            let [row, column] = [place / to.width, place % to.width].map(|p| p * window.stride);
            [pixel(row, column) as u32, (place * channels) as u32]
        });
        let taps = side * side;
        let starts = (0..taps).map(|tap| pixel(tap / side, tap % side));
        Self {
            groups: vec![Group {
                places: places.collect(),
                runs: runs(0, from, starts),
            }],
            frame: Frame {
                image: window.large,
                whole,
                before: window.before,
            },
            to,
            taps: (0..taps).collect(),
            spread: None,
            all_taps: taps,
        }
    }

    /// For each pixel of the large image, sums over the places of the small one, of `channels` channels, whose windows cover it.
    pub fn up(window: &Window, channels: usize) -> Self {
        let (side, stride, to) = (window.side, window.stride, window.large);
        let small = Size {
            height: window.small[0],
            width: window.small[1],
            channels,
        };
        if to.channels == 1 && side > 1 {
            return Self::spread(window, small, to, |place, pixel| [place, pixel]);
        }
        let lengths = [to.height, to.width];
        // A pixel `p` rows below the first window's first is under the windows `p / stride`, one before, and so on.
        let last = [0, 1].map(|i| (lengths[i] - 1 + window.before[i]) / stride);
        let before = side.div_ceil(stride) - 1;
        let whole = [0, 1].map(|i| before + window.small[i].max(last[i] + 1));
        let (mut groups, mut order) = (Vec::new(), Vec::new());
        for phase in 0..stride * stride {
            let phases = [phase / stride, phase % stride];
            // Places in a window with this phase, the last first: they meet the places of the small image in ascending order.
            let taps = phases.map(|p| (p..side).step_by(stride).rev().collect::<Vec<_>>());
            let of = |i: usize| {
                (0..lengths[i]).filter(move |p| (p + window.before[i]) % stride == phases[i])
            };
            let place =
                |i: usize, p: usize| (p + window.before[i]) / stride + before + 1 - taps[i].len();
            let pixel = |row: usize, column: usize| along(row, column, whole[1]) * channels;
            let places: Vec<[u32; 2]> = of(0)
                .flat_map(|row| of(1).map(move |column| (row, column)))
                .map(|(row, column)| {
                    let output = along(row, column, to.width) * to.channels;
                    [pixel(place(0, row), place(1, column)) as u32, output as u32]
                })
                .collect();
            let starts = (0..taps[0].len())
                .flat_map(|row| (0..taps[1].len()).map(move |column| pixel(row, column)));
            let runs = runs(order.len() * channels, channels, starts);
            order.extend(
                (taps[0].iter()).flat_map(|row| taps[1].iter().map(move |c| row * side + c)),
            );
            groups.push(Group { places, runs });
        }
        Self {
            groups,
            frame: Frame {
                image: small,
                whole,
                before: [before; 2],
            },
            to,
            taps: order,
            spread: None,
            all_taps: side * side,
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
        let columns = taps * to.channels;
        Self {
            groups: vec![Group {
                places: (0..pixels)
                    .map(|pixel| [(pixel * from.channels) as u32, (pixel * columns) as u32])
                    .collect(),
                runs: runs(0, from.channels, [0].into_iter()),
            }],
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
            Some(_) => self.all_taps * self.to.channels,
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
        let (from, to) = (self.frame.image.channels, self.to.channels);
        match self.spread {
            Some(_) => [column / to, row, column % to],
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
        let images = x.len() / self.frame.image.numbers();
        let framed = self.frame.framed(x);
        let x = (framed.as_deref().unwrap_or(x), self.frame.numbers());
        let groups = &self.groups[..];
        let mut y = vec![0.0; images * self.to.numbers()];
        let Some(pairs) = &self.spread else {
            Forward {
                groups,
                x,
                y: (&mut y, self.to.numbers()),
                weights,
                bias,
                activation,
            }
            .work();
            return y;
        };
        let (of_image, none) = (self.between(), vec![0.0; self.columns()]);
        let mut added = vec![0.0; images * of_image];
        Forward {
            groups,
            x,
            y: (&mut added, of_image),
            weights,
            bias: &none,
            activation: Activation::None,
        }
        .work();
        let channels = self.to.channels;
        y.chunks_exact_mut(channels)
            .for_each(|y| y.copy_from_slice(bias));
        let each = y.chunks_exact_mut(self.to.numbers());
        for (y, added) in each.zip(added.chunks_exact(of_image)) {
            for [from, to] in pairs {
                for channel in 0..channels {
                    y[*to as usize * channels + channel] +=
                        added[*from as usize * channels + channel];
                }
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
        let [group] = &self.groups[..] else {
            panic!("outputs of several kinds are not chosen among");
        };
        assert!(self.spread.is_none());
        let framed = self.frame.framed(x);
        let places = pixels.iter().enumerate().map(|(i, pixel)| {
            let [from, _] = group.places[*pixel];
            [from, (i * bias.len()) as u32]
        });
        let chosen = [Group {
            places: places.collect(),
            runs: group.runs.clone(),
        }];
        let mut y = vec![0.0; pixels.len() * bias.len()];
        if !y.is_empty() {
            let numbers = y.len();
            Forward {
                groups: &chosen,
                x: (framed.as_deref().unwrap_or(x), self.frame.numbers()),
                y: (&mut y, numbers),
                weights,
                bias,
                activation: Activation::None,
            }
            .work();
        }
        y
    }

    /// Derivatives by the weights, from those by the sums: `add([place in a window, channel of the input, first of the output], them)`
    /// for several of the output's channels at once.
    pub fn gradients(&self, x: &[f32], dy: &[f32], mut add: impl FnMut([usize; 3], &[f32])) {
        let framed = self.frame.framed(x);
        let columns = self.columns();
        let channels = self.to.channels;
        let mut gradients = vec![0.0; self.rows() * columns];
        let spread = self.spread.as_ref().map(|pairs| {
            let of_image = self.between();
            let mut by_added = vec![0.0; dy.len() / self.to.numbers() * of_image];
            let each = by_added.chunks_exact_mut(of_image);
            for (by_added, dy) in each.zip(dy.chunks_exact(self.to.numbers())) {
                for [from, to] in pairs {
                    for channel in 0..channels {
                        by_added[*from as usize * channels + channel] =
                            dy[*to as usize * channels + channel];
                    }
                }
            }
            by_added
        });
        Weights {
            groups: &self.groups,
            x: (framed.as_deref().unwrap_or(x), self.frame.numbers()),
            dy: match &spread {
                Some(by_added) => (by_added, self.between()),
                None => (dy, self.to.numbers()),
            },
            gradients: &mut gradients,
            columns,
        }
        .work();
        for (row, of_row) in gradients.chunks_exact(columns).enumerate() {
            for (i, some) in of_row.chunks_exact(channels).enumerate() {
                add(self.weight(row, i * channels), some);
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
