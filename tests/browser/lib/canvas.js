// A page that publishes a drawing and a tone, for tests that choose how it is encoded.

/**
 * Publishes from a page of the server: white and a tone for the first fifth of each second, black and silence else.
 *
 * @param {{ name: string, token: string, codec?: string, encodings?: object[], noise?: number, pauses?: boolean, width?: number, height?: number }} options
 * With `pauses`, pictures of the height that `window.paused` says do not go out, as of an encoder that leaves them out.
 */
export function publishCanvas(page, { width = 320, height = 240, fps = 30, ...options }) {
  return page.evaluate(
    async ({ name, token, codec, encodings, noise, pauses, width, height, fps }) => {
      const sound = new AudioContext({ sampleRate: 48000 });
      const gain = new GainNode(sound, { gain: 0 });
      const tone = new OscillatorNode(sound, { frequency: 1000 });
      const out = new MediaStreamAudioDestinationNode(sound);
      tone.connect(gain).connect(out);
      tone.start();
      let next = Math.ceil(sound.currentTime);
      const canvas = Object.assign(document.createElement("canvas"), { width, height });
      const drawing = canvas.getContext("2d");
      let drawn = 0;
      // From 0 to 1: how much of it. A little takes all that an encoder may spend; of much it leaves out most pictures.
      const grain = Object.assign(document.createElement("canvas"), { width: 80, height: 60 });
      const grains = new ImageData(80, 60);
      setInterval(() => {
        // The sound is planned ahead and so exact; the picture is drawn when its time has come.
        for (; next < sound.currentTime + 2; next += 1) {
          gain.gain.setValueAtTime(0.5, next);
          gain.gain.setValueAtTime(0, next + 0.2);
        }
        drawing.fillStyle = sound.currentTime % 1 < 0.2 ? "white" : "black";
        drawing.fillRect(0, 0, width, height);
        if (noise) {
          new Uint32Array(grains.data.buffer).forEach((_, at, all) => (all[at] = 0xff000000 | (Math.random() * 0xffffff)));
          grain.getContext("2d").putImageData(grains, 0, 0);
          drawing.globalAlpha = noise;
          drawing.drawImage(grain, 0, 0, width, height);
          drawing.globalAlpha = 1;
        }
        // Something that moves: an encoder leaves out pictures that are all the same.
        drawing.fillStyle = "gray";
        drawing.fillRect((drawn += 3) % width, height - 20, 20, 20);
      }, 1000 / fps);
      const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", encodedInsertableStreams: pauses });
      const stream = new MediaStream([...canvas.captureStream(fps).getTracks(), ...out.stream.getTracks()]);
      for (const track of stream.getTracks()) {
        const isVideo = track.kind === "video";
        const sendEncodings = isVideo ? encodings : undefined;
        const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings });
        if (pauses) {
          const { readable, writable } = transceiver.sender.createEncodedStreams();
          const transform = (frame, out) => frame.getMetadata().height === globalThis.paused || out.enqueue(frame);
          void readable.pipeThrough(new TransformStream({ transform })).pipeTo(writable);
        }
        if (isVideo && codec) {
          const { codecs } = RTCRtpSender.getCapabilities("video");
          transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`));
        }
      }
      await pc.setLocalDescription();
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/sdp" };
      const response = await fetch(`/whip/${name}`, { method: "POST", headers, body: pc.localDescription.sdp });
      if (response.status !== 201) throw new Error(`WHIP said ${response.status}: ${await response.text()}`);
      await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
      // A machine that is too slow for it shows fewer pictures, not smaller ones.
      for (const sender of pc.getSenders().filter(({ track }) => track.kind === "video")) {
        await sender.setParameters({ ...sender.getParameters(), degradationPreference: "maintain-resolution" });
      }
      globalThis.pc = pc;
    },
    { pauses: false, ...options, width, height, fps },
  );
}
