//! A share of every cell's samples: `2/8` is the second of eight.
//!
//! Shares are whole batches, because a network's output depends on the batch in its last bits. What is
//! kept of a batch does not name the shard that drew it: another number of shards, or none, goes on from it.

use std::{cmp::Ordering, fmt, ops::Range, str::FromStr};

/// The most shards of an experiment: Slurm's own limit on the tasks of an array, unless it is raised.
pub const MOST: usize = 1000;

/// One of several shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    count: usize,
}

impl Shard {
    /// Shard `number` of `count`, from 1.
    ///
    /// # Errors
    /// Numbers that are no shard, in words.
    pub fn new(number: usize, count: usize) -> Result<Self, String> {
        if count == 0 || count > MOST {
            return Err(format!("there are 1 to {MOST} shards, not {count}"));
        }
        if number == 0 || number > count {
            return Err(format!("the shards of {count} are 1/{count} to {count}/{count}"));
        }
        Ok(Self { number, count })
    }

    /// All shards of `count`.
    ///
    /// # Panics
    /// If there cannot be as many.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        assert!((1..=MOST).contains(&count), "{count} shards");
        (1..=count).map(move |number| Self { number, count })
    }

    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Its batches of a cell that has `batches`; `turn` says which share is whose. Turned by one from cell to
    /// cell, the larger shares, and cells of few batches, are spread over all shards.
    pub fn batches(self, turn: usize, batches: usize) -> Range<usize> {
        let turned = (self.number - 1 + turn) % self.count;
        turned * batches / self.count..(turned + 1) * batches / self.count
    }

    /// As part of a file's name: `2of8`.
    pub(crate) fn tag(self) -> String {
        format!("{}of{}", self.number, self.count)
    }

    /// The shard that a file's name means, written as [`Shard::tag`] writes it.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let (number, count) = tag.split_once("of")?;
        let shard = Self::new(number.parse().ok()?, count.parse().ok()?).ok()?;
        (shard.tag() == tag).then_some(shard)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        let (number, count) = numbers.ok_or("write it as 2/8: the second of eight")?;
        Self::new(number, count)
    }
}

impl PartialOrd for Shard {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shard {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.count, self.number).cmp(&(other.count, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_cell_are_all_of_its_batches_once() {
        for (count, batches, cell) in
            [(1, 5, 0), (8, 25, 3), (8, 3, 7), (3, 0, 1), (1000, 7, 12), (7, 1, 100)]
        {
            let mut shares: Vec<_> =
                Shard::all(count).map(|shard| shard.batches(cell, batches)).collect();
            shares.sort_by_key(|share| (share.start, share.end));
            assert!(shares.iter().all(|share| share.len() <= batches.div_ceil(count)));
            assert_eq!(
                shares.into_iter().flatten().collect::<Vec<_>>(),
                (0..batches).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn cells_of_one_batch_are_spread_over_the_shards() {
        let has = |shard: Shard| (0..24).filter(|&cell| !shard.batches(cell, 1).is_empty()).count();
        assert_eq!(Shard::all(8).map(has).collect::<Vec<_>>(), [3; 8]);
    }

    #[test]
    fn a_shard_reads_back_and_what_is_none_is_refused() {
        let shard: Shard = "2/8".parse().unwrap();
        assert_eq!((shard.to_string(), Shard::of_tag(&shard.tag())), ("2/8".into(), Some(shard)));
        for text in ["", "2", "0/8", "9/8", "1/0", "1/1001", "-1/8", "2/8/9", "a/b", "2 / 8"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        for tag in ["2/8", "02of8", "+2of8", "9of8", "of"] {
            assert_eq!(Shard::of_tag(tag), None, "{tag}");
        }
    }
}
