// The outgoing link in a word and a sentence.

import type { PublishStats } from "@lockgate/client";

export interface Health {
  grade: "good" | "fair" | "poor";
  words: string;
}

const LOSS_POOR = 0.05;
const LOSS_FAIR = 0.01;
const ROUND_TRIP_FAIR_MS = 300;

/** The worst of what is wrong first. */
export function health(stats: PublishStats): Health {
  const { limitedBy, lossFraction, roundTripTimeMs, width, height, sourceWidth, sourceHeight } = stats;
  const smaller =
    width && sourceWidth && width < sourceWidth ? ` ${width}×${height} goes out instead of ${sourceWidth}×${sourceHeight}.` : "";
  const percent = `${((lossFraction ?? 0) * 100).toFixed(1)} %`;
  if ((lossFraction ?? 0) >= LOSS_POOR) return { grade: "poor", words: `Poor: ${percent} of the packets are lost.${smaller}` };
  if (limitedBy === "cpu") {
    return { grade: "poor", words: `This computer is too slow for the picture.${smaller} Close other programs or send one size.` };
  }
  if (limitedBy === "bandwidth") {
    return { grade: "fair", words: `The network carries less than the picture needs.${smaller}` };
  }
  if ((lossFraction ?? 0) >= LOSS_FAIR) return { grade: "fair", words: `Fair: ${percent} of the packets are lost.${smaller}` };
  if ((roundTripTimeMs ?? 0) >= ROUND_TRIP_FAIR_MS) {
    return { grade: "fair", words: "Fair: the way to the server and back takes long; lost packets are repaired late." };
  }
  return { grade: "good", words: `Good: the network carries all that is sent.${smaller}` };
}
