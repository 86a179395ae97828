//! From a core module to a component.
//!
//! A module built for wasm32-unknown-unknown describes in custom sections how it becomes a component. They are not
//! read: they are a stranger's, and the library that reads them recurses without end over some of them, which ends the
//! process. The contract is known here, so the module is described anew from it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lockgate_policy::{Kind, Manifest, manifest::API};
use wasmparser::{BinaryReaderError, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What the names of the sections begin with that describe a module.
pub(crate) const DESCRIPTION: &str = "component-type";

/// How every core module begins: it says so, and its version is 1.
const MAGIC: &[u8] = b"\0asm\x01\0\0\0";

const CONTRACT: &str = include_str!("../../../sdk/wit/lockgate-policy.wit");

/// Encodes a core module that answers the kinds of its manifest.
pub(crate) fn component(module: &[u8], manifest: &Manifest) -> Result<Vec<u8>, String> {
    let encode = || {
        let mut described = without_description(module)?;
        let mut resolve = Resolve::default();
        resolve.push_str("lockgate-policy.wit", CONTRACT)?;
        let package = resolve.push_str("host.wit", &world(manifest))?;
        let world = resolve.select_world(&[package], Some("module"))?;
        embed_component_metadata(&mut described, &resolve, world, StringEncoding::UTF8)?;
        ComponentEncoder::default()
            .validate(true)
            .module(&described)?
            .encode()
    };
    // A library's panic over a file from outside must not take the server along.
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("it is not what the encoder expects".to_owned()),
    }
}

/// A world with the imports and exports that the manifest claims.
fn world(manifest: &Manifest) -> String {
    let imports: String = manifest
        .imports
        .iter()
        .map(|import| format!("import lockgate:policy/{import}@{API}.0;"))
        .collect();
    let exports: String = ["lifecycle"]
        .into_iter()
        .chain(manifest.kinds.keys().copied().map(Kind::name))
        .map(|interface| format!("export lockgate:policy/{interface}@{API}.0;"))
        .collect();
    format!("package lockgate:host; world module {{ {imports} {exports} }}")
}

/// A module without its description.
fn without_description(module: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut kept = MAGIC.to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let describes = matches!(
            &payload,
            Payload::CustomSection(section) if section.name().starts_with(DESCRIPTION)
        );
        if let Some((id, range)) = payload.as_section()
            && !describes
        {
            kept.push(id);
            push_number(&mut kept, range.len());
            kept.extend_from_slice(&module[range]);
        }
    }
    Ok(kept)
}

/// Writes a number as LEB128.
fn push_number(to: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}
