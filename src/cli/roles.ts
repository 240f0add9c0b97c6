/**
 * The commands that the chart's containers run: one for each role. Flags only; what a role does is in `roles/`.
 */
import { type Command, Option } from "commander";
import type { Config } from "../config.ts";
import type { LogLevel } from "../telemetry/log.ts";
import { EXIT, sentenceOf, UserError } from "./errors.ts";

type Flags = Readonly<Record<string, string>>;

const dashed = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
const number = (flags: Flags, name: string): number => {
  const value = Number(flags[name]);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new UserError(`${dashed(name)} takes a whole number, not "${flags[name]}".`);
};
const oneOf = <T extends string>(flags: Flags, name: string, allowed: readonly T[]): T => {
  const found = allowed.find((one) => one === flags[name]);
  if (found !== undefined) return found;
  throw new UserError(`${dashed(name)} takes one of ${allowed.join(", ")}, not "${flags[name]}".`);
};
const text = (flags: Flags, name: string): string => flags[name] ?? "";

/** Adds `controller`, `injector` and `cleanup`, which are for the chart and not shown in help. */
export function roleCommands(program: Command, config: Config, done: (code: number) => void): void {
  const role = (
    name: string,
    description: string,
    flags: readonly (readonly [flag: string, fallback: string])[],
    run: (flags: Flags) => Promise<void>,
  ) => {
    const command = program.command(name, { hidden: true }).description(description);
    for (const [flag, fallback] of flags) command.addOption(new Option(`--${flag} <value>`).default(fallback));
    command.action(async (given: Flags) => {
      try {
        await run(given);
      } catch (error) {
        // Watches and ports that are open would keep the process alive: the kubelet is to start it anew.
        process.stderr.write(`heddle: ${sentenceOf(error) ?? String(error)}\n`);
        process.exit(EXIT.failure);
      }
      done(EXIT.ok);
    });
  };
  const common = [
    ["namespace", "heddle-system"],
    ["mesh-name", "osm"],
    ["trust-domain", "cluster.local"],
    ["cluster-domain", "cluster.local"],
    ["ca-secret", "osm-ca-bundle"],
    ["ca-configmap", "heddle-ca"],
    ["token-audience", "heddle"],
    ["http-port", "9091"],
    ["log-level", config.logLevel],
  ] as const;
  const start = async (flags: Flags) => {
    const { connect, untilTold } = await import("../roles/cluster.ts");
    const { createLog } = await import("../telemetry/log.ts");
    const signal = untilTold();
    const parts = {
      client: await connect(process.env),
      log: createLog(text(flags, "logLevel") as LogLevel),
      namespace: text(flags, "namespace"),
      meshName: text(flags, "meshName"),
      trustDomain: text(flags, "trustDomain"),
      clusterDomain: text(flags, "clusterDomain"),
      caSecret: text(flags, "caSecret"),
      caConfigMap: text(flags, "caConfigmap"),
      audience: text(flags, "tokenAudience"),
      httpPort: number(flags, "httpPort"),
    };
    return { parts, signal };
  };

  role(
    "controller",
    "The control plane in a cluster.",
    [
      ...common,
      ["preset-configmap", "preset-mesh-config"],
      ["xds-port", "15128"],
      ["token-port", "15129"],
      ["validator-port", "0"],
      ["validator-webhook", ""],
      ["drain-seconds", "10"],
    ],
    async (flags) => {
      const { parts, signal } = await start(flags);
      const { controller } = await import("../roles/controller.ts");
      const port = number(flags, "validatorPort");
      const env = process.env;
      await controller(
        {
          ...parts,
          presetConfigMap: text(flags, "presetConfigmap"),
          xdsPort: number(flags, "xdsPort"),
          tokenPort: number(flags, "tokenPort"),
          drainSeconds: number(flags, "drainSeconds"),
          identity: `${env["POD_NAME"] ?? "controller"}_${env["POD_UID"] ?? process.pid}`,
          ...(port === 0 ? {} : { validator: { port, webhook: text(flags, "validatorWebhook") } }),
        },
        signal,
      );
    },
  );
  role(
    "injector",
    "The mutating webhook in a cluster.",
    [
      ...common,
      ["webhook-port", "9090"],
      ["webhook", "osm-webhook-osm"],
      ["token-seconds", "3600"],
      ["envoy-image", ""],
      ["init-image", ""],
      ["init-resources", "{}"],
      ["image-pull-policy", "IfNotPresent"],
      ["sidecar-drain-seconds", "5"],
      ["native-sidecars", "auto"],
    ],
    async (flags) => {
      const { parts, signal } = await start(flags);
      const { injector } = await import("../roles/injector.ts");
      await injector(
        {
          ...parts,
          webhookPort: number(flags, "webhookPort"),
          webhook: text(flags, "webhook"),
          tokenSeconds: number(flags, "tokenSeconds"),
          envoyImage: text(flags, "envoyImage"),
          initImage: text(flags, "initImage"),
          initResources: JSON.parse(text(flags, "initResources")) as object,
          imagePullPolicy: text(flags, "imagePullPolicy") as "IfNotPresent",
          drainSeconds: number(flags, "sidecarDrainSeconds"),
          nativeSidecars: oneOf(flags, "nativeSidecars", ["auto", "true", "false"]),
          ipv6: process.env["KUBERNETES_SERVICE_HOST"]?.includes(":") ?? false,
        },
        signal,
      );
    },
  );
  role("cleanup", "Removes what a control plane made.", common, async (flags) => {
    const { parts, signal } = await start(flags);
    const { cleanup } = await import("../roles/cleanup.ts");
    await cleanup(parts, signal);
  });
}
