//! The pages people see — index, watch, studio, room, dashboard, docs — as bytes inside the binary.
//!
//! The pages are TypeScript, built by Vite into `dist` and embedded from there. This crate finds a file and says how it
//! may be cached; it speaks no HTTP, and never reads the disk once it is compiled. Start reading at [`page`] and
//! [`asset`], or, for the pages themselves, at `watch.html` and `src/pages`.

#![forbid(unsafe_code)]

use std::{borrow::Cow, fmt::Write as _};

use rust_embed::{EmbeddedFile, RustEmbed};

/// One embedded file with what a response needs to say about it.
#[derive(Debug, Clone)]
pub struct Asset {
    /// The file itself.
    pub bytes: Cow<'static, [u8]>,
    /// The same file under gzip, where that is worth it. Needs an `ETag` of its own: see [`Asset::gzip_etag`].
    pub gzip: Option<Cow<'static, [u8]>>,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// A strong entity tag of `bytes`, in its quotes.
    pub etag: String,
    /// The name carries a digest of the content: it may be cached for ever. Pages are not; they are to be revalidated.
    pub immutable: bool,
}

impl Asset {
    /// The strong entity tag of the `gzip` form: other bytes, so another tag (RFC 9110 §8.8.3.3).
    pub fn gzip_etag(&self) -> String {
        format!("{}-gzip\"", self.etag.trim_end_matches('"'))
    }
}

/// The names [`page`] knows.
pub const PAGES: [&str; 6] = ["index", "watch", "studio", "room", "dashboard", "docs"];

/// A page by its name, one of [`PAGES`].
pub fn page(name: &str) -> Option<Asset> {
    PAGES
        .contains(&name)
        .then(|| load(&format!("{name}.html"), false))?
}

/// A script, style or picture by its path, as in a request (`/assets/watch-1f2e.js`) or only what follows `/assets/`.
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.trim_start_matches('/');
    let name = path.strip_prefix("assets/").unwrap_or(path);
    // The gzip forms are another coding of a file, not files of their own.
    if name.ends_with(".gz") {
        return None;
    }
    load(&format!("assets/{name}"), true)
}

/// What a content security policy has to allow besides styles of our own, as its source expressions: hashes of the style
/// elements that components of the pages bring in their shadow trees. Written by `scripts/styles.js`.
pub fn style_sources() -> String {
    Dist::get(STYLES)
        .and_then(|file| String::from_utf8(file.data.into_owned()).ok())
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

fn load(path: &str, immutable: bool) -> Option<Asset> {
    let file = Dist::get(path)?;
    Some(Asset {
        gzip: Dist::get(&format!("{path}.gz")).map(|packed| packed.data),
        content_type: content_type(path),
        etag: etag(&file),
        immutable,
        bytes: file.data,
    })
}

fn etag(file: &EmbeddedFile) -> String {
    let digest = file.metadata.sha256_hash();
    let mut tag = String::from("\"");
    // 128 bits of SHA-256 are plenty to tell two builds apart.
    for byte in digest.iter().take(16) {
        write!(tag, "{byte:02x}").expect("a String takes every write");
    }
    tag.push('"');
    tag
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

const STYLES: &str = "styles.txt";

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/dist"]
struct Dist;

#[cfg(test)]
mod tests;
