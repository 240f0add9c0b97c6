/**
 * `heddle translate`: what a folder of manifests means, at each stage, with nothing running. The same pure functions as in a mesh.
 */
import { plain, REDACTED } from "../dashboard/plain.ts";
import type { Mesh } from "../policy/ir.ts";
import { spiffeId, type GroupName } from "../world/names.ts";
import type { World } from "../world/world.ts";
import { Builder } from "../xds/build.ts";
import { OWN_CERTIFICATE } from "../xds/names.ts";
import { EXIT, UserError } from "./errors.ts";
import { loadFiles, type View } from "./load.ts";
import { formatOf, printData } from "./output.ts";
import { problemLine } from "./problem-line.ts";
import { nearest } from "./text.ts";
import { readableResources } from "./xds-json.ts";

export interface TranslateOptions {
  readonly stage: string;
  readonly proxy?: string;
  readonly output: string;
}

export async function translate(dir: string, options: TranslateOptions): Promise<number> {
  const format = formatOf(options.output, ["yaml", "json"]);
  const stage = formatOf(options.stage, ["world", "ir", "xds"]);
  if (stage === "world" && options.proxy !== undefined) {
    throw new UserError("--proxy goes with --stage ir or xds: the world is the same for every proxy.", EXIT.usage);
  }
  const translation = await loadFiles(dir);
  await printData(format, shown(translation, stage, options.proxy));
  process.stderr.write(translation.problems.map((p) => `${problemLine(p)}\n`).join(""));
  return translation.problems.some((p) => p.severity === "error") ? EXIT.problems : EXIT.ok;
}

function shown({ world, mesh }: View, stage: "world" | "ir" | "xds", proxy: string | undefined): unknown {
  if (stage === "world") return plain(world.tables);
  const groups = proxy === undefined ? [...mesh.groups.keys()] : groupsOf(mesh, world, proxy);
  if (stage === "ir") return plain(proxy === undefined ? mesh : groups.map((group) => mesh.groups.get(group)));
  const builder = new Builder();
  const trust = { bundle: "[the mesh's root certificates]", trustDomain: mesh.settings.trustDomain };
  builder.mesh(mesh, world, trust);
  return groups.map((group) => {
    const { identity } = mesh.groups.get(group)!;
    const resources = readableResources(builder.resources(group)!);
    const own = {
      name: OWN_CERTIFICATE,
      tlsCertificate: {
        certificateChain: { inlineString: `[issued to each proxy of ${spiffeId(identity, trust.trustDomain)}]` },
        privateKey: { inlineString: REDACTED },
      },
    };
    return {
      group,
      identity,
      pods: podsOf(mesh, world, group),
      resources: { ...resources, SDS: [own, ...resources.SDS] },
    };
  });
}

/** Groups that a user may mean: a group's name, `ns/pod` (or its beginning), or `ns/serviceaccount`. */
export function groupsOf(mesh: Mesh, world: World, wanted: string): GroupName[] {
  if (mesh.groups.has(wanted as GroupName)) return [wanted as GroupName];
  const all = [...mesh.groups.values()];
  const byIdentity = all.filter((p) => p.identity === wanted).map((p) => p.group);
  if (byIdentity.length > 0) return byIdentity;
  const names = all.map((p) => ({ group: p.group, pods: podsOf(mesh, world, p.group) }));
  const exact = names.filter(({ pods }) => pods.some((pod) => pod === wanted));
  const found =
    exact.length > 0
      ? exact
      : names.filter(({ pods }) =>
          pods.some((pod) => pod.startsWith(wanted) || pod.slice(pod.indexOf("/") + 1).startsWith(wanted)),
        );
  if (found.length > 0) return found.map((n) => n.group);
  const identities = [...new Set(all.map((p) => p.identity))].sort();
  const near = nearest(wanted, identities);
  const hint = near
    ? `Did you mean ${near}?`
    : identities.length > 0
      ? `There are: ${identities.slice(0, 8).join(", ")}${identities.length > 8 ? " …" : ""}.`
      : "No pod of this folder has a sidecar.";
  throw new UserError(`No proxy is called "${wanted}". ${hint}`);
}

function podsOf(mesh: Mesh, world: World, group: GroupName): string[] {
  const pods: string[] = [];
  for (const objects of world.tables.Pod.values())
    for (const pod of objects.values()) if (mesh.groupOf.get(pod.workload.key) === group) pods.push(pod.name);
  return pods.sort();
}
