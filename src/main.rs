//! The `ddim` program: [`ddim::cli`], started with environment variables that make it faster.

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    complete_environment();
    ddim::cli::main()
}

/// The verbs that compute long enough to gain from the variables.
const VERBS: [&str; 12] = [
    "bits",
    "decode",
    "encode",
    "evaluate",
    "interpolate",
    "reconstruct",
    "run",
    "sample",
    "speed",
    "stats",
    "tau",
    "train",
];

/// Variables that serve one purpose: if the user sets one of them, none is added.
struct Row {
    variables: &'static [&'static str],
    values: &'static [(&'static str, &'static str)],
}

/// For a shared machine, and for short-lived tensors of a few megabytes.
///
/// - The OpenMP library spins while it waits. On a busy machine, long spinning cuts the network's speed
///   to a quarter; on an idle one, sleeping at once costs a fifth of the speed if each operation is
///   divided over threads, because a pass is a thousand operations. A few thousand turns take about ten
///   microseconds, which does not matter in either case.
/// - The C library returns large blocks to the system as soon as they are free, and the next step of
///   training asks for all of them again, so the system clears every page anew. Kept in one arena until
///   the process ends, the same pages (large ones, if the system has them) serve all steps.
const ROWS: [Row; 2] = [
    Row {
        variables: &["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"],
        values: &[("GOMP_SPINCOUNT", "10000")],
    },
    Row {
        variables: &[
            "GLIBC_TUNABLES",
            "MALLOC_ARENA_MAX",
            "MALLOC_MMAP_MAX_",
            "MALLOC_TRIM_THRESHOLD_",
        ],
        values: &[
            ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
            ("MALLOC_ARENA_MAX", "1"),
            ("MALLOC_MMAP_MAX_", "0"),
            ("MALLOC_TRIM_THRESHOLD_", "1099511627776"),
        ],
    },
];

/// Starts the program again with the missing variables, because the libraries that read them were
/// loaded before `main`.
#[cfg(unix)]
fn complete_environment() {
    use std::os::unix::process::CommandExt;
    if !std::env::args_os().nth(1).is_some_and(|verb| VERBS.iter().any(|known| verb == *known)) {
        return;
    }
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    let missing: Vec<_> = ROWS
        .iter()
        .filter(|row| !row.variables.iter().any(is_set))
        .flat_map(|row| row.values.iter().copied())
        .collect();
    if !missing.is_empty()
        && let Ok(program) = std::env::current_exe()
    {
        // Returns only if it fails, which costs nothing but speed.
        let _ = std::process::Command::new(program)
            .arg0(std::env::args_os().next().unwrap_or_default())
            .args(std::env::args_os().skip(1))
            .envs(missing)
            .exec();
    }
}
