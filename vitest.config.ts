import { defineConfig } from "vitest/config";
import { wgsl } from "./wgsl/vite-plugin.ts";

export default defineConfig({
  plugins: [wgsl()],
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          environment: "node",
          include: ["test/{text,formats,palettize,store,sdk,cli}/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "engine",
          environment: "node",
          include: ["test/{kernels,engine}/**/*.test.ts"],
          // One GPU device at a time: software adapters use every core already.
          fileParallelism: false,
          testTimeout: 120_000,
        },
      },
    ],
  },
});
