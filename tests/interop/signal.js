// What every publisher shows: black and silence, and for the first fifth of each second white and a tone, both at the
// same moment. Whoever watches can tell how far picture and sound are apart.

export const WIDTH = 320;
export const HEIGHT = 240;
export const FPS = 30;
export const TONE_HZ = 1000;

/** Whether it flashes and beeps so many seconds after the start. */
export const isOn = (second) => second % 1 < 0.2;

/** The middle of how far each flash is from the nearest beep, in ms; negative if the picture is early. Null without both. */
export function skewMs(flashes, beeps) {
  const apart = flashes
    .flatMap((flash) => {
      const nearest = beeps.map((beep) => flash - beep).sort((a, b) => Math.abs(a) - Math.abs(b))[0];
      return nearest !== undefined && Math.abs(nearest) < 0.5 ? [nearest * 1000] : [];
    })
    .sort((a, b) => a - b);
  return apart.length ? apart[Math.floor(apart.length / 2)] : null;
}
