//! Files that are no policy, or claim to be what they are not: each is told what is wrong and what to do.

use std::{fmt::Write, fs};

use serde_json::{Value, json};

use super::{guest::*, *};

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    let error = load(bytes).err().unwrap();
    assert!(error.contains(words), "{words:?} was to be in: {error}");
    assert!(error.starts_with("guest: "), "{error}");
    a_good_one_still_works();
}

fn component(text: &str) -> Vec<u8> {
    let section = format!(
        "(@custom \"lockgate:manifest\" {:?})",
        manifest().to_string()
    );
    wat::parse_str(format!("(component {section} {text})")).unwrap()
}

fn with_manifest(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut manifest = manifest();
    change(&mut manifest);
    Guest {
        manifest: Some(manifest.to_string()),
        ..Guest::default()
    }
    .build()
}

#[test]
fn an_empty_file() {
    refused(b"", "empty");
}

#[test]
fn no_webassembly_at_all() {
    refused(b"(module)", "not its text");
    refused(b"\x7fELF\x02\x01\x01", "no WebAssembly");
}

#[test]
fn half_a_file() {
    let whole = reference_bytes(Kind::Abr);
    for cut in [4, 7, 8, 9, 1000, whole.len() / 2, whole.len() - 1] {
        let error = load(&whole[..cut]).err().unwrap();
        assert!(
            error.contains("broken") || error.contains("manifest"),
            "{cut}: {error}"
        );
    }
}

#[test]
fn flipped_bytes_never_do_more_than_fail() {
    let whole = Guest::default().build();
    for at in (8..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        // Some flips do no harm: names, numbers of the manifest. What loads must also run within its limits.
        if let Ok(artifact) = load(&bytes)
            && let Ok(mut policy) = artifact.instantiate(&Value::Null)
        {
            let batch = blank(Kind::Abr, artifact.manifest(), 2, 3);
            drop(policy.decide(Kind::Abr, &batch, &mut Answer::default()));
        }
    }
    a_good_one_still_works();
}

#[test]
fn an_unknown_version_of_the_format() {
    refused(b"\0asm\x63\0\0\0", "broken");
}

#[test]
fn a_core_module_that_does_not_say_what_it_is() {
    refused(
        &Guest {
            typed: false,
            ..Guest::default()
        }
        .build(),
        "component new",
    );
}

#[test]
fn a_core_module_whose_description_is_garbage() {
    // It is never read: the host knows the contract, and the library that would read it can be brought down by it.
    let mut bytes = Guest {
        typed: false,
        ..Guest::default()
    }
    .build();
    let garbage = wat::parse_str("(module (@custom \"component-type\" \"\\00garbage\"))").unwrap();
    bytes.extend_from_slice(&garbage[8..]);
    let artifact = load(&bytes).unwrap();
    artifact.instantiate(&Value::Null).unwrap();
}

#[test]
fn a_core_module_without_the_function_of_its_interface() {
    let mut bytes = Guest::default().build();
    let name = b"#recommend";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    bytes[at + name.len() - 1] = b'x';
    refused(&bytes, "cannot become a component");
}

#[test]
fn no_manifest() {
    refused(
        &Guest {
            manifest: None,
            ..Guest::default()
        }
        .build(),
        "no manifest",
    );
}

#[test]
fn two_manifests() {
    let more = format!("{MODULE} (@custom \"lockgate:manifest\" \"{{}}\")");
    refused(
        &Guest {
            module: more,
            ..Guest::default()
        }
        .build(),
        "2 manifests",
    );
}

#[test]
fn a_manifest_that_is_garbage() {
    for garbage in ["", "{", "[]", "null", "{\"name\": 1}"] {
        let guest = Guest {
            manifest: Some(garbage.to_owned()),
            ..Guest::default()
        };
        refused(&guest.build(), "cannot be read");
    }
    refused(
        &with_manifest(|manifest| manifest["luck"] = json!(7)),
        "luck",
    );
}

#[test]
fn a_manifest_of_another_contract() {
    refused(
        &with_manifest(|manifest| manifest["api"] = json!("1.0")),
        "speaks 0.1",
    );
}

#[test]
fn a_manifest_with_a_column_that_does_not_exist() {
    let wrong = |manifest: &mut Value| manifest["kinds"]["abr"]["columns"] = json!(["luck"]);
    refused(&with_manifest(wrong), "\"luck\", which does not exist");
}

#[test]
fn a_manifest_that_carries_too_much() {
    refused(
        &with_manifest(|manifest| manifest["kinds"]["abr"]["memo"] = json!(65)),
        "64 is the most",
    );
}

#[test]
fn a_manifest_that_claims_more_than_is_exported() {
    refused(
        &with_manifest(|manifest| manifest["kinds"]["score"] = json!({})),
        "does not export \"lockgate:policy/score@0.1.0\"",
    );
}

#[test]
fn a_manifest_that_claims_less_than_is_exported() {
    let other = |manifest: &mut Value| manifest["kinds"] = json!({ "score": {} });
    refused(&with_manifest(other), "add [kinds.abr]");
    let both = |manifest: &mut Value| manifest["kinds"] = json!({ "abr": {}, "auth": {} });
    refused(&with_manifest(both), "auth");
}

#[test]
fn a_manifest_that_wants_imports() {
    refused(
        &with_manifest(|manifest| manifest["imports"] = json!(["host-kv"])),
        "host-kv",
    );
}

#[test]
fn a_component_without_exports() {
    refused(
        &component(""),
        "does not export \"lockgate:policy/lifecycle@0.1.0\"",
    );
}

#[test]
fn imports_of_wasi() {
    let text = r#"(import "wasi:cli/environment@0.2.0" (instance (export "get" (func))))"#;
    refused(&component(text), "wasm32-unknown-unknown");
}

#[test]
fn imports_of_anything_else() {
    refused(
        &component(r#"(import "host-log" (func (param "x" u32)))"#),
        "\"host-log\"",
    );
    let types = r#"(import "lockgate:policy/abr@0.1.0" (instance (export "recommend" (func))))"#;
    refused(&component(types), "offers no imports");
    let sneaky = r#"(import "lockgate:policy/types@0.1.0" (instance (export "tick" (func))))"#;
    refused(&component(sneaky), "");
}

#[test]
fn a_core_module_that_imports() {
    let module = format!("(import \"env\" \"abort\" (func)) {MODULE}");
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "it imports \"env\"",
    );
}

const LIFECYCLE: &str = r#"
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "configure") (param i32 i32) (result i32) (i32.const 0))
        (func (export "nothing")))
    (core instance $i (instantiate $m))
    (func $configure (param "json" string) (result (result (error string)))
        (canon lift (core func $i "configure") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (func $nothing (canon lift (core func $i "nothing")))
    (instance $lifecycle (export "configure" (func $configure)))
    (instance $empty (export "nothing" (func $nothing)))
    (instance $wrong (export "recommend" (func $nothing)))
    (export "lockgate:policy/lifecycle@0.1.0" (instance $lifecycle))
"#;

#[test]
fn an_interface_of_another_version() {
    let text = format!("{LIFECYCLE} (export \"lockgate:policy/abr@1.0.0\" (instance $wrong))");
    refused(
        &component(&text),
        "\"lockgate:policy/abr@1.0.0\"; this host speaks 0.1",
    );
}

#[test]
fn an_interface_without_its_function() {
    let text = format!("{LIFECYCLE} (export \"lockgate:policy/abr@0.1.0\" (instance $empty))");
    refused(&component(&text), "no function \"recommend\"");
}

#[test]
fn a_function_of_another_shape() {
    let text = format!("{LIFECYCLE} (export \"lockgate:policy/abr@0.1.0\" (instance $wrong))");
    refused(&component(&text), "other types than the contract");
}

#[test]
fn a_memory_that_begins_too_big() {
    let module = MODULE.replace("\"memory\") 1", "\"memory\") 65");
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "bytes of memory; 4194304",
    );
}

#[test]
fn a_table_that_begins_too_big() {
    let module = format!("{MODULE} (table 10000000 funcref)");
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "table entries",
    );
}

#[test]
fn more_tables_than_the_pool_has() {
    let module = format!("{MODULE} {}", "(table 10 funcref)".repeat(60));
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "tables",
    );
}

#[test]
fn features_that_are_switched_off() {
    for module in [
        "(memory (export \"memory\") i64 1)",
        "(memory (export \"memory\") 1 1 shared)",
        "(memory (export \"memory\") 1) (memory 1)",
    ] {
        let rest = MODULE.replace("(memory (export \"memory\") 1)", module);
        refused(
            &Guest {
                module: rest,
                ..Guest::default()
            }
            .build(),
            "",
        );
    }
}

#[test]
fn a_file_over_its_size() {
    let module = format!("{MODULE} (@custom \"padding\" \"{}\")", "x".repeat(2 << 20));
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "2097152 is the most",
    );
}

#[test]
fn a_compile_bomb_of_many_functions() {
    let module = format!("{MODULE} {}", "(func)".repeat(20_001));
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "20000 is the most",
    );
}

#[test]
fn a_compile_bomb_of_a_huge_branch_table() {
    let mut bomb = String::from("(func (param i32) (block $b (br_table");
    for _ in 0..2_100_000 {
        bomb.push_str(" 0");
    }
    write!(bomb, " (local.get 0))))").unwrap();
    let module = format!("{MODULE} {bomb}");
    refused(
        &Guest {
            module,
            ..Guest::default()
        }
        .build(),
        "is the most",
    );
}

#[test]
fn a_limit_beyond_the_hosts_is_refused() {
    let limits = Limits {
        memory_bytes: 65 << 20,
        ..Limits::default()
    };
    let error = HOST
        .load("guest", &reference_bytes(Kind::Abr), limits)
        .err()
        .unwrap();
    assert!(error.to_string().contains("grants no more than"), "{error}");
}

#[test]
fn the_cache_gives_back_what_it_was_given_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("code");
    let config = || HostConfig {
        cache: Some(cache.clone()),
        instances: 4,
        ..patient()
    };
    let guest = Guest::default().build();
    let works = || {
        let host = Host::new(config()).unwrap();
        let artifact = host.load("guest", &guest, Limits::default()).unwrap();
        let mut policy = artifact.instantiate(&Value::Null).unwrap();
        let batch = blank(Kind::Abr, artifact.manifest(), 1, 1);
        policy
            .decide(Kind::Abr, &batch, &mut Answer::default())
            .unwrap();
        artifact.digest().to_owned()
    };
    let digest = works();
    let files = || -> Vec<_> {
        fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    };
    let [kept] = files().try_into().unwrap();
    assert!(
        kept.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(&digest)
    );
    let good = fs::read(&kept).unwrap();
    assert_eq!(works(), digest);
    assert_eq!(
        fs::read(&kept).unwrap(),
        good,
        "it was taken, not made anew"
    );

    // Damaged, cut short, empty, foreign: made anew.
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for wrong in [
        damaged,
        good[..good.len() / 2].to_vec(),
        Vec::new(),
        vec![7; 4096],
        reference_bytes(Kind::Abr),
    ] {
        fs::write(&kept, &wrong).unwrap();
        works();
        assert_ne!(fs::read(&kept).unwrap(), wrong);
    }
    assert_eq!(files().len(), 1);
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let config = HostConfig {
        cache: Some(directory.path().to_owned()),
        ..patient()
    };
    let error = Host::new(config).err().unwrap();
    assert!(error.to_string().contains("0700"), "{error}");
}

#[test]
fn the_digest_is_that_of_the_file() {
    use sha2::Digest;
    let bytes = reference_bytes(Kind::Ladder);
    let sum = crate::cache::hex(&sha2::Sha256::digest(&bytes));
    assert_eq!(load(&bytes).unwrap().digest(), sum);
}
