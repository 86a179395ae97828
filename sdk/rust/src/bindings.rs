//! What `wit-bindgen` makes of the contract: one module for each interface, so that a plugin exports only its own.
#![allow(missing_docs, reason = "generated")]

macro_rules! interface {
    ($name:ident, $inline:literal) => {
        pub mod $name {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $inline,
                pub_export_macro: true,
                generate_all,
            });
        }
    };
}

interface!(
    lifecycle,
    "package lockgate:sdk-lifecycle; world just-lifecycle { export lockgate:policy/lifecycle@0.1.0; }"
);
interface!(
    abr,
    "package lockgate:sdk-abr; world just-abr { export lockgate:policy/abr@0.1.0; }"
);
interface!(
    optimize,
    "package lockgate:sdk-optimize; world just-optimize { export lockgate:policy/optimize@0.1.0; }"
);
interface!(
    score,
    "package lockgate:sdk-score; world just-score { export lockgate:policy/score@0.1.0; }"
);
interface!(
    ladder,
    "package lockgate:sdk-ladder; world just-ladder { export lockgate:policy/ladder@0.1.0; }"
);
interface!(
    auth,
    "package lockgate:sdk-auth; world just-auth { export lockgate:policy/auth@0.1.0; }"
);
interface!(
    host_log,
    "package lockgate:sdk-host-log; world just-host-log { import lockgate:policy/host-log@0.1.0; }"
);
interface!(
    host_kv,
    "package lockgate:sdk-host-kv; world just-host-kv { import lockgate:policy/host-kv@0.1.0; }"
);
interface!(
    host_metrics,
    "package lockgate:sdk-host-metrics; world just-host-metrics { import lockgate:policy/host-metrics@0.1.0; }"
);
