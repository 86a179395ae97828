// The controls over the picture: media-chrome's, with its keys wherever on the page the focus is on nothing.

import "media-chrome/media-captions-button";
import "media-chrome/media-control-bar";
import "media-chrome/media-fullscreen-button";
import "media-chrome/media-live-button";
import "media-chrome/media-mute-button";
import "media-chrome/media-pip-button";
import "media-chrome/media-play-button";
import "media-chrome/media-volume-range";
import { MediaController } from "media-chrome/media-controller";

import { byId } from "./dom";

const controller = byId("player", MediaController);
// With the words over the picture.
controller.fullscreenElement = byId("stage", HTMLElement);

for (const type of ["keydown", "keyup"] as const) {
  document.addEventListener(type, (event) => {
    if (event.target !== document.body || event.ctrlKey || event.altKey || event.metaKey) return;
    const { key, code, shiftKey } = event;
    const forwarded = new KeyboardEvent(type, { key, code, shiftKey, cancelable: true });
    controller.dispatchEvent(forwarded);
    // A space would scroll the page, too.
    if (type === "keydown" && key === " ") event.preventDefault();
  });
}

/** Opens the list of keys, as Shift+/ does. */
export function showKeys(): void {
  const key = { key: "?", code: "Slash", shiftKey: true };
  controller.dispatchEvent(new KeyboardEvent("keydown", key));
  controller.dispatchEvent(new KeyboardEvent("keyup", key));
}
