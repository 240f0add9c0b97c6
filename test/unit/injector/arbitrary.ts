/** Pods as nobody would write them: right in most places, so that what is wrong gets far. */
import fc from "fast-check";
import { pod, type Loose } from "./pods.ts";

const odd: fc.Arbitrary<unknown> = fc.oneof(
  // JSON's text has no -0.
  fc.jsonValue({ maxDepth: 2 }).map((value): unknown => JSON.parse(JSON.stringify(value))),
  fc.constantFrom(null, "", 0, -1, 1.5, 65536, [], {}, true, "__proto__", "a/b~c", "$(POD_UID)", "\u0000", "\ud800"),
);
/** Nearly always what it should be. */
const mostly = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 80, arbitrary }, { weight: 1, arbitrary: odd });
/** Fields that may be missing. */
const some = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Loose> =>
  fc.record(fields, { requiredKeys: [] });

const port = mostly(
  fc.oneof(fc.integer({ min: 1, max: 65535 }), fc.constantFrom<unknown>(8080, "web", "80", "nobody", 15904, 15905)),
);
const timing = {
  timeoutSeconds: mostly(fc.integer({ min: 1, max: 30 })),
  periodSeconds: mostly(fc.integer({ min: 1, max: 30 })),
};
const httpGet = some({
  path: mostly(fc.oneof(fc.constantFrom("/", "/a?b", "health", "/x y", "/$(A)$$"), fc.string())),
  port,
  scheme: mostly(fc.constantFrom("HTTP", "HTTPS")),
  host: fc.oneof({ weight: 9, arbitrary: fc.constant("") }, { weight: 1, arbitrary: fc.constant("10.0.0.1") }),
  httpHeaders: mostly(fc.constant([{ name: "A", value: "b" }])),
});
const probe = mostly(
  fc.oneof(
    some({ ...timing, httpGet: mostly(httpGet) }),
    some({ ...timing, tcpSocket: mostly(some({ port })) }),
    some({ ...timing, grpc: mostly(some({ port: mostly(fc.integer({ min: 1, max: 60000 })), service: fc.string() })) }),
    some({ ...timing, exec: fc.constant({ command: ["true"] }) }),
  ),
);
const container = (name: fc.Arbitrary<unknown>) =>
  fc
    .tuple(
      name,
      some({
        image: mostly(fc.constant("i")),
        ports: mostly(
          fc.uniqueArray(
            some({
              name: mostly(fc.constantFrom("web", "admin")),
              containerPort: port,
              protocol: mostly(fc.constantFrom("TCP", "UDP")),
            }),
            { maxLength: 3 },
          ),
        ),
        livenessProbe: probe,
        readinessProbe: probe,
        startupProbe: probe,
        lifecycle: mostly(
          some({ preStop: mostly(some({ httpGet: mostly(httpGet) })), postStart: fc.constant({ exec: {} }) }),
        ),
        volumeMounts: mostly(fc.constant([{ name: "data", mountPath: "/d" }])),
        restartPolicy: mostly(fc.constant("Always")),
      }),
    )
    .map(([own, rest]) => ({ name: own, ...rest }));
const containers = (prefix: string, minLength: number) =>
  mostly(
    fc
      .array(container(mostly(fc.constantFrom(...Array<string>(30).fill("x"), "envoy", "osm-init", "a-b"))), {
        minLength,
        maxLength: 4,
      })
      .map((list) =>
        list.map((one, i) =>
          typeof one.name === "string" && one.name === "x" ? { ...one, name: `${prefix}${i}` } : one,
        ),
      ),
  );
const annotations = mostly(
  some({
    "openservicemesh.io/sidecar-injection": mostly(fc.constantFrom("enabled", "yes", "true", "disabled", "on")),
    "openservicemesh.io/inbound-port-exclusion-list": mostly(fc.constantFrom("8080", "1,2,3", "7", "x", "")),
    "openservicemesh.io/outbound-ip-range-exclusion-list": mostly(
      fc.constantFrom("10.0.0.0/8", "10.0.0.0", "fd00::/8"),
    ),
    "openservicemesh.io/sidecar-log-level": mostly(fc.constantFrom("debug", "info", "off", "loud")),
    "prometheus.io/port": mostly(fc.constant("9090")),
    "a/b~c": fc.string(),
  }),
);

/** As the API server would never let it through, and as it does. */
export const anyPod: fc.Arbitrary<unknown> = mostly(
  some({
    metadata: mostly(
      some({
        name: fc.constant("p"),
        labels: mostly(fc.dictionary(fc.string(), fc.string(), { maxKeys: 2 })),
        annotations,
      }),
    ),
    spec: mostly(
      fc
        .tuple(
          some({
            initContainers: containers("i", 0),
            volumes: mostly(
              fc.uniqueArray(
                fc.constantFrom("data", "tmp", "a", "b", "c", "heddle-identity").map((name) => ({ name })),
                { maxLength: 2, selector: (v) => v.name },
              ),
            ),
            restartPolicy: mostly(fc.constantFrom("Always", "Never")),
            terminationGracePeriodSeconds: mostly(fc.integer({ min: 0, max: 60 })),
            hostNetwork: mostly(fc.constantFrom(false, false, false, true)),
          }),
          containers("c", 1),
        )
        .map(([rest, list]) => ({ ...rest, containers: list })),
    ),
  }).map((over) => ({ ...pod(), ...over })),
);
