//! Makes sure that there is something to embed, so that `cargo build` alone works on a fresh clone.

use std::{env, fs, io, path::Path};

/// Stands in every placeholder, and in no built page.
const MARK: &str = "lockgate-placeholder";

const PAGES: [&str; 6] = ["index", "watch", "studio", "room", "dashboard", "docs"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=dist");
    let root = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or_else(|| io::Error::other("cargo sets CARGO_MANIFEST_DIR"))?;
    let dist = Path::new(&root).join("dist");
    fs::create_dir_all(dist.join("assets"))?;
    let mut placeholders = false;
    for page in PAGES {
        let path = dist.join(page).with_extension("html");
        if !path.exists() {
            fs::write(&path, placeholder(page))?;
        }
        placeholders |= fs::read_to_string(&path)?.contains(MARK);
    }
    if placeholders {
        println!("cargo::warning=the pages are placeholders: `make pages` builds the real ones");
    }
    Ok(())
}

fn placeholder(page: &str) -> String {
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"generator\" content=\"{MARK}\">\n\
         <title>Lockgate</title>\n\
         <h1>This page was not built</h1>\n\
         <p>The server runs, but its {page} page is missing from this build. \
         Run <code>make pages</code>, build again, and reload.</p>\n"
    )
}
