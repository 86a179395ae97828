//! A fuzz target for the last part of a path.

use lockgate_hls::Container;
use lockgate_tests_fuzz::run;

use super::file::FileName;

/// A file has one name: caches keep the bytes by it.
#[test]
fn names() {
    run("hls_name", 5000, |data| {
        let name = String::from_utf8_lossy(data);
        for container in [Container::Fmp4, Container::Ts] {
            let extension = container.extension();
            let written = match FileName::parse(&name, container) {
                Some(FileName::Segment(number)) => format!("segment_{number}.{extension}"),
                Some(FileName::Part(number, index)) => format!("part_{number}_{index}.{extension}"),
                Some(FileName::Init(version)) => format!("init_{version}.mp4"),
                None => continue,
            };
            assert_eq!(written, name);
        }
    });
}
