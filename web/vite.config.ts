// Builds the page into the Python package. Nothing is inlined, so that the page runs under a policy that allows files
// of its own origin only; names carry a hash of the contents, so that the same sources give the same bundle.
import { defineConfig } from "vitest/config";

const SERVER = "http://127.0.0.1:8000";

export default defineConfig({
  base: "./",
  // React has the hook itself by now; Base UI still brings a stand-in for it.
  resolve: { alias: [{ find: /^use-sync-external-store\/shim$/, replacement: "react" }] },
  build: {
    outDir: "../src/sightline/serving/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "ios17.5", "safari17.5"], // the first that have light-dark(), which is long to replace
    // The licences of what is bundled; of its own name, since files in assets/ are kept for good.
    license: { fileName: "third-party-notices.md" },
    rolldownOptions: {
      onwarn: (warning, report) => {
        if (warning.code !== "MODULE_LEVEL_DIRECTIVE") report(warning); // "use client" means nothing here
      },
    },
  },
  server: { proxy: { "/v1": SERVER, "/health": SERVER } },
  test: { include: ["test/**/*.test.ts"] },
});
