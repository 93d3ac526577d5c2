//! Whose the memory of this process is: an allocator that counts by owner.
//!
//! A binary installs it with `#[global_allocator]`. Where it is not installed every figure is
//! `None`, never 0. What is counted is what was asked for (not what the system's allocator makes
//! of it), on the heap of this process: the memory of a GPU is not seen. What a forward pass
//! allocates in threads of the tensor library counts as [`Owner::Other`], and the room that the
//! recorder of ops takes in the first batch, some ten kilobytes, as [`Owner::Activations`].

#![expect(unsafe_code, reason = "an allocator is unsafe to implement; nothing else here is")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use xscope_model::Owner;
use xscope_trace::Bytes;

/// The system's allocator, counting live and peak bytes by [`Owner`].
///
/// The owner of a block is the one that [`set_owner`] had named in the thread that allocated it,
/// and stays so until the block is freed, by whichever thread. To remember it each block carries
/// a prefix of 16 bytes, or as many as its alignment where that is more; the prefix is not counted.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: xscope_engine::memory::CountingAllocator =
///     xscope_engine::memory::CountingAllocator;
///
/// let kept = vec![0_u8; 1000];
/// let live = xscope_engine::memory::live().expect("the allocator is installed");
/// assert!(live.iter().map(|bytes| bytes.0).sum::<u64>() >= 1000);
/// drop(kept);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

/// On a cache line of its own (two, as processors fetch them in pairs): threads that allocate for
/// different owners do not slow each other down.
#[repr(align(128))]
struct Counter {
    live: AtomicU64,
    peak: AtomicU64,
}

static COUNTERS: [Counter; Owner::COUNT] =
    [const { Counter { live: AtomicU64::new(0), peak: AtomicU64::new(0) } }; Owner::COUNT];

static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CURRENT: Cell<Owner> = const { Cell::new(Owner::Other) };
}

/// Bytes alive by owner, in the order of [`Owner::ALL`]; `None` without the allocator.
pub fn live() -> Option<[Bytes; Owner::COUNT]> {
    installed()
        .then(|| COUNTERS.each_ref().map(|counter| Bytes(counter.live.load(Ordering::Relaxed))))
}

/// The most bytes alive by owner since [`reset_peak`], in the order of [`Owner::ALL`].
///
/// Each owner's peak stands for itself: they need not have been reached at the same time.
pub fn peak() -> Option<[Bytes; Owner::COUNT]> {
    installed()
        .then(|| COUNTERS.each_ref().map(|counter| Bytes(counter.peak.load(Ordering::Relaxed))))
}

/// Starts the peaks again from what is alive. A running engine does so before each batch.
pub fn reset_peak() {
    for counter in &COUNTERS {
        counter.peak.store(counter.live.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Says whose this thread's allocations are from here on; returns whose they were.
pub fn set_owner(owner: Owner) -> Owner {
    CURRENT.replace(owner)
}

/// Live bytes by owner without the question whether they are known: for a probe that is only
/// set where they are.
pub(crate) fn live_or_zero() -> [u64; Owner::COUNT] {
    COUNTERS.each_ref().map(|counter| counter.live.load(Ordering::Relaxed))
}

/// Whether the allocator is installed: any allocation has gone through it.
pub fn installed() -> bool {
    INSTALLED.load(Ordering::Relaxed)
}

fn add(owner: usize, bytes: usize) {
    let counter = &COUNTERS[owner];
    let bytes = count(bytes);
    let live = counter.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if live > counter.peak.load(Ordering::Relaxed) {
        counter.peak.fetch_max(live, Ordering::Relaxed);
    }
}

fn subtract(owner: usize, bytes: usize) {
    COUNTERS[owner].live.fetch_sub(count(bytes), Ordering::Relaxed);
}

fn count(bytes: usize) -> u64 {
    // Allocations are at most `isize::MAX` bytes, so the fallback is never taken.
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The layout with the prefix, and how long the prefix is.
fn with_prefix(layout: Layout) -> Option<(Layout, usize)> {
    let prefix = layout.align().max(16);
    let size = layout.size().checked_add(prefix)?;
    Some((Layout::from_size_align(size, prefix).ok()?, prefix))
}

/// Marks a fresh block of the system's allocator with its owner and counts it.
///
/// # Safety
///
/// `base` is null, or the start of a live block of `with_prefix(layout)` that nothing else uses.
unsafe fn adopt(base: *mut u8, prefix: usize, layout: Layout) -> *mut u8 {
    if base.is_null() {
        return base;
    }
    if !INSTALLED.load(Ordering::Relaxed) {
        INSTALLED.store(true, Ordering::Relaxed);
    }
    // `try_with`: a thread that is going away may free and allocate after its locals are gone.
    let owner = CURRENT.try_with(Cell::get).unwrap_or(Owner::Other);
    // SAFETY: the block is longer than `prefix`, which is at least 16, so both the start of the
    // caller's part and the byte before it are inside the block.
    let user = unsafe {
        let user = base.add(prefix);
        user.sub(1).write(owner as u8);
        user
    };
    add(owner.index(), layout.size());
    user
}

/// The owner of a block.
///
/// # Safety
///
/// `user` came from [`adopt`] and its block is still alive.
unsafe fn owner_of(user: *mut u8) -> usize {
    // SAFETY: `adopt` wrote the byte before the caller's part, which lies inside the block.
    let tag = unsafe { user.sub(1).read() };
    usize::from(tag) % Owner::COUNT
}

// SAFETY: every block is one of `System`, longer by a prefix that is a multiple of the requested
// alignment (both are powers of two and the prefix is the larger), so what the caller gets is
// aligned and as long as asked for. Freeing and resizing go back to the start and layout of that
// same block. Nothing here allocates or panics: the thread local is `const` and has no destructor.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((full, prefix)) = with_prefix(layout) else { return ptr::null_mut() };
        // SAFETY: `full` is at least 16 bytes long; `adopt` gets the block that it describes.
        unsafe { adopt(System.alloc(full), prefix, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((full, prefix)) = with_prefix(layout) else { return ptr::null_mut() };
        // SAFETY: as in `alloc`; the mark lies in the prefix, so the caller's part stays zero.
        unsafe { adopt(System.alloc_zeroed(full), prefix, layout) }
    }

    unsafe fn dealloc(&self, user: *mut u8, layout: Layout) {
        // It was computed when the block was made, so it can be computed again.
        let Some((full, prefix)) = with_prefix(layout) else { return };
        // SAFETY: the caller promises that `user` is a live block of ours with this layout, so
        // the block of `System` starts `prefix` bytes before it and has the layout `full`.
        unsafe {
            subtract(owner_of(user), layout.size());
            System.dealloc(user.sub(prefix), full);
        }
    }

    unsafe fn realloc(&self, user: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some((full, prefix)) = with_prefix(layout) else { return ptr::null_mut() };
        let Some(new_full) = new_size.checked_add(prefix) else { return ptr::null_mut() };
        // SAFETY: as in `dealloc` for the block. `new_full` is not 0, and with the alignment
        // `prefix` stays below `isize::MAX`, because the caller promises that for `new_size`
        // rounded up to its own alignment and the check below covers the rest. The system keeps
        // the first bytes of the block, and the mark is among them.
        unsafe {
            if Layout::from_size_align(new_full, prefix).is_err() {
                return ptr::null_mut();
            }
            let owner = owner_of(user);
            let base = System.realloc(user.sub(prefix), full, new_full);
            if base.is_null() {
                return base;
            }
            add(owner, new_size);
            subtract(owner, layout.size());
            base.add(prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives the allocator by hand: it is not the global one in this binary, so nothing else
    /// counts. One test, because the counters are shared.
    #[test]
    fn blocks_keep_their_owner_alignment_and_bytes() {
        let allocator = CountingAllocator;
        for (size, align) in [(1, 1), (100, 8), (4096, 64), (10, 4096)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let before = live_or_zero();
            set_owner(Owner::Kv);
            // SAFETY: each block is used within its size and freed once, with its last layout.
            unsafe {
                let block = allocator.alloc(layout);
                assert_eq!(block.align_offset(align), 0);
                block.write_bytes(7, size);
                set_owner(Owner::Weights);
                assert_eq!(
                    live_or_zero()[Owner::Kv.index()] - before[Owner::Kv.index()],
                    count(size)
                );
                let block = allocator.realloc(block, layout, size * 3);
                assert_eq!(block.align_offset(align), 0);
                assert!((0..size).all(|index| block.add(index).read() == 7));
                assert_eq!(
                    live_or_zero()[Owner::Kv.index()] - before[Owner::Kv.index()],
                    count(size * 3)
                );
                let zeros = allocator.alloc_zeroed(layout);
                assert!((0..size).all(|index| zeros.add(index).read() == 0));
                allocator.dealloc(zeros, layout);
                allocator.dealloc(block, Layout::from_size_align(size * 3, align).unwrap());
            }
            assert_eq!(live_or_zero(), before);
        }
        assert!(peak().unwrap()[Owner::Kv.index()] >= Bytes(4096 * 3));
        reset_peak();
        assert_eq!(peak(), live());
        set_owner(Owner::Other);
        // SAFETY: nothing is allocated.
        let none = unsafe {
            allocator.alloc(Layout::from_size_align(isize::MAX as usize - 63, 64).unwrap())
        };
        assert!(none.is_null());
    }
}
