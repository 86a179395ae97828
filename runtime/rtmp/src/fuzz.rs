//! What real publishers sent, and what becomes of it with bytes changed, cut out, doubled: nothing panics or hangs.

use lockgate_tests_fuzz::run;

use crate::{Connection, Event};

#[test]
fn connections() {
    run("rtmp", 4000, feed);
}

/// Feeds a connection whatever bytes.
fn feed(data: &[u8]) {
    let mut connection = Connection::new([0; 1528]);
    let cut = usize::from(data.first().copied().unwrap_or(0)) + 1;
    for piece in data.chunks(cut) {
        if connection.push(piece).is_err() {
            break;
        }
        while let Ok(Some(event)) = connection.poll() {
            if let Event::Publish { .. } = event {
                connection.accept();
            }
        }
        connection.output();
    }
}
