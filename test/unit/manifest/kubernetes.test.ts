/** Kubernetes' own kinds and MeshConfig. */
import { describe, expect, test } from "vitest";
import { Decoder, type Decoded } from "../../../src/manifest/decode.ts";
import { iptablesRules } from "../../../src/injector/iptables.ts";
import { DEFAULT_SETTINGS, type Settings } from "../../../src/world/types.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";

const decode = (yaml: string): Decoded => new Decoder().decode(parseYaml(yaml).documents[0]?.value);
const value = (decoded: Decoded): unknown => decoded.changes[0]?.value;
const said = (decoded: Decoded): string[] => decoded.problems.map((problem) => `${problem.code} ${problem.path}`);

describe("Kubernetes' own kinds", () => {
  const pod = (rest: string, metadata = "") =>
    decode(`apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns, uid: u${metadata}}\n${rest}`);

  test("a pod", () => {
    const decoded = pod(
      `spec: {serviceAccountName: sa, hostname: h, subdomain: d, containers: [{name: c, ports: [{containerPort: 80, name: web}]}], initContainers: [{name: i, ports: [{containerPort: 1}]}, {name: s, restartPolicy: Always, ports: [{containerPort: 2, protocol: UDP}]}]}
status: {phase: Running, conditions: [{type: Ready, status: "True"}], podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}`,
      ", labels: {app: x, osm-proxy-uuid: id}, annotations: {prometheus.io/scrape: 'true'}",
    );
    expect(said(decoded)).toEqual([]);
    expect(value(decoded)).toMatchObject({
      name: "ns/p",
      proxyId: "id",
      ips: ["10.0.0.1", "fd00::1"],
      hostname: "h",
      ready: true,
      terminating: false,
      workload: {
        identity: "ns/sa",
        labels: { app: "x" },
        ports: [
          { name: "", port: 2, protocol: "UDP" },
          { name: "web", port: 80, protocol: "TCP" },
        ],
        meshed: true,
        metrics: true,
        subdomain: "d",
      },
    });
  });

  test("ports that an annotation leads past the sidecar are the pod's own matter, and known", () => {
    const past = (list: string) =>
      value(
        pod("spec: {containers: []}", `, annotations: {openservicemesh.io/inbound-port-exclusion-list: '${list}'}`),
      );
    expect(past("6379, 80,80")).toMatchObject({ workload: { past: [80, 6379] } });
    for (const nothing of ["", "x", "0", "65536"]) expect(past(nothing)).not.toHaveProperty("workload.past");
  });

  test("without a label of a sidecar a pod is outside, known by its uid, and of the default account", () => {
    expect(value(pod("spec: {containers: []}"))).toMatchObject({
      proxyId: "u",
      ready: false,
      ips: [],
      workload: { identity: "ns/default", meshed: false },
    });
  });

  test("an account that cannot be read does not become the default one", () => {
    for (const account of ["5", '"a/b"', "{}"])
      expect(value(pod(`spec: {serviceAccountName: ${account}, containers: []}`))).toBeUndefined();
  });

  test("a pod that has ended has no address; one that goes is terminating", () => {
    expect(
      value(pod("spec: {}\nstatus: {phase: Succeeded, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}")),
    ).toMatchObject({ ips: [], ready: false });
    expect(value(pod("spec: {}", ", deletionTimestamp: 2020-01-01T00:00:00Z"))).toMatchObject({ terminating: true });
  });

  test("equal workloads of one decoder are one object", () => {
    const decoder = new Decoder();
    const made = (name: string, app: string) => {
      const [change] = decoder.decode({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name, labels: { app, "osm-proxy-uuid": name } },
        spec: {},
      }).changes;
      return change?.kind === "Pod" ? change.value?.workload : undefined;
    };
    expect(made("a", "x")).toBe(made("b", "x"));
    expect(made("a", "x")).not.toBe(made("a", "y"));
  });

  const service = (spec: string) =>
    decode(`apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: ${spec}`);

  test("a Service", () => {
    expect(
      value(
        service(
          "{clusterIP: 10.0.0.1, selector: {a: b}, ports: [{port: 80, targetPort: web, name: http, appProtocol: h2c}, {port: 81}]}",
        ),
      ),
    ).toEqual({
      name: "ns/s",
      clusterIPs: ["10.0.0.1"],
      headless: false,
      selector: { a: "b" },
      ports: [
        { name: "http", port: 80, targetPort: "web", protocol: "TCP", appProtocol: "h2c" },
        { name: "", port: 81, targetPort: 81, protocol: "TCP" },
      ],
    });
    expect(value(service("{clusterIP: None}"))).toMatchObject({ headless: true, clusterIPs: [] });
    expect(value(service("{type: ExternalName, externalName: example.org}"))).toMatchObject({
      externalName: "example.org",
    });
  });

  test("a faulty selector selects nothing rather than more", () => {
    const decoded = service("{selector: {a: b, c: 5}}");
    expect(value(decoded)).not.toHaveProperty("selector");
    expect(said(decoded)).toEqual(["bad-field spec.selector.c"]);
    expect(value(service("{selector: {}}"))).not.toHaveProperty("selector");
  });

  test("an EndpointSlice: ready unless said otherwise, never while terminating", () => {
    const decoded = decode(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e, namespace: ns, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: p}, hostname: h}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: true, terminating: true}}
- {addresses: [nowhere]}
`);
    expect(said(decoded)).toEqual(["bad-field endpoints[3].addresses[0]"]);
    expect(value(decoded)).toEqual({
      namespace: "ns",
      name: "e",
      service: "ns/s",
      ports: [{ name: "http", port: 80 }],
      endpoints: [
        { ip: "10.0.0.1", pod: "ns/p", hostname: "h", ready: true },
        { ip: "10.0.0.2", ready: false },
        { ip: "10.0.0.3", ready: false },
      ],
    });
  });

  test.for([
    [
      "labels: {openservicemesh.io/monitored-by: osm}, annotations: {openservicemesh.io/sidecar-injection: enabled, openservicemesh.io/metrics: 'yes'}",
      true,
      true,
      true,
    ],
    ["labels: {openservicemesh.io/monitored-by: osm}", true, false, false],
    ["labels: {openservicemesh.io/monitored-by: osm, openservicemesh.io/ignore: 'true'}", false, false, false],
    ["annotations: {openservicemesh.io/sidecar-injection: enabled}", false, true, false],
  ] as const)("Namespace with %s", ([metadata, monitored, inject, metrics]) => {
    expect(value(decode(`apiVersion: v1\nkind: Namespace\nmetadata: {name: ns, ${metadata}}`))).toEqual({
      name: "ns",
      monitored,
      inject,
      metrics,
    });
  });

  test("a Namespace that is being deleted is still a member, for its pods are there", () => {
    const metadata =
      '{name: ns, deletionTimestamp: "2026-01-01T00:00:00Z", labels: {openservicemesh.io/monitored-by: osm}}';
    expect(value(decode(`apiVersion: v1\nkind: Namespace\nmetadata: ${metadata}`))).toMatchObject({
      monitored: true,
      terminating: true,
    });
  });

  test("a Namespace with the label control-plane is no member, and is told so", () => {
    const labels = "{openservicemesh.io/monitored-by: osm, control-plane: x}";
    const decoded = decode(`apiVersion: v1\nkind: Namespace\nmetadata: {name: ns, labels: ${labels}}`);
    expect(value(decoded)).toMatchObject({ monitored: false });
    expect(said(decoded)).toEqual([expect.stringContaining("control-plane")]);
  });

  test("of two meshes each sees its own namespaces, and a mesh without a name all of them", () => {
    const seen = (mesh: string | undefined) =>
      ["osm", "other"].map((by) => {
        const metadata = { name: "ns", labels: { "openservicemesh.io/monitored-by": by } };
        const decoded = new Decoder({ mesh }).decode({ apiVersion: "v1", kind: "Namespace", metadata });
        return (value(decoded) as { monitored: boolean }).monitored;
      });
    expect([seen("osm"), seen("other"), seen(undefined)]).toEqual([
      [true, false],
      [false, true],
      [true, true],
    ]);
  });
});

describe("MeshConfig", () => {
  const mesh = (spec: string, version = "v1alpha2") =>
    decode(
      `apiVersion: config.openservicemesh.io/${version}\nkind: MeshConfig\nmetadata: {name: m, namespace: osm}\nspec: ${spec}`,
    );

  test("what asks for something that is not there yet is told; the chart's defaults ask for nothing", () => {
    const told = (spec: string) => said(mesh(spec));
    expect(
      told("{traffic: {inboundExternalAuthorization: {enable: true}}, sidecar: {tlsMinProtocolVersion: TLSv1_3}}"),
    ).toEqual([
      "without-effect spec.sidecar.tlsMinProtocolVersion",
      "without-effect spec.traffic.inboundExternalAuthorization.enable",
    ]);
    const defaults =
      "{sidecar: {tlsMinProtocolVersion: TLSv1_2, tlsMaxProtocolVersion: TLSv1_3, maxDataPlaneConnections: 0, cipherSuites: []}, observability: {tracing: {enable: false, port: 9411}}, featureFlags: {enableEgressPolicy: false, enableIngressBackendPolicy: false, enableRetryPolicy: false}, certificate: {ingressGateway: {}}}";
    expect(told(defaults)).toEqual([]);
    expect(
      told(
        "{certificate: {ingressGateway: {subjectAltNames: [a.b], validityDuration: 24h, secret: {name: s, namespace: n}}}}",
      ),
    ).toEqual(["without-effect spec.certificate.ingressGateway"]);
    expect(mesh("{featureFlags: {enableEgressPolicy: true, enableIngressBackendPolicy: true}}").problems).toMatchObject(
      [
        { severity: "hint", path: "spec.featureFlags.enableEgressPolicy", message: /Egress objects are not served/ },
        {
          severity: "hint",
          path: "spec.featureFlags.enableIngressBackendPolicy",
          message: /IngressBackend objects are not/,
        },
      ].map((one) => ({ ...one, code: "without-effect", message: expect.stringMatching(one.message) })),
    );
  });

  test.for(["v1alpha1", "v1alpha2", "v1alpha3"])("%s: what is used", (version) => {
    const decoded = mesh(
      "{sidecar: {logLevel: warn}, traffic: {enablePermissiveTrafficPolicyMode: true, enableEgress: true}, certificate: {serviceCertValidityDuration: 1h30m}}",
      version,
    );
    expect(said(decoded)).toEqual([]);
    expect(value(decoded)).toEqual({
      permissive: true,
      egress: true,
      trustDomain: "cluster.local",
      certificateValidity: 5400,
      envoyLogLevel: "warning",
      sidecar: DEFAULT_SETTINGS.sidecar,
    });
  });

  test.each([
    ["10m", 600, []],
    ["9m59.9s", 86_400, ["bad-field spec.certificate.serviceCertValidityDuration"]],
    ["0s", 86_400, ["bad-field spec.certificate.serviceCertValidityDuration"]],
    ["soon", 86_400, ["bad-field spec.certificate.serviceCertValidityDuration"]],
  ])("certificates are valid for ten minutes or more: %s", (text, seconds, problems) => {
    const decoded = mesh(`{certificate: {serviceCertValidityDuration: ${text}}}`);
    expect(said(decoded)).toEqual(problems);
    expect((value(decoded) as Settings).certificateValidity).toBe(seconds);
    if (problems.length > 0)
      expect(decoded.problems[0]?.message).toMatch(/10m or more, such as 24h.*the default holds \(24h\)/);
    // Nothing that gets through is refused by the CA without a word.
    expect(seconds).toBeGreaterThanOrEqual(600);
  });

  test("what the injector is told", () => {
    const decoded = mesh(
      "{sidecar: {enablePrivilegedInitContainer: true, localProxyMode: PodIP, resources: {limits: {cpu: 100m}}}, traffic: {inboundPortExclusionList: [1], outboundPortExclusionList: [2, 70000], outboundIPRangeExclusionList: [10.0.0.0/8], networkInterfaceExclusionList: [eth1]}}",
    );
    expect(said(decoded)).toEqual(["bad-field spec.traffic.outboundPortExclusionList[1]"]);
    expect(value(decoded)).toMatchObject({
      sidecar: {
        privilegedInit: true,
        localProxyMode: "PodIP",
        resources: { limits: { cpu: "100m" } },
        inboundPortExclusions: [1],
        outboundPortExclusions: [2],
        outboundIPRangeExclusions: ["10.0.0.0/8"],
        outboundIPRangeInclusions: [],
        interfaceExclusions: ["eth1"],
      },
    });
  });

  test("hole: an IP range or interface that no rule can hold is left out, and the pods of the mesh go on being injected", () => {
    const decoded = mesh(
      '{traffic: {networkInterfaceExclusionList: [eth1, verylonginterfacename0, "-F", 5, net1], outboundIPRangeExclusionList: [10.0.0.0, 10.0.0.0/8, "fd00::/129"], outboundIPRangeInclusionList: ["fd00::/8"]}}',
    );
    expect(said(decoded).sort()).toEqual([
      "bad-field spec.traffic.networkInterfaceExclusionList[1]",
      "bad-field spec.traffic.networkInterfaceExclusionList[2]",
      "bad-field spec.traffic.networkInterfaceExclusionList[3]",
      "bad-field spec.traffic.outboundIPRangeExclusionList[0]",
      "bad-field spec.traffic.outboundIPRangeExclusionList[2]",
    ]);
    const { sidecar } = value(decoded) as Settings;
    expect(sidecar).toMatchObject({
      interfaceExclusions: ["eth1", "net1"],
      outboundIPRangeExclusions: ["10.0.0.0/8"],
      outboundIPRangeInclusions: ["fd00::/8"],
    });
    for (const family of ["ipv4", "ipv6"] as const) expect(iptablesRules(sidecar, family)).toContain("-i net1 ");
  });

  test.each([
    ["no range", '["$(reboot)/8", "fd00::/8"]', "[0]"],
    ["no text", "[10.0.0.0/8, 5]", "[1]"],
    ["too many", JSON.stringify(Array.from({ length: 10_001 }, () => "10.0.0.0/8")), ""],
    ["no list", "10.0.0.0/8", ""],
  ])("hole: a list of the only ranges that are captured, with %s in it, captures everything", (_name, list, at) => {
    const decoded = mesh(`{traffic: {outboundIPRangeInclusionList: ${list}, outboundPortExclusionList: [22]}}`);
    const [problem, ...more] = decoded.problems;
    expect(more).toEqual([]);
    expect(problem?.path).toBe(`spec.traffic.outboundIPRangeInclusionList${at}`);
    if (at !== "") expect(problem?.message).toContain("the whole list is not used and sidecars take all traffic");
    const { sidecar } = value(decoded) as Settings;
    expect(sidecar.outboundIPRangeInclusions).toEqual([]);
    expect(sidecar.outboundPortExclusions).toEqual([22]);
  });

  test("what is wrong keeps its default, and defaults open nothing", () => {
    const decoded = mesh(
      '{traffic: {enablePermissiveTrafficPolicyMode: "true", enableEgress: 1, odd: 1}, certificate: {serviceCertValidityDuration: 24}, sidecar: []}',
    );
    expect(value(decoded)).toEqual({
      permissive: false,
      egress: false,
      trustDomain: "cluster.local",
      certificateValidity: 86_400,
      envoyLogLevel: "error",
      sidecar: DEFAULT_SETTINGS.sidecar,
    });
    expect(said(decoded).sort()).toEqual([
      "bad-field spec.certificate.serviceCertValidityDuration",
      "bad-field spec.sidecar",
      "bad-field spec.traffic.enableEgress",
      "bad-field spec.traffic.enablePermissiveTrafficPolicyMode",
      "unknown-field spec.traffic.odd",
    ]);
  });
});
