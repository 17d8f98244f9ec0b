//! Draws images on a device: launches of whole waves, one drawn while the one before is copied out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytemuck::Pod;

use super::{Drawing, Rows, Slots, bytes_per_image};
use crate::data::{ImageSize, SparseImages};
use crate::device::DeviceError;
use crate::device::cuda::device::{Device, HostMemory, Launch, Mark, Memory};
use crate::device::cuda::room::{check_limit, check_room, usable};
use crate::family::{EngineError, Sampler};

/// Launches that are under way or waiting to be copied out.
const AHEAD: usize = 2;
/// Waves of a launch where memory allows: what starts and ends it is lost beside them.
const WAVES: usize = 16;
/// Bytes of page-locked memory that results pass through.
const STAGING: usize = 16 << 20;

/// A launch that is under way.
struct Running {
    first: u64,
    images: usize,
    buffer: usize,
    mark: Box<dyn Mark>,
}

/// Draws images on a device.
pub struct CudaSampler<D: Drawing> {
    device: Arc<dyn Device>,
    running: VecDeque<Running>,
    drawing: D,
    slots: Slots,
    /// Of each buffer.
    rows: Vec<Rows>,
    /// Likewise.
    shown: Vec<D::Shown>,
    host: Box<dyn HostMemory>,
    size: ImageSize,
    /// Images of a launch at most.
    capacity: usize,
    /// What was announced and not yet asked for.
    announced: VecDeque<(u64, usize)>,
    /// Launches to come, in the order of what was announced.
    waiting: VecDeque<(u64, usize)>,
}

impl<D: Drawing> CudaSampler<D> {
    /// Draw images of `size` by `drawing`, in `max_memory` bytes of the device's memory at the most.
    ///
    /// # Errors
    /// Memory too small for one tile of images; a device that fails.
    pub fn new(
        device: &Arc<dyn Device>,
        drawing: D,
        size: ImageSize,
        max_memory: Option<u64>,
    ) -> Result<Self, EngineError> {
        let pixels = size.height * size.width;
        let each = bytes_per_image(pixels, AHEAD) + AHEAD as u64 * drawing.shown_bytes();
        let free = device.free_memory()?;
        let free = usable(free);
        let weights = drawing.bytes();
        let allowed = max_memory.map_or(free, |most| most.saturating_sub(weights).min(free));
        let tile = drawing.tile();
        // The kernels number pixels of a launch with 32 bits.
        let most =
            (allowed / each).min((u64::from(u32::MAX) / pixels as u64).min(1 << 24)) as usize;
        if most < tile {
            let needed = each * tile as u64;
            check_limit(max_memory, weights + needed)?;
            check_room(
                device,
                &[(needed, format!("{tile} images"))],
                "use another card or --device cpu",
            )?;
        }
        let wave = drawing.wave();
        let capacity = match most / wave {
            0 => most / tile * tile,
            waves => waves.min(WAVES) * wave,
        };
        let capacity = capacity.max(tile);
        Ok(Self {
            device: Arc::clone(device),
            running: VecDeque::new(),
            slots: Slots::new(device, capacity, pixels)?,
            rows: (0..AHEAD)
                .map(|_| Rows::new(device, capacity, pixels))
                .collect::<Result<_, _>>()?,
            shown: (0..AHEAD)
                .map(|_| drawing.shown(device, capacity))
                .collect::<Result<_, _>>()?,
            host: device.host_memory(STAGING)?,
            drawing,
            size,
            capacity,
            announced: VecDeque::new(),
            waiting: VecDeque::new(),
        })
    }

    /// Seconds that drawing `count` images takes by the device's own clock, from number `first` on; the images stay there.
    ///
    /// # Errors
    /// Work that fails on the device: see [`Device::launch`].
    pub fn draw_only(&mut self, first: u64, count: usize) -> Result<f64, EngineError> {
        self.forget()?;
        let mut seconds = 0.0;
        for (first, images) in launches_of(first, count, self.capacity) {
            self.drawing.show(&mut self.shown[0], first, images)?;
            let launches = self.launches(first, images, 0)?;
            // SAFETY: slots and rows have room for a launch's images, and live as long as the sampler.
            let recording = unsafe { self.device.record(&launches)? };
            seconds += self.device.time(recording.as_ref())?;
        }
        Ok(seconds)
    }

    /// Images that read each weight together, and images on the whole device at once.
    pub fn tile_and_wave(&self) -> (usize, usize) {
        (self.drawing.tile(), self.drawing.wave())
    }

    /// Nothing is announced any more; what is under way is waited for.
    fn forget(&mut self) -> Result<(), DeviceError> {
        self.announced.clear();
        self.waiting.clear();
        self.running.clear();
        self.device.synchronise()
    }

    /// The same after a failure, which is the one to report.
    fn abandon(&mut self, failure: EngineError) -> EngineError {
        if let Err(problem) = self.forget() {
            log::debug!("{problem}");
        }
        failure
    }

    /// The launches that draw images and turn them into the rows of a buffer.
    fn launches(
        &self,
        first: u64,
        images: usize,
        buffer: usize,
    ) -> Result<Vec<Launch>, EngineError> {
        let (shown, slots) = (&self.shown[buffer], &self.slots);
        let mut launches = self.drawing.launches(first, images, shown, slots)?;
        launches.extend(slots.compact(images, &self.rows[buffer]));
        Ok(launches)
    }

    /// Start launches as long as there is a buffer for their rows.
    fn start(&mut self) -> Result<(), EngineError> {
        let free = |running: &VecDeque<Running>| {
            (0..AHEAD).find(|buffer| running.iter().all(|r| r.buffer != *buffer))
        };
        while let Some(buffer) = free(&self.running)
            && let Some((first, images)) = self.waiting.pop_front()
        {
            self.drawing.show(&mut self.shown[buffer], first, images)?;
            for launch in self.launches(first, images, buffer)? {
                // SAFETY: `launches` asserts that slots and rows have room; nothing reads these rows any more, nor what
                // was shown before, for no running launch has the buffer; slots are used in the order of the stream.
                unsafe { self.device.launch(&launch)? };
            }
            self.running.push_back(Running {
                first,
                images,
                buffer,
                mark: self.device.mark()?,
            });
        }
        Ok(())
    }

    /// The images of the range that was announced first.
    fn announced_images(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let ImageSize { height, width } = self.size;
        let mut images: Option<SparseImages> = None;
        for expected in launches_of(first, count, self.capacity) {
            self.start()?;
            let next = self.running.pop_front();
            let Some(running) = next.filter(|r| (r.first, r.images) == expected) else {
                return Err(DeviceError::Fault(
                    "a launch is missing (this is a fault of sarm); please report it".into(),
                )
                .into());
            };
            let part = self.take(&running)?;
            // Its buffer is free: the next launch need not wait until this part is looked at.
            self.start()?;
            match &mut images {
                None => images = Some(part),
                Some(images) => images.extend(&part),
            }
        }
        images
            .or_else(|| SparseImages::new(height, width))
            .ok_or_else(|| DeviceError::Fault(format!("image size {height} x {width}")).into())
    }

    /// The images of a launch that is done.
    fn take(&mut self, running: &Running) -> Result<SparseImages, EngineError> {
        running.mark.wait()?;
        let Self {
            device, host, rows, ..
        } = self;
        let rows = &rows[running.buffer];
        let host = host.bytes_mut();
        let starts = read(device, host, &rows.starts, running.images + 1)?;
        let nonzeros = starts.last().map_or(0, |n| *n as usize);
        let pixels = read(device, host, &rows.pixels, nonzeros)?;
        let values = read(device, host, &rows.values, nonzeros)?;
        let starts = starts.into_iter().map(u64::from).collect();
        let ImageSize { height, width } = self.size;
        SparseImages::from_csr(height, width, starts, pixels, values).map_err(|why| {
            DeviceError::Fault(format!(
                "{} images from number {} on came out wrong ({why}: a network with values beyond float32, or a fault of sarm)",
                running.images, running.first,
            ))
            .into()
        })
    }
}

/// The first `count` values of `memory`, by way of page-locked `host` memory, beside the work under way.
fn read<T: Pod>(
    device: &Arc<dyn Device>,
    host: &mut [u8],
    memory: &Memory<T>,
    count: usize,
) -> Result<Vec<T>, EngineError> {
    let count = count.min(memory.len());
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let piece = (count - values.len()).min(host.len() / size_of::<T>());
        let bytes = &mut host[..piece * size_of::<T>()];
        // SAFETY: the range lies in the memory, by the minima above; what wrote it is done.
        unsafe { device.read_aside(memory.at(values.len()), bytes)? };
        match bytemuck::try_cast_slice(bytes) {
            Ok(piece) => values.extend_from_slice(piece),
            // Memory of the host that is not aligned for T; a driver's is.
            Err(_) => {
                let each = bytes.chunks_exact(size_of::<T>());
                values.extend(each.map(bytemuck::pod_read_unaligned::<T>));
            }
        }
    }
    Ok(values)
}

/// The launches that `count` images from `first` on come in.
fn launches_of(first: u64, count: usize, capacity: usize) -> impl Iterator<Item = (u64, usize)> {
    (0..count).step_by(capacity).map(move |start| {
        (
            first.wrapping_add(start as u64),
            capacity.min(count - start),
        )
    })
}

impl<D: Drawing> Sampler for CudaSampler<D> {
    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        self.announced.push_back((first, count));
        self.waiting
            .extend(launches_of(first, count, self.capacity));
        self.start().map_err(|failure| self.abandon(failure))
    }

    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        if self.announced.front() != Some(&(first, count)) {
            self.forget()?;
            self.announce(first, count)?;
        }
        self.announced.pop_front();
        self.announced_images(first, count)
            .map_err(|failure| self.abandon(failure))
    }

    fn preferred_count(&self) -> usize {
        self.capacity
    }
}
