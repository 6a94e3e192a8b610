//! Names LibTorch's folder in the binaries, as the crate's own build.rs does in its own.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else { return };
    let folders = ["runtime", "lib"].map(|folder| libtorch.join(folder).canonicalize());
    if let Some(folder) = folders.into_iter().flatten().next() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
