//! Puts LibTorch's folder into the binary's rpath, so that nothing has to be exported to run it.

use std::{env, path::Path};

fn main() {
    // The library alone links none of it.
    if env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=.libtorch/runtime");
    let Ok(libtorch) = env::var("LIBTORCH") else { return };
    let libtorch = Path::new(&libtorch);
    // `make setup` keeps the wheel's own folder under `runtime`; a stock LibTorch has all in `lib`.
    for folder in ["runtime", "lib"] {
        // Resolved, because the loader follows the libraries' own relative rpath from here.
        if let Ok(real) = libtorch.join(folder).canonicalize() {
            println!("cargo:rustc-link-arg=-Wl,-rpath,{}", real.display());
            return;
        }
    }
}
