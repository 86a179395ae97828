// After a build: the hashes of the style elements that media-chrome's components put into their shadow trees, for the
// content security policy, which else allows no inline style.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import * as components from "media-chrome";
import { MediaKeyboardShortcutsDialog } from "media-chrome/media-keyboard-shortcuts-dialog";
import MediaTooltip from "media-chrome/media-tooltip";

const DIST = new URL("../dist", import.meta.url).pathname;
/** What others make without a tag in a page. */
const IMPLICIT = [components.MediaGestureReceiver, MediaKeyboardShortcutsDialog, MediaTooltip];

const tags = new Set();
for (const page of readdirSync(DIST).filter((name) => name.endsWith(".html"))) {
  for (const [, tag] of readFileSync(join(DIST, page), "utf8").matchAll(/<(media-[a-z-]+)/g)) tags.add(tag);
}
const classOf = (tag) => components[tag.replace(/(?:^|-)([a-z])/g, (_, letter) => letter.toUpperCase())];
const hashes = new Set();
for (const component of [...[...tags].map(classOf), ...IMPLICIT]) {
  for (const [, style] of component.getTemplateHTML({}).matchAll(/<style[^>]*>([\s\S]*?)<\/style>/g)) {
    hashes.add(`'sha256-${createHash("sha256").update(style).digest("base64")}'`);
  }
}
writeFileSync(join(DIST, "styles.txt"), `${[...hashes].sort().join("\n")}\n`);
