import { defineConfig } from "vitest/config";

// Two sets: what runs in one process, fast; and what needs root, network namespaces and real Envoys, one file at a time.
// What needs a real API server: vitest.cluster.config.ts.
const cluster = ["test/cluster/**", "test/unit/**/*-api.test.ts"];
const live = ["test/live/**/*.test.ts"];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [...live, ...cluster],
          testTimeout: 30_000,
          pool: "forks",
        },
      },
      {
        test: {
          name: "live",
          include: live,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          pool: "forks",
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
