import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

/** Where `npm run dev` finds a running Lockgate. */
const SERVER = "http://127.0.0.1:3000";

/** Gives the pages the addresses the server gives them, under `npm run dev`. @returns {import("vite").Plugin} */
function addresses() {
  return {
    name: "lockgate-addresses",
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        const url = request.url ?? "/";
        if (/^\/watch\/[^/?]+(\?|$)/.test(url)) request.url = "/watch.html";
        else if (/^\/rooms\/[^/?]+(\?|$)/.test(url)) request.url = "/room.html";
        else if (/^\/api\/docs(\?|$)/.test(url)) request.url = "/docs.html";
        else if (/^\/dashboard(\?|$)/.test(url)) request.url = "/dashboard.html";
        else if (/^\/studio(\?|$)/.test(url)) request.url = "/studio.html";
        next();
      });
    },
  };
}

export default defineConfig({
  appType: "mpa",
  plugins: [addresses()],
  resolve: {
    // The pages are built from the client's sources; what these import is found in its own node_modules.
    alias: { "@lockgate/client": fileURLToPath(new URL("../../sdk/js/client/src/index.ts", import.meta.url)) },
    dedupe: ["hls.js", "socket.io-client"],
  },
  build: {
    target: "es2022",
    // The content security policy knows no data: addresses, so nothing may be inlined as one.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // hls.js is one large chunk of its own, loaded only by who needs it.
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      input: ["index.html", "watch.html", "studio.html", "room.html", "dashboard.html", "docs.html"],
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/whip", "/whep", "/hls", "/socket.io"].map((path) => [path, { target: SERVER, xfwd: true, ws: true }]),
    ),
  },
});
