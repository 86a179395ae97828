use super::*;

#[test]
fn every_page_is_there_and_is_revalidated() {
    for name in PAGES {
        let page = page(name).unwrap();
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(!page.immutable, "{name} would never be seen again");
        assert!(page.bytes.starts_with(b"<!doctype html>"), "{name}");
    }
}

#[test]
fn nothing_else_is_a_page() {
    for name in ["", "index.html", "../Cargo.toml", "assets/", "rooms"] {
        assert!(page(name).is_none(), "{name:?}");
    }
}

#[test]
fn every_asset_is_found_both_ways_with_its_type() {
    for path in Dist::iter().filter(|path| path.starts_with("assets/") && !path.ends_with(".gz")) {
        let by_request = asset(&format!("/{path}")).unwrap();
        let by_name = asset(path.trim_start_matches("assets/")).unwrap();
        assert_eq!(by_request.etag, by_name.etag);
        assert!(by_request.immutable);
        assert_ne!(
            by_request.content_type, "application/octet-stream",
            "{path} has a type content_type() does not know"
        );
        if let Some(gzip) = &by_request.gzip {
            assert!(gzip.len() < by_request.bytes.len(), "{path}");
            assert!(gzip.starts_with(&[0x1f, 0x8b]), "{path}");
        }
    }
}

#[test]
fn nothing_outside_assets_is_an_asset() {
    for path in [
        "",
        "/",
        "/assets/",
        "../index.html",
        "/assets/../index.html",
        "missing.js",
    ] {
        assert!(asset(path).is_none(), "{path:?}");
    }
}

#[test]
fn tags_are_strong_quoted_and_differ_by_coding() {
    let page = page("index").unwrap();
    assert!(page.etag.starts_with('"') && page.etag.ends_with('"') && page.etag.len() == 34);
    assert_eq!(
        page.gzip_etag(),
        page.etag.trim_end_matches('"').to_owned() + "-gzip\""
    );
}

#[test]
fn pages_hold_no_inline_script_or_style() {
    // The content security policy would refuse them, and only a browser would notice.
    for name in PAGES {
        let page = page(name).unwrap();
        let text = String::from_utf8(page.bytes.into_owned()).unwrap();
        assert!(!text.contains("<style"), "{name}");
        assert!(!text.contains(" style="), "{name}");
        for tag in text.split("<script").skip(1) {
            assert!(
                tag.split('>').next().unwrap().contains(" src=\"/assets/"),
                "{name}"
            );
        }
    }
}
