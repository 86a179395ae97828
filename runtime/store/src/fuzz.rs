//! A fuzz target for what lies on the disk.

use lockgate_ports::records::Table;
use lockgate_tests_fuzz::run;

use crate::envelope;

/// Whatever lies under a key is what was put there, or nothing.
#[test]
fn sealed_values() {
    run("envelope", 5000, |data| {
        let key = envelope::key(Table::Sessions, "t/1");
        assert_eq!(
            envelope::open(&key, &envelope::seal(&key, data)).as_deref(),
            Some(data)
        );
        let sealed = envelope::seal(&key, data);
        assert_eq!(
            envelope::open(&envelope::key(Table::Policies, "t/1"), &sealed),
            None
        );
        if let Some(value) = envelope::open(&key, data) {
            assert_eq!(envelope::seal(&key, &value), data);
        }
        let _ = envelope::name(data);
    });
}
