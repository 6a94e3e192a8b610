//! Compiles this crate's few lines of C++ against LibTorch's headers, and puts LibTorch's folder into
//! the binary's rpath, so that nothing has to be exported to run it.

// The library alone links none of it, and docs.rs has no LibTorch.
#![cfg_attr(any(not(feature = "torch"), feature = "doc-only"), allow(dead_code, unused_imports))]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The C++ sources; the module of `backends` of the same name calls each.
const SOURCES: &str = "src/backends/cpp";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(all(feature = "torch", not(feature = "doc-only")))]
    with_libtorch();
}

#[cfg(feature = "torch")]
fn with_libtorch() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = env::var_os("LIBTORCH").map(PathBuf::from);
    // A path that does not exist would count as changed at every build.
    if let Some(runtime) = libtorch.iter().map(|home| home.join("runtime")).find(|p| p.exists()) {
        println!("cargo:rerun-if-changed={}", runtime.display());
    }
    compile(libtorch.as_deref());
    if let Some(libtorch) = libtorch {
        set_rpath(&libtorch);
    }
}

/// Compiles every source as `torch-sys` does its own, which is linked beside them.
#[cfg(feature = "torch")]
fn compile(libtorch: Option<&Path>) {
    println!("cargo:rerun-if-changed={SOURCES}");
    let entries = fs::read_dir(SOURCES).expect("the package contains its C++ sources");
    let files = entries.map(|entry| entry.expect("a folder of the package can be listed").path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "cpp")).collect();
    files.sort();
    for variable in ["LIBTORCH_INCLUDE", "LIBTORCH_CXX11_ABI"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // The places that torch-sys knows: what the variables say, then a system's own LibTorch.
    let home = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let home = home.or_else(|| libtorch.map(Path::to_owned)).unwrap_or_else(|| "/usr".into());
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        // Nearly all of them would be about LibTorch's headers.
        .warnings(false)
        .flag_if_supported("-Wno-attributes")
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(home.join("include"))
        .include(home.join("include/torch/csrc/api/include"))
        .files(files)
        .compile("ddim_cpp");
}

/// Names the folder of LibTorch's libraries in the binary.
fn set_rpath(libtorch: &Path) {
    // `make setup` keeps the wheel's own folder under `runtime`; a stock LibTorch has all in `lib`.
    for folder in ["runtime", "lib"] {
        // Resolved, because the loader follows the libraries' own relative rpath from here.
        if let Ok(real) = libtorch.join(folder).canonicalize() {
            println!("cargo:rustc-link-arg=-Wl,-rpath,{}", real.display());
            return;
        }
    }
}
