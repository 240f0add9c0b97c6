/** Who gets a sidecar, what the pod is then, and what its author is told. */
import { describe, expect, test } from "vitest";
import { applyPatch } from "../../../src/injector/json-patch.ts";
import { PROXY_UUID_OF_POD } from "../../../src/world/injection.ts";
import { apply, bootstrapOf, expand, injected, named, patched, pod, UUID, VARIABLES, type Loose } from "./pods.ts";

const annotated = (annotations: Record<string, string>, spec: Loose = {}) => pod(spec, { annotations });
const INJECT = "openservicemesh.io/sidecar-injection";

describe("who gets a sidecar (OSM's mustInject)", () => {
  test.each([
    ["the namespace says so", pod(), {}, true],
    ["the namespace does not", pod(), { inject: false }, false],
    ["the pod says yes, the namespace no", annotated({ [INJECT]: "yes" }), { inject: false }, true],
    ["the pod says no, the namespace yes", annotated({ [INJECT]: "disabled" }), {}, false],
    ["the namespace is not in the mesh", annotated({ [INJECT]: "enabled" }), { monitored: false }, false],
    ["the node's network", pod({ hostNetwork: true }), {}, false],
    ["a static pod", annotated({ "kubernetes.io/config.mirror": "x" }), {}, false],
    ["Windows", pod({ nodeSelector: { "kubernetes.io/os": "windows" } }), {}, false],
  ])("%s", (_name, of, namespace, gets) => {
    expect(injected(of, { namespace })).toMatchObject({ injected: gets });
  });

  test("another word is refused, and the sentence names the annotation", () => {
    expect(injected(annotated({ [INJECT]: "on" }))).toEqual({
      refused:
        'No sidecar can be added to the pod: annotation openservicemesh.io/sidecar-injection is "on"; it must be enabled or disabled (or yes, no, true, false).',
    });
    expect(injected(annotated({ [INJECT]: "on" }), { namespace: { monitored: false } })).toMatchObject({ patch: [] });
  });

  test("who is left alone although the mesh wanted it is told", () => {
    expect(injected(pod({ hostNetwork: true }))).toMatchObject({
      warnings: [expect.stringMatching(/node's network/)],
    });
    expect(injected(pod({ hostNetwork: true }), { namespace: { inject: false } })).toMatchObject({ warnings: [] });
    expect(injected(pod({ os: { name: "windows" } }))).toMatchObject({ warnings: [expect.stringMatching(/Windows/)] });
  });

  test("a pod that is none is refused, in the mesh only", () => {
    for (const bad of [
      null,
      1,
      [],
      {},
      { spec: {} },
      pod({ containers: [] }),
      pod({ containers: [{ name: "A B" }] }),
    ]) {
      expect(injected(bad)).toHaveProperty("refused");
      expect(injected(bad, { namespace: { monitored: false } })).toMatchObject({ patch: [] });
    }
    const twice = [{ name: "a" }, { name: "a" }];
    expect(injected(pod({ containers: twice }))).toMatchObject({
      refused: expect.stringContaining("two containers are named a"),
    });
  });
});

describe("difference 11: native sidecars", () => {
  const done = patched(pod({ initContainers: [{ name: "migrate", image: "m" }] }));

  test("rules, then Envoy, then the application's own", () => {
    expect(done.spec.initContainers.map((c: Loose) => c.name)).toEqual(["osm-init", "envoy", "migrate"]);
    expect(done.spec.containers.map((c: Loose) => c.name)).toEqual(["app"]);
    expect(named(done, "envoy")).toMatchObject({
      restartPolicy: "Always",
      startupProbe: { httpGet: { path: "/ready", port: 15904 }, periodSeconds: 1 },
      lifecycle: { preStop: { sleep: { seconds: 5 } } },
    });
  });

  test("the label is the proxy's id, and Envoy's node is named after it", () => {
    expect(done.metadata.labels).toEqual({ app: "bookbuyer", "osm-proxy-uuid": UUID });
    expect(bootstrapOf(done).node).toEqual({
      id: `${UUID}.sidecar.bookbuyer.shop.cluster.local`,
      cluster: "bookbuyer.shop",
    });
    const variable = named(done, "envoy").env.find((one: Loose) => one.name === "PROXY_UUID");
    expect(variable.valueFrom.fieldRef.fieldPath).toBe("metadata.labels['osm-proxy-uuid']");
    const template = patched(pod(), { uuid: PROXY_UUID_OF_POD });
    expect(named(template, "envoy").env).toContainEqual({
      name: "PROXY_UUID",
      valueFrom: { fieldRef: { fieldPath: "metadata.uid" } },
    });
  });

  test("the token and the CA come in one volume, and no Secret is named", () => {
    expect(done.spec.volumes).toEqual([
      {
        name: "heddle-identity",
        projected: {
          sources: [
            { serviceAccountToken: { audience: "heddle", expirationSeconds: 3600, path: "token" } },
            { configMap: { name: "heddle-ca", items: [{ key: "ca.crt", path: "ca.crt" }] } },
          ],
        },
      },
    ]);
    expect(JSON.stringify(done)).not.toMatch(/secretName|secretRef|secretKeyRef/);
    const mounts = done.spec.containers.flatMap((c: Loose) => c.volumeMounts ?? []);
    expect(mounts).toEqual([]);
  });

  test("Envoy may do what a restricted namespace allows, and the rules' container has NET_ADMIN beyond it", () => {
    const restricted = {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      runAsNonRoot: true,
      runAsUser: 1500,
      readOnlyRootFilesystem: true,
      seccompProfile: { type: "RuntimeDefault" },
    };
    expect(named(done, "envoy").securityContext).toMatchObject(restricted);
    expect(named(done, "osm-init").securityContext).toMatchObject({
      privileged: false,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] },
      runAsUser: 0,
    });
    const privileged = patched(pod(), { settings: { privilegedInit: true } });
    expect(named(privileged, "osm-init").securityContext).toMatchObject({ privileged: true });
    expect(named(privileged, "envoy").securityContext).toMatchObject({ privileged: false });
  });

  test.each(["envoy", "app"])(
    "%s goes on serving for half of a pod's time at most, and without time has no hook",
    (name) => {
      const seconds = (grace: number) =>
        named(patched(pod({ terminationGracePeriodSeconds: grace })), name).lifecycle?.preStop.sleep.seconds;
      expect([30, 10, 3, 2, 1, 0].map(seconds)).toEqual([5, 5, 1, 1, undefined, undefined]);
    },
  );

  test("without the sleep action Envoy itself is asked for the pause", () => {
    const old = patched(pod(), { settings: { sleepAction: false } });
    for (const name of ["envoy", "app"])
      expect(named(old, name).lifecycle.preStop.httpGet).toEqual({ path: "/osm-drain", port: 15904, scheme: "HTTP" });
    expect(JSON.stringify(bootstrapOf(old))).toContain('"fixed_delay":"5s"');
    expect(JSON.stringify(bootstrapOf(done))).not.toContain("fixed_delay");
  });
});

describe("clusters without native sidecars", () => {
  const legacy = (spec: Loose = {}) => injected(pod(spec), { settings: { nativeSidecars: false, sleepAction: false } });
  test("Envoy and what waits for it stand first, the rules are set last", () => {
    const of = pod({ initContainers: [{ name: "migrate", image: "m" }] });
    const done = patched(of, { settings: { nativeSidecars: false, sleepAction: false } });
    expect(done.spec.initContainers.map((c: Loose) => c.name)).toEqual(["migrate", "osm-init"]);
    expect(done.spec.containers.map((c: Loose) => c.name)).toEqual(["envoy", "osm-healthcheck", "app"]);
    expect(named(done, "envoy")).not.toHaveProperty("restartPolicy");
    expect(named(done, "osm-healthcheck").lifecycle.postStart.exec.command.at(-1)).toContain(
      "/dev/tcp/127.0.0.1/15904",
    );
    // Or `kubectl logs` would show Envoy's.
    expect(done.metadata.annotations).toEqual({ "kubectl.kubernetes.io/default-container": "app" });
  });
  test("a Job's author is told", () => {
    expect(legacy({ restartPolicy: "Never" })).toMatchObject({ warnings: [expect.stringMatching(/goes on running/)] });
    expect(legacy()).toMatchObject({ warnings: [] });
    expect(injected(pod({ restartPolicy: "Never" }))).toMatchObject({ warnings: [] });
  });
});

describe("what pods set for themselves", () => {
  const script = (of: Loose) => expand(named(of, "osm-init").args[0], {});

  test("exclusions are added to the mesh's", () => {
    const done = patched(
      annotated({
        "openservicemesh.io/inbound-port-exclusion-list": "6379, 7070",
        "openservicemesh.io/outbound-port-exclusion-list": "3306",
        "openservicemesh.io/outbound-ip-range-exclusion-list": "10.0.0.0/8,fd00::/8",
        "openservicemesh.io/outbound-ip-range-inclusion-list": "",
      }),
      { settings: { inboundPortExclusions: [9000], interfaceExclusions: ["eth1"] } },
    );
    expect(script(done)).toContain("-I OSM_PROXY_INBOUND -p tcp --match multiport --dports 6379,7070,9000 -j RETURN");
    expect(script(done)).toContain("-A OSM_PROXY_OUTBOUND -p tcp --match multiport --dports 3306 -j RETURN");
    expect(script(done)).toContain("-A OSM_PROXY_OUTBOUND -d 10.0.0.0/8 -j RETURN");
    expect(script(done)).toContain("-A OSM_PROXY_OUTBOUND -d fd00::/8 -j RETURN");
    expect(script(done)).toContain("-i eth1");
  });

  test("image, log level, drain and resources", () => {
    const done = patched(
      annotated({
        "openservicemesh.io/sidecar-image": "registry.local:5000/envoy@sha256:abc",
        "openservicemesh.io/sidecar-log-level": "warn",
        "openservicemesh.io/sidecar-drain-seconds": "10",
        "openservicemesh.io/sidecar-cpu-request": "50m",
        "openservicemesh.io/sidecar-memory-limit": "128Mi",
      }),
      { settings: { resources: { requests: { cpu: "1", memory: "64Mi" } } } },
    );
    expect(named(done, "envoy")).toMatchObject({
      image: "registry.local:5000/envoy@sha256:abc",
      resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "128Mi" } },
      lifecycle: { preStop: { sleep: { seconds: 10 } } },
    });
    expect(named(done, "envoy").args.join(" ")).toContain("--log-level warning");
  });

  test.each([
    ["openservicemesh.io/inbound-port-exclusion-list", "80,http"],
    ["openservicemesh.io/outbound-port-exclusion-list", "0"],
    ["openservicemesh.io/outbound-ip-range-exclusion-list", "10.0.0.0"],
    ["openservicemesh.io/outbound-ip-range-inclusion-list", "10.0.0.0/8\n-F"],
    ["openservicemesh.io/sidecar-log-level", "loud"],
    ["openservicemesh.io/sidecar-image", "a b"],
    ["openservicemesh.io/sidecar-drain-seconds", "-1"],
    ["openservicemesh.io/sidecar-cpu-limit", "many"],
  ])("%s: %j is refused, not passed over", (key, value) => {
    expect(injected(annotated({ [key]: value }))).toEqual({ refused: expect.stringContaining(`annotation ${key} is`) });
    // Of a pod that gets no sidecar it means nothing.
    expect(injected(annotated({ [key]: value }), { namespace: { inject: false } })).toMatchObject({ patch: [] });
  });

  test("with the pod's address as the application's, the sidecar's own administration is still reached", () => {
    const done = patched(pod(), { settings: { localProxyMode: "PodIP" } });
    expect(script(done)).toContain("! --dport 15000 -m owner --uid-owner 1500 -j DNAT --to-destination $address}");
    expect(named(done, "osm-init").env).toEqual([
      { name: "POD_IPS", valueFrom: { fieldRef: { fieldPath: "status.podIPs" } } },
    ]);
  });
});

describe("metrics", () => {
  test("the namespace has its sidecars scraped", () => {
    expect(patched(pod(), { namespace: { metrics: true } }).metadata.annotations).toEqual({
      "prometheus.io/scrape": "true",
      "prometheus.io/port": "15010",
      "prometheus.io/path": "/stats/prometheus",
    });
    expect(patched(pod()).metadata.annotations).toBeUndefined();
  });
  test("who had its own scraped is told", () => {
    const result = injected(annotated({ "prometheus.io/port": "9090" }), { namespace: { metrics: true } });
    expect(result).toMatchObject({
      warnings: ['annotation prometheus.io/port was "9090" and is now "15010": the sidecar is scraped.'],
    });
  });
});

describe("a pod that has its sidecar", () => {
  test("injecting twice changes nothing", () => {
    for (const over of [{}, { settings: { nativeSidecars: false } }, { uuid: PROXY_UUID_OF_POD }]) {
      const once = patched(pod(), over);
      expect(injected(once, { ...over, uuid: "another" })).toMatchObject({
        patch: [],
        injected: false,
        warnings: [expect.stringMatching(/already/)],
      });
    }
  });
  test("OSM's is left alone", () => {
    const osm = {
      name: "envoy",
      image: "e",
      volumeMounts: [{ name: "envoy-bootstrap-config-volume", mountPath: "/etc/envoy" }],
    };
    const old = pod({ containers: [{ name: "app", image: "a" }, osm] }, { labels: { "osm-proxy-uuid": "1" } });
    expect(injected(old)).toMatchObject({ patch: [], injected: false });
  });
  test("a copy without labels (kubectl debug --copy-to) gets an id of its own", () => {
    const { labels: _, ...metadata } = patched(pod()).metadata;
    const copy = { ...patched(pod()), metadata };
    expect(apply(copy, (injected(copy, { uuid: "fresh" }) as Loose).patch).metadata.labels).toEqual({
      "osm-proxy-uuid": "fresh",
    });
    const template = { ...patched(pod(), { uuid: PROXY_UUID_OF_POD }), metadata };
    expect((injected(template) as Loose).patch).toEqual([
      { op: "add", path: "/metadata/labels", value: { "osm-proxy-uuid": PROXY_UUID_OF_POD } },
    ]);
  });
  test("a stolen label is replaced", () => {
    expect(patched(pod({}, { labels: { "osm-proxy-uuid": "another-pods" } })).metadata.labels).toEqual({
      "osm-proxy-uuid": UUID,
    });
  });
});

test.each([
  ["a container named envoy", pod({ containers: [{ name: "envoy", image: "mine" }] }), /container is named envoy/],
  ["an init container named osm-init", pod({ initContainers: [{ name: "osm-init" }] }), /container is named osm-init/],
  [
    "the volume's name",
    pod({ volumes: [{ name: "heddle-identity", emptyDir: {} }] }),
    /volume is named heddle-identity/,
  ],
  ["a port of the sidecar's", pod({ containers: [{ name: "app", ports: [{ containerPort: 15001 }] }] }), /port 15001/],
  ["the sidecar's user", pod({ securityContext: { runAsUser: 1500 } }), /the pod runs as user 1500/],
  [
    "the sidecar's user in a container",
    pod({ containers: [{ name: "app", securityContext: { runAsUser: 1500 } }] }),
    /container app runs as user 1500/,
  ],
])("what would collide with the sidecar is refused: %s", (_name, of, said) => {
  expect(injected(of)).toEqual({ refused: expect.stringMatching(said) });
});

test("settings of the mesh that cannot be used refuse the pod, and say whose they are", () => {
  expect(injected(pod(), { settings: { interfaceExclusions: ["-F"] } })).toEqual({
    refused: expect.stringMatching(/the mesh's settings \(MeshConfig\) cannot be used: "-F" is not the name/),
  });
});

test("what would be more than a program can be started with is refused", () => {
  const ranges = Array.from({ length: 4000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  expect(injected(pod(), { settings: { outboundIPRangeExclusions: ranges } })).toEqual({
    refused: expect.stringContaining("too long"),
  });
  expect(injected(pod(), { settings: { outboundIPRangeExclusions: ranges.slice(0, 500) } })).toMatchObject({
    injected: true,
  });
});

test("UDP ports of the same number are another thing", () => {
  const of = pod({ containers: [{ name: "app", ports: [{ containerPort: 15001, protocol: "UDP" }] }] });
  expect(injected(of)).toMatchObject({ injected: true });
});

test("the application's SIGTERM waits unless that is not wanted, and never over a hook of its own", () => {
  const of = pod({
    containers: [
      { name: "a" },
      { name: "b", lifecycle: { postStart: { exec: { command: ["x"] } } } },
      { name: "c", lifecycle: { preStop: { exec: { command: ["x"] } } } },
    ],
  });
  const hooks = (over: Loose) =>
    patched(of, { settings: over }).spec.containers.map((c: Loose) => c.lifecycle?.preStop);
  const own = of.spec.containers[2].lifecycle.preStop;
  const sleep = { sleep: { seconds: 5 } };
  expect(hooks({})).toEqual([sleep, sleep, own]);
  expect(hooks({ drainSeconds: 0 })).toEqual([undefined, undefined, own]);
});

test("what users wrote keeps its dollars, and only the node's variables are filled in", () => {
  const path = "/a$b/$(POD_NAMESPACE)/$$c";
  const of = pod({ containers: [{ name: "app", livenessProbe: { httpGet: { path, port: 80 } } }] });
  const config = bootstrapOf(patched(of));
  const rewrites = JSON.stringify(config).match(/"prefix_rewrite":"([^"]*)"/);
  expect(rewrites?.[1]).toBe(path);
  expect(expand("$(A) $$(A) $$$(A) $A", { A: "x" })).toBe("x $(A) $x $A");
  expect(VARIABLES.PROXY_UUID).toBe(config.node.id.split(".")[0]);
});

test("the patch applies with both appliers alike, and leaves its input alone", () => {
  const of = annotated({ a: "b" }, { volumes: [{ name: "v" }], initContainers: [{ name: "i" }] });
  const before = JSON.stringify(of);
  const result = injected(of, { namespace: { metrics: true } }) as Loose;
  expect(applyPatch(of, result.patch)).toEqual(apply(of, result.patch));
  expect(JSON.stringify(of)).toBe(before);
});

test.each([
  [[{ op: "replace", path: "/nothing", value: 1 }]],
  [[{ op: "add", path: "/a/b", value: 1 }]],
  [[{ op: "add", path: "/list/9", value: 1 }]],
  [[{ op: "replace", path: "/list/1", value: 1 }]],
  [[{ op: "add", path: "/list/01", value: 1 }]],
])("a patch that leads nowhere throws: %j", (patch) => {
  expect(() => applyPatch({ list: [0] }, patch as Loose)).toThrow(RangeError);
});
