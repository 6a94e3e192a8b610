//! The most that is read from a file or asked for by a manifest or a flag.
//!
//! Files come from strangers and numbers from slips of a finger. Every limit lies beyond any use that
//! is known, and what exceeds one is refused by name before anything large is read or computed.
//! `docs/limits.md` lists them.

/// Bytes of a manifest.
pub(crate) const MANIFEST: u64 = 1 << 20;
/// Bytes of the JSON beside a model: its configuration, its scheduler, an index of shards.
pub(crate) const JSON: u64 = 4 << 20;
/// Bytes of any other text.
pub(crate) const TEXT: u64 = 16 << 20;
/// Pixels of one image, as it is stored and once it is resized: 8192 x 8192.
pub(crate) const PIXELS: u64 = 1 << 26;
/// Bytes to which any compressed data may unfold.
pub(crate) const UNFOLDED: u64 = 1 << 30;
/// How many times their own length larger ones may unfold to.
pub(crate) const UNFOLDED_TIMES: u64 = 32;

/// What compressed data of that length may unfold to.
pub(crate) fn unfolded(packed: u64) -> u64 {
    UNFOLDED.max(packed.saturating_mul(UNFOLDED_TIMES))
}

/// Numbers of one sample: the product of its shape.
pub(crate) const NUMBERS: u64 = 1 << 28;
/// Numbers of the samples of one model call.
pub(crate) const NUMBERS_OF_A_BATCH: u64 = 1 << 32;
/// Numbers of all samples of a cell.
pub(crate) const NUMBERS_OF_A_CELL: u64 = 1 << 42;

/// Axes of a sweep.
pub(crate) const AXES: usize = 64;
/// Cells of a sweep.
pub(crate) const CELLS: usize = 10_000;
/// Cells under all profiles of a manifest, which are all read.
pub(crate) const CELLS_OF_ALL_PROFILES: usize = 50_000;
/// Values that all cells of a sweep have together: what each of them says, times their number.
pub(crate) const VALUES_OF_ALL_CELLS: usize = 20_000_000;
/// Keys of one section of a manifest.
pub(crate) const KEYS: usize = 2_000;

/// The largest number for a key of a manifest, by its path, and for the flag that sets it.
const REQUESTS: [(&str, u64); 23] = [
    ("samples", 10_000_000),
    ("batch", 1_000_000),
    ("points", 10_000),
    ("model.shape", 65_536),
    ("schedule.horizon", 1_000_000),
    ("grid.steps", 1_000_000),
    ("grid.calls", 10_000_000),
    ("solver.iterations", 10_000),
    ("metrics.blocks", 1_000),
    ("solution.steps", 1_000_000),
    ("solution.calls", 10_000_000),
    ("data.shift", 1_024),
    ("network.groups", 8_192),
    ("network.widths", 8_192),
    ("optimiser.warmup", 5_000_000_000),
    ("budget.images", 5_000_000_000),
    ("budget.minutes", 525_600),
    ("watch.log", 5_000_000_000),
    ("watch.checkpoint", 31_536_000),
    ("watch.every", 5_000_000_000),
    ("watch.samples", 10_000),
    ("watch.steps", 1_000_000),
    ("watch.fd_samples", 1_000_000),
];

/// The largest number for a key, by its path.
pub(crate) fn most(path: &str) -> Option<u64> {
    REQUESTS.iter().find(|(key, _)| *key == path).map(|(_, most)| *most)
}

/// The numbers of an array of that shape; none beyond 2^64.
pub(crate) fn product(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |product, &side| product.checked_mul(side as u64))
}

/// Digits in groups of three: `10,000,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
