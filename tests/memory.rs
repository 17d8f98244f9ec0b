//! Memory: flat over the epochs of a training, and as small as documented for images.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sarm::data::{Dataset, ReadOptions, SparseImages, WriteOptions, read, write};
use sarm::device::Devices;
use sarm::families::sarm::Config;
use sarm::run::train::{EpochMetrics, Observer, TrainPlan, train};

/// The system's allocator, counting the bytes that are in use.
struct Counting;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn in_use() -> isize {
    IN_USE.load(Ordering::Relaxed)
}

/// Both tests count the bytes of the whole process: one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Bytes of this process in memory; `None` where the system does not say.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: sysconf reads a constant.
    Some(pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
}

#[derive(Default)]
struct Watch {
    heap: Vec<isize>,
    resident: Vec<u64>,
}

impl Observer for Watch {
    fn epoch(&mut self, _: &EpochMetrics) {
        self.heap.push(in_use());
        self.resident.extend(resident());
    }
}

fn images(side: usize, count: usize) -> SparseImages {
    sarm::synthetic::images(side, side, count, 4, 0.1).unwrap()
}

#[test]
fn training_does_not_grow() {
    let _alone = alone();
    for likelihood in ["kind = 'dc'", "kind = 'dd'\nlevels = 100"] {
        let directory = tempfile::tempdir().unwrap();
        // 950 images in batches of 128: the last of an epoch is shorter than the others.
        let text = format!(
            "stage = [{{square = 3, units_per_pixel = 5, layers = 1}}, {{layers = 1}}]\n[likelihood]\n{likelihood}\n[train]\nepochs = 12\nvalidation = 0.05"
        );
        let plan = TrainPlan {
            config: Box::new(Config::parse(&text).unwrap()),
            dataset: Dataset {
                images: images(12, 1000),
                columns: BTreeMap::new(),
                rows: (0..1000).collect(),
                ..Dataset::default()
            },
            data: "memory".into(),
            select: Vec::new(),
            file: Default::default(),
            out: directory.path().to_path_buf(),
            resume: false,
            force: false,
            checkpoint_every: Duration::from_secs(600),
        };
        let mut watch = Watch::default();
        train(&Devices::cpu(2).unwrap(), plan, &mut watch).unwrap();
        assert_eq!(watch.heap.len(), 12);
        let heap = watch.heap[11] - watch.heap[2];
        println!(
            "{likelihood}: {heap} bytes of heap; resident {:?}",
            watch.resident
        );
        // A line of history an epoch, and the noise of threads that are just freeing something.
        assert!(heap < 256 << 10, "{likelihood}: {:?}", watch.heap);
        if let [.., last] = watch.resident[..] {
            let growth = last as i64 - watch.resident[2] as i64;
            assert!(growth < 16 << 20, "{likelihood}: {:?}", watch.resident);
        }
    }
}

#[test]
fn images_take_what_the_documentation_says() {
    let _alone = alone();
    let images = images(25, 20_000);
    let bytes = |images: &SparseImages| (8 * images.len() + 6 * images.nonzeros()) as f64;
    let (indptr, index, value) = images.csr();
    let held = size_of_val(indptr) + size_of_val(index) + size_of_val(value);
    assert_eq!(held as f64, bytes(&images) + 8.0);

    // As they come from a file, in either layout, with no room to spare left behind.
    let directory = tempfile::tempdir().unwrap();
    for layout in [sarm::data::Layout::Dense, sarm::data::Layout::Sparse] {
        let path = directory.path().join(layout.to_string());
        let options = WriteOptions {
            layout,
            height: 25,
            width: 25,
            ..WriteOptions::default()
        };
        write(&path, &images, &BTreeMap::new(), &options).unwrap();
        drop(read(&path, &ReadOptions::default()).unwrap());
        let before = in_use();
        let dataset = read(&path, &ReadOptions::default()).unwrap();
        // `rows` is 8 bytes an image more.
        let held = (in_use() - before) as f64;
        let documented = bytes(&dataset.images) + 8.0 * dataset.images.len() as f64;
        println!("{layout}: {held} bytes held, {documented} documented");
        assert!(held < 1.05 * documented, "{layout}: {held}, {documented}");
        assert_eq!(dataset.images, images);
    }
}
