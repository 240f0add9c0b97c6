import { defineConfig } from "vitest/config";

// What needs a whole Kubernetes: one file at a time, because each starts its own.
export default defineConfig({
  test: {
    include: [
      "test/cluster/**/*.test.ts",
      "test/unit/**/*-api.test.ts",
      "test/unit/sources-kubernetes/contract.test.ts",
    ],
    env: { HEDDLE_CLUSTER: "1" },
    testTimeout: 180_000,
    // The first start builds Kubernetes.
    hookTimeout: 1_800_000,
    pool: "forks",
    fileParallelism: false,
  },
});
