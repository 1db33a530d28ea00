import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { wat } from "./runtime/compute/vite-plugin.ts";
import { BROWSER_ARGS, findBrowser } from "./test/setup/browser.mjs";
import { firefox } from "./test/setup/firefox.mjs";
import { wgsl } from "./wgsl/vite-plugin.ts";

export default defineConfig({
  plugins: [wat(), wgsl()],
  worker: { plugins: () => [wat(), wgsl()] },
  // What only the worker imports: found late, it would reload the page under a running test.
  optimizeDeps: { include: ["@huggingface/jinja", "@huggingface/tokenizers"] },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          environment: "node",
          include: ["test/{text,formats,compute,palettize,recover,store,sdk,cli}/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        // On a GPU, or on a software one: Dawn in Node. Without either, every test fails at its first request for a GPU.
        extends: true,
        test: {
          name: "engine",
          environment: "node",
          include: ["test/{kernels,engine}/**/*.test.ts"],
          // One GPU device at a time: software adapters use every core already.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        // The SDK from its sources, in a page.
        extends: true,
        test: {
          name: "browser",
          include: ["test/browser/*.test.ts"],
          exclude: ["test/browser/e2e-*.test.ts"],
          globalSetup: "test/setup/tiny-model.ts",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({
              launchOptions: { executablePath: process.env.OCHRE_BROWSER ?? findBrowser(), args: BROWSER_ARGS },
            }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
      {
        // The same pages in another browser, whose WGSL compiler is another: what one accepts, the other may not.
        extends: true,
        test: {
          name: "firefox",
          include: ["test/browser/{sdk,self-test,shaders}.test.ts"],
          globalSetup: "test/setup/tiny-model.ts",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: firefox(),
            instances: [{ browser: "firefox" }],
          },
        },
      },
      {
        // What is built, as a visitor meets it: served, loaded, asked, cut off from the network.
        extends: true,
        test: {
          name: "e2e",
          environment: "node",
          include: ["test/browser/e2e-*.test.ts"],
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
