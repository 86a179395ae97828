// What a project's build and tests need. A policy itself imports nothing from here but types.

export { tester } from "./guest.js";
export { manifestOf } from "./manifest.js";
export { build } from "./build.js";
