import { defineConfig } from "vitest/config";

// What needs a real API server: vitest.cluster.config.ts.
const cluster = ["test/cluster/**", "test/unit/**/*-api.test.ts"];
// Real Envoys in network namespaces, as root, one file at a time.
const live = ["test/live/**/*.test.ts"];
// Real programs without root: helm, the generator, Envoy behind a probe.
const programs = ["test/unit/chart/**", "test/unit/gen/reproducible.test.ts", "test/unit/injector/live-*.test.ts"];

export default defineConfig({
  test: {
    projects: [
      {
        // In-process and fast: under a minute on two cores.
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [...live, ...cluster, ...programs],
          testTimeout: 30_000,
          pool: "forks",
        },
      },
      {
        test: {
          name: "programs",
          include: programs.map((pattern) => (pattern.endsWith(".ts") ? pattern : `${pattern}/*.test.ts`)),
          exclude: cluster,
          testTimeout: 60_000,
          pool: "forks",
          sequence: { groupOrder: 1 },
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
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
