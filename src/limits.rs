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
/// Bytes of a JPEG, which is read whole: four for each pixel.
pub(crate) const JPEG: u64 = PIXELS * 4;
/// Bytes to which any compressed data may unfold.
pub(crate) const UNFOLDED: u64 = 1 << 30;
/// How many times their own length larger ones may unfold to.
pub(crate) const UNFOLDED_TIMES: u64 = 32;

/// Bytes of one download.
pub(crate) const DOWNLOAD: u64 = 1 << 37;

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

/// `--points` of a line or a square of images.
pub(crate) const SIDE_POINTS: u64 = 1_000;
/// `--show`.
pub(crate) const SHOWN: u64 = 10_000;
/// `--keep`.
pub(crate) const KEPT: u64 = 10_000_000;
/// `--blocks`.
pub(crate) const BLOCKS: u64 = 1_000;
/// `--steps` of `ddim speed`.
pub(crate) const STEPS: u64 = 1_000_000;

/// The largest number for a key of a manifest, by its path, and for the flag that sets it.
const REQUESTS: [(&str, u64); 24] = [
    ("samples", 10_000_000),
    ("batch", 1_000_000),
    ("points", 10_000),
    ("model.shape", 65_536),
    ("schedule.horizon", 1_000_000),
    ("grid.steps", STEPS),
    ("grid.calls", 10_000_000),
    ("solver.iterations", 10_000),
    ("objective.term", STEPS),
    ("metrics.blocks", BLOCKS),
    ("solution.steps", STEPS),
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

/// Checks the numbers of one model call.
///
/// # Errors
/// What is too much, in words.
pub(crate) fn batch(images: usize, shape: [usize; 3]) -> Result<(), String> {
    let numbers = product(&shape).and_then(|one| one.checked_mul(images as u64));
    if numbers.is_some_and(|numbers| numbers <= NUMBERS_OF_A_BATCH) {
        return Ok(());
    }
    let most = grouped(NUMBERS_OF_A_BATCH);
    Err(format!("{images} images of {shape:?} in one model call are more than {most} numbers"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_limit() {
        let text = include_str!("../docs/limits.md");
        for (path, most) in REQUESTS {
            let row = format!("| `{path}` | {}", grouped(most));
            assert!(text.contains(&row), "{row}");
        }
        let all = [
            PIXELS,
            JPEG,
            NUMBERS,
            NUMBERS_OF_A_BATCH,
            NUMBERS_OF_A_CELL,
            AXES as u64,
            CELLS as u64,
            CELLS_OF_ALL_PROFILES as u64,
            VALUES_OF_ALL_CELLS as u64,
            KEYS as u64,
            SIDE_POINTS,
            SHOWN,
            KEPT,
            DOWNLOAD,
            crate::exact::VALUES as u64,
        ];
        for most in all {
            assert!(text.contains(&grouped(most)), "{most}");
        }
        assert_eq!([MANIFEST >> 20, JSON >> 20, TEXT >> 20, UNFOLDED >> 30], [1, 4, 16, 1]);
        assert_eq!(UNFOLDED_TIMES, 32);
    }

    #[test]
    fn products_do_not_overflow() {
        assert_eq!(product(&[3, 8, 8]), Some(192));
        assert_eq!(product(&[1 << 32, 1 << 31, 2]), None);
        assert!(batch(1_000_000, [3, 8, 8]).is_ok());
        assert!(batch(50_000, [3, 64, 64]).is_ok());
        let problem = batch(1_000_000, [3, 256, 256]).unwrap_err();
        assert!(problem.contains("more than 4,294,967,296 numbers"), "{problem}");
        assert!(batch(usize::MAX, [usize::MAX; 3]).is_err());
        assert_eq!(
            ["1", "12", "123", "1,234", "12,345,678"],
            [1, 12, 123, 1234, 12_345_678].map(grouped)
        );
    }
}
