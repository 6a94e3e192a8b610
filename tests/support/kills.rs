//! Ends work at random moments until it was ended often enough.

use std::{
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

/// Numbers without a pattern, from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Sends a signal by its name.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Starts work and ends it after a random part of `longest`, by SIGKILL half of the time, else by SIGINT or
/// SIGTERM, and starts it again until it comes through and `check` has looked at it; all this until it
/// was ended `kills` times, or `DDIM_KILLS`. `DDIM_KILL_SEED` repeats a test.
///
/// `start` is told whether it begins anew; `inside` says whether something is half done.
pub fn ended_at_random(
    kills: u64,
    longest: Duration,
    mut start: impl FnMut(bool) -> Child,
    inside: impl Fn() -> bool,
    check: impl Fn(),
) {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = variable("DDIM_KILL_SEED").unwrap_or(u64::from(clock.subsec_nanos()));
    let wanted = variable("DDIM_KILLS").unwrap_or(kills);
    eprintln!("DDIM_KILL_SEED={seed} DDIM_KILLS={wanted}");
    let longest = u64::try_from(longest.as_millis()).unwrap().max(200);
    let begun = Instant::now();
    let (mut chance, mut ends, mut starts, mut rounds) = (Chance(seed), [0_u64; 3], 0, 0);
    let mut halves = 0;
    while ends.iter().sum::<u64>() < wanted {
        rounds += 1;
        for turn in 0.. {
            let mut child = start(turn == 0);
            starts += 1;
            let life = Duration::from_millis(chance.below(longest));
            let which = usize::try_from(chance.below(4)).unwrap().saturating_sub(1);
            let born = Instant::now();
            while born.elapsed() < life && child.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(1));
            }
            if ends.iter().sum::<u64>() < wanted && child.try_wait().unwrap().is_none() {
                ends[which] += 1;
                signal(&child, ["KILL", "INT", "TERM"][which]);
                halves += u64::from(inside());
            }
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => break,
                // A signal that comes before the program listens ends it as a kill does.
                None | Some(130 | 143) => {}
                Some(code) => {
                    panic!("exit code {code}: {}", String::from_utf8_lossy(&output.stderr))
                }
            }
        }
        check();
    }
    eprintln!(
        "{ends:?} times ended by KILL, INT, TERM, {halves} of them inside of something; {starts} starts, \
         {rounds} came through in {:.0} s, none differs",
        begun.elapsed().as_secs_f64()
    );
}
