/**
 * An explanation as plain data with places and sentences: what `heddle why -o json` prints, and what its text is made of. Pure.
 */
import {
  eachPod,
  explain,
  type Call,
  type Explanation,
  type Judgement,
  type Refusal,
  type Verdict,
} from "../analysis/explain.ts";
import { nearestOf } from "../analysis/nearest.ts";
import { openText } from "../analysis/open.ts";
import { openBehind, podOf, serviceOf, unguarded } from "../analysis/pods.ts";
import { through, titleOf, trailOf, type Step } from "../analysis/trail.ts";
import type { Destination } from "../analysis/ways.ts";
import type { ObjectRef, Problem } from "../world/types.ts";
import type { View } from "./load.ts";

/** An object, a field in it, and where to look. */
export type Placed = ObjectRef & { readonly path: string } & {
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly resourceVersion?: string | undefined;
};

export interface Answer {
  readonly from: string;
  readonly to: string;
  /** Absent: a TCP connection. */
  readonly method?: string;
  readonly path?: string;
  readonly verdict: Verdict;
  /** One sentence. */
  readonly reason: string;
  /** What the caller sees of a sidecar's refusal. */
  readonly answer?: number | "closed";
  /** That let the call through; weights in percent of all calls. */
  readonly backends: readonly { readonly service: string; readonly weight: number }[];
  /** That get a share and refuse it. */
  readonly refusing: readonly { readonly service: string; readonly weight: number; readonly reason: string }[];
  readonly trail: readonly (Placed & { readonly says: string })[];
  readonly nearest: readonly (Placed & {
    readonly says: string;
    readonly match?: Placed & { readonly match: string };
    readonly differs: readonly { readonly what: string; readonly says: string }[];
  })[];
  /** About the objects above. */
  readonly problems: readonly Problem[];
  /** With `--each-pod`. */
  readonly pods?: readonly {
    readonly pod: string;
    readonly service: string;
    readonly verdict: Verdict;
    readonly reason: string;
  }[];
}

export interface Asked {
  readonly from: string;
  readonly to: string;
  readonly call: Call;
}

/** Everything about one call. */
export function answerOf(view: View, { from, to, call }: Asked, withPods: boolean): Answer {
  const explanation = explain(view, call);
  const { allowed, refused } = through(explanation);
  const trail = trailOf(view, explanation).map(({ says, ...step }) => ({ ...placed(view, step), says }));
  const nearest = nearestOf(view, explanation).map(({ object, path, match, differs, says }) => ({
    ...placed(view, { object, path }),
    says,
    ...(match ? { match: { ...placed(view, match), match: match.name } } : {}),
    differs,
  }));
  const { request } = call;
  return {
    from,
    to,
    ...(request ? { method: request.method, path: request.path } : {}),
    verdict: explanation.verdict,
    reason: reasonOf(view, explanation, from),
    ...(explanation.answer === undefined ? {} : { answer: explanation.answer }),
    backends: summed(allowed).map(({ service, weight }) => ({ service, weight })),
    refusing: summed(refused).map(({ service, weight, servers }) => ({ service, weight, reason: whyRefused(servers) })),
    trail,
    nearest,
    problems: problemsOf(view, [...trail, ...nearest, ...nearest.flatMap((miss) => miss.match ?? [])]),
    ...(withPods ? { pods: podsOf(explanation) } : {}),
  };
}

const placed = (view: View, { object, path }: Pick<Step, "object" | "path">): Placed => ({
  ...object,
  path,
  ...view.place(object, path),
});

type Shares = ReturnType<typeof through>["allowed"];

/** A Service may get a share by several ways. */
function summed(shares: Shares): Shares {
  const by = new Map<string, Shares[number]>();
  for (const share of shares) {
    const known = by.get(share.service);
    by.set(
      share.service,
      known ? { ...known, weight: known.weight + share.weight, servers: [...known.servers, ...share.servers] } : share,
    );
  }
  return [...by.values()].map((share) => ({ ...share, weight: Math.round(share.weight * 1e4) / 1e4 }));
}

const podsOf = (explanation: Explanation): NonNullable<Answer["pods"]> =>
  eachPod(explanation).map(({ pod, service, judgement }) => ({
    pod,
    service,
    verdict: judgement.allowed ? "allowed" : "denied",
    reason: judgement.allowed ? ruleText(judgement) : REFUSALS[judgement.because],
  }));

function ruleText({ rule, match }: Extract<Judgement, { allowed: true }>): string {
  if (rule.target === undefined) return "permissive mode";
  return `TrafficTarget ${rule.target}${match ? `, match ${match.name} of HTTPRouteGroup ${match.group}` : ""}`;
}

const REFUSALS: Readonly<Record<Refusal, string>> = {
  "no-rule": "no TrafficTarget lets the caller do it",
  "escaped-slash": "the path has an escaped slash (%2F or %5C), which no rule about paths can judge",
  "http-only": "the port speaks HTTP: what is no HTTP request is answered 400",
  "no-sidecar": "the pod has no sidecar, so it does not speak the mesh's TLS",
  "past-sidecar": "the port is led past the pod's sidecar, and the application does not speak the mesh's TLS",
  "no-port": "the pod's sidecar has no such port: a headless Service's port must be its targetPort",
};

function whyRefused(servers: Shares[number]["servers"]): string {
  const reasons = new Set(servers.flatMap(({ judgement }) => (judgement.allowed ? [] : [REFUSALS[judgement.because]])));
  return reasons.size === 0 ? "no pod stands behind it" : [...reasons].join("; ");
}

const PROBLEM_KINDS = new Set(["TrafficTarget", "HTTPRouteGroup", "TCPRoute", "TrafficSplit", "Service"]);

function problemsOf(view: View, objects: readonly ObjectRef[]): readonly Problem[] {
  if (view.problems.length === 0) return [];
  const titles = new Set(objects.filter(({ kind }) => PROBLEM_KINDS.has(kind)).map(titleOf));
  return view.problems.filter((problem) => titles.has(titleOf(problem.object)));
}

function openTo(world: View["world"], mesh: View["mesh"], to: Destination): string {
  const service = to.kind === "service" ? serviceOf(world, to.service) : undefined;
  const [open] = service ? openBehind(world, mesh, service, to.port) : [];
  if (open) return `pods of ${open.identity} behind Service ${open.service} ${openText(open)}`;
  const workload = to.kind === "pod" ? podOf(world, to.pod)?.workload : undefined;
  const because = workload && unguarded(mesh, workload, to.port);
  return workload && because ? `pods of ${workload.identity} ${openText({ because, podPort: to.port })}` : "";
}

/** Why it is so, in one sentence. */
export function reasonOf({ mesh, world }: View, explanation: Explanation, from: string): string {
  const { stop, call, verdict, unknown } = explanation;
  const { destination, request } = call;
  const { port } = destination;
  const what = destination.kind === "service" ? `Service ${destination.service}` : `pod ${destination.pod}`;
  const out = mesh.settings.egress
    ? "egress is on, so sidecars pass the call on in plain text"
    : "egress is off, so sidecars refuse the call";
  if (stop)
    switch (stop.reason) {
      case "unknown":
        return `there is no ${what}`;
      case "external-name":
        return `${what} is an ExternalName, which leads out of the mesh; ${out}`;
      case "no-selector":
        return `${what} selects no pods by their labels, so the mesh does not know what stands behind it; ${out}`;
      case "unmonitored":
        return `the namespace of ${what} is not in the mesh; ${out}`;
      case "not-tcp":
        return `port ${port} is not TCP's: it goes past the mesh unprotected`;
      case "no-sidecar":
        return `${destination.kind === "pod" ? `${what} has no sidecar` : `no pod behind ${what} has a sidecar`}; ${out}`;
      case "open":
        return `${openTo(world, mesh, destination)}, so who has no sidecar reaches them and no policy is asked`;
      case "no-port":
        return `${what} has no port ${port}`;
      case "no-pods":
        return `no pod stands behind ${what}`;
      case "no-target-port":
        return `no pod behind ${what} has the container port that port ${port} names as its targetPort`;
      case "pod-address":
        return `sidecars know no way to port ${port} of ${what}: they know Services, and pods by name behind a headless Service with that port`;
      case "client-without-sidecar":
        return `${from === "outside" ? "the caller" : from} has no sidecar, and ${what} takes calls from sidecars of the mesh only`;
      case "unfit":
        return `the sidecar answers ${stop.status}, whoever asks: ${stop.says}`;
      case "other-address":
        return `${stop.authority} names a headless Service, and the connection goes on to ${what}, which is none of its pods`;
      case "unknown-host":
        return `${stop.authority} is not the name of a Service that ${from} may call on port ${port}`;
    }
  if (verdict === "allowed") return partly(explanation);
  const shares = explanation.taken.flatMap((taken) => taken.shares);
  if (explanation.taken.every(({ shares: of }) => of.length === 0))
    return "the TrafficSplit has no backend left to send to";
  if (verdict === "not-routed") {
    const [first] = explanation.taken;
    const own = first && first.route?.split === undefined;
    return `no pod stands behind ${own ? `Service ${first.way.service.name}` : "the backends"}`;
  }
  const because = new Set(
    shares.flatMap(({ servers }) => servers.flatMap(({ judgement }) => (judgement.allowed ? [] : [judgement.because]))),
  );
  const [only] = because;
  if (only !== undefined && because.size === 1 && only !== "no-rule") return REFUSALS[only];
  const does = request ? `do ${request.method} ${request.path}` : `connect`;
  const on = explanation.redirected ?? (destination.kind === "service" ? destination.service : destination.pod);
  const who = unknown ? ", nor call it at all" : "";
  return `no TrafficTarget lets ${from} ${does} on ${on}:${port}${who}`;
}

/** Of an allowed call: what of it is not. */
function partly(explanation: Explanation): string {
  const { allowed, refused } = through(explanation);
  const pods = allowed.flatMap(({ servers }) =>
    servers.filter(({ judgement }) => !judgement.allowed).flatMap(({ server }) => server.pods),
  );
  const parts = refused.map(
    ({ service, weight, servers }) =>
      `${Math.round(weight * 10) / 10}% of the calls, which go to ${service}, are refused: ${whyRefused(servers)}`,
  );
  if (pods.length > 0)
    parts.push(
      `${pods.length === 1 ? `pod ${pods[0]} refuses it` : `${pods.length} pods refuse it`} (--each-pod shows why)`,
    );
  return parts.join("; ");
}
