/**
 * What the chart's roles give: exactly this, and nothing that would let whoever takes over the control plane take over the cluster.
 * That they are enough, all the other tests show: they run with them.
 */
import { request } from "node:https";
import { beforeAll, describe, expect, test } from "vitest";
import { KINDS } from "../../src/manifest/kinds.ts";
import { SYSTEM } from "./install.ts";
import { OUTSIDE, SHOP, target, type Market } from "./market.ts";

type Role = "osm-controller" | "osm-injector";

interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
}

const READ = ["get", "list", "watch"];
const ADMISSION = "admissionregistration.k8s.io";
const POLICY = KINDS.filter(({ group }) => group !== "" && !group.endsWith(".k8s.io"));

/** `VERB GROUP/RESOURCE NAME` for each right that a role may have: by the table of kinds, and by what is named here. */
const GRANTED: { readonly [R in Role]: readonly string[] } = {
  "osm-controller": [
    ...KINDS.flatMap(({ group, plural }) => READ.map((verb) => `${verb} ${group}/${plural}`)),
    ...POLICY.map(({ group, plural }) => `patch ${group}/${plural}/status`),
    "create authentication.k8s.io/tokenreviews",
    "create /events",
    ...["list", "create", "patch", "delete"].map((verb) => `${verb} /configmaps heddle-ca`),
    ...["list", "watch", "patch"].map(
      (verb) => `${verb} ${ADMISSION}/validatingwebhookconfigurations osm-validator-mesh-osm`,
    ),
    // In its own namespace.
    "get /secrets osm-ca-bundle",
    "create /secrets",
    "get /configmaps preset-mesh-config",
    ...["create", "patch"].map((verb) => `${verb} config.openservicemesh.io/meshconfigs osm-mesh-config`),
    "create coordination.k8s.io/leases",
    ...["get", "update"].map((verb) => `${verb} coordination.k8s.io/leases heddle-controller`),
  ],
  "osm-injector": [
    ...READ.map((verb) => `${verb} /namespaces`),
    ...["list", "watch", "patch"].map((verb) => `${verb} ${ADMISSION}/mutatingwebhookconfigurations osm-webhook-osm`),
    "get /secrets osm-ca-bundle",
    "create /secrets",
    ...READ.map((verb) => `${verb} config.openservicemesh.io/meshconfigs`),
  ],
};

const pod = { metadata: { name: "mine" }, spec: { containers: [{ name: "a", image: "a" }] } };
const tokenRequest = { spec: { audiences: ["heddle"] } };
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const APPS = "/apis/apps/v1";
const MERGE = "application/merge-patch+json";
const APPLY = "application/apply-patch+yaml";

/** Method, path, body, its type: what neither role may do. */
const FORBIDDEN: readonly (readonly [method: string, path: string, body?: object, type?: string])[] = [
  ["GET", `/api/v1/namespaces/${SYSTEM}/secrets`],
  ["GET", `/api/v1/namespaces/${SYSTEM}/secrets/private`],
  ["GET", `/api/v1/namespaces/${SHOP}/secrets`],
  ["GET", `/api/v1/namespaces/${SHOP}/secrets/private`],
  ["GET", "/api/v1/secrets"],
  ["GET", "/api/v1/secrets?watch=true"],
  ["DELETE", `/api/v1/namespaces/${SYSTEM}/secrets/osm-ca-bundle`],
  ["PATCH", `/api/v1/namespaces/${SYSTEM}/secrets/osm-ca-bundle`, { data: {} }, MERGE],
  ["POST", `/api/v1/namespaces/${SHOP}/secrets`, { metadata: { name: "mine" } }],
  ["POST", `/api/v1/namespaces/${SHOP}/serviceaccounts/buyer/token`, tokenRequest],
  ["POST", `/api/v1/namespaces/${SYSTEM}/serviceaccounts/osm-controller/token`, tokenRequest],
  ["POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", tokenRequest],
  ["POST", `/api/v1/namespaces/${SHOP}/serviceaccounts`, { metadata: { name: "mine" } }],
  ["POST", `/api/v1/namespaces/${SHOP}/pods`, pod],
  ["POST", `/api/v1/namespaces/${SYSTEM}/pods`, pod],
  ["DELETE", `/api/v1/namespaces/${SHOP}/pods/any`],
  ["PATCH", `/api/v1/namespaces/${SHOP}/pods/any`, { metadata: { labels: { a: "b" } } }, MERGE],
  ["POST", `/api/v1/namespaces/${SHOP}/pods/any/exec?command=id`],
  ["POST", `/api/v1/namespaces/${SHOP}/pods/any/eviction`, {}],
  ["GET", `/api/v1/namespaces/${SHOP}/pods/any/log`],
  ["GET", "/api/v1/nodes/node1/proxy/pods"],
  ["PATCH", `${APPS}/namespaces/${SHOP}/deployments/store`, { spec: { replicas: 0 } }, MERGE],
  ["PATCH", `${APPS}/namespaces/${SYSTEM}/deployments/osm-controller`, { spec: { replicas: 0 } }, MERGE],
  ["POST", `${APPS}/namespaces/${SHOP}/daemonsets`, {}],
  ["PATCH", `/api/v1/namespaces/${SHOP}`, { metadata: { labels: { a: "b" } } }, MERGE],
  ["POST", `${RBAC}/clusterroles`, { metadata: { name: "mine" }, rules: [] }],
  [
    "POST",
    `${RBAC}/clusterrolebindings`,
    {
      metadata: { name: "mine" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
      subjects: [{ kind: "ServiceAccount", name: "osm-controller", namespace: SYSTEM }],
    },
  ],
  ["PATCH", `${RBAC}/clusterroles/heddle-osm-controller`, { rules: [] }, MERGE],
  ["POST", `/apis/${ADMISSION}/v1/mutatingwebhookconfigurations`, { metadata: { name: "mine" } }],
  ["PATCH", `/apis/${ADMISSION}/v1/validatingwebhookconfigurations/other`, { webhooks: [] }, MERGE],
  ["PATCH", `/apis/${ADMISSION}/v1/mutatingwebhookconfigurations/other`, { webhooks: [] }, MERGE],
  ["GET", `/apis/${ADMISSION}/v1/mutatingwebhookconfigurations`],
  ["GET", `/apis/${ADMISSION}/v1/validatingwebhookconfigurations`],
  ["PATCH", `/api/v1/namespaces/${SHOP}/configmaps/other?fieldManager=m`, {}, APPLY],
  ["GET", `/api/v1/namespaces/${SHOP}/configmaps`],
  // What it reads it may not write.
  ["POST", `/apis/access.smi-spec.io/v1alpha3/namespaces/${SHOP}/traffictargets`, target("thief")],
  ["PATCH", `/apis/access.smi-spec.io/v1alpha3/namespaces/${SHOP}/traffictargets/store`, { spec: {} }, MERGE],
  ["DELETE", `/apis/access.smi-spec.io/v1alpha3/namespaces/${SHOP}/traffictargets/store`],
  ["PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/traffictargets.access.smi-spec.io", {}, MERGE],
  ["PATCH", `/apis/config.openservicemesh.io/v1alpha2/namespaces/${SYSTEM}/meshconfigs/other`, {}, MERGE],
  ["POST", `/apis/certificates.k8s.io/v1/certificatesigningrequests`, { metadata: { name: "mine" } }],
];

export function rights(open: () => Market): void {
  describe("rights", () => {
    let shop: Market;
    const tokens = new Map<Role, string>();
    beforeAll(async () => {
      shop = open();
      for (const namespace of [SYSTEM, SHOP])
        await shop.ask("POST", `/api/v1/namespaces/${namespace}/secrets`, { metadata: { name: "private" } });
      for (const role of ["osm-controller", "osm-injector"] as const)
        tokens.set(role, (await shop.kubectl("create", "token", role, "-n", SYSTEM)).trim());
    });

    const as = (role: Role, method: string, path: string, body?: object, type = "application/json", more = {}) =>
      new Promise<{ status: number; body: string }>((resolve, reject) => {
        const headers = { authorization: `Bearer ${tokens.get(role)}`, "content-type": type, ...more };
        const { url, ca } = shop.cluster.api;
        const sent = request(new URL(path, url), { method, ca, headers, agent: false }, (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (part: string) => (text += part));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
        });
        sent.on("error", reject).end(body && JSON.stringify(body));
      });

    /** What Kubernetes lets everybody do: ask about themselves, and where the API is. */
    const everybodys = ({ apiGroups = [], resources = [] }: Rule): boolean =>
      resources.length === 0 ||
      (["authorization.k8s.io", "authentication.k8s.io"].includes(apiGroups[0] ?? "") &&
        resources.every((one) => one.startsWith("self")));

    test.each(["osm-controller", "osm-injector"] as const)(
      "%s has the rights that its table says, no more",
      async (role) => {
        const path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        const rulesIn = async (namespace: string) => {
          const { body } = await as(role, "POST", path, { spec: { namespace } });
          const { resourceRules } = (JSON.parse(body) as { status: { resourceRules: Rule[] } }).status;
          return resourceRules
            .filter((rule) => !everybodys(rule))
            .flatMap(({ verbs, apiGroups = [], resources = [], resourceNames = [""] }) =>
              apiGroups.flatMap((group) =>
                resources.flatMap((resource) =>
                  resourceNames.flatMap((name) => verbs.map((verb) => `${verb} ${group}/${resource} ${name}`.trim())),
                ),
              ),
            );
        };
        expect([...new Set(await rulesIn(SYSTEM))].sort()).toEqual([...new Set(GRANTED[role])].sort());
        // Elsewhere none of a namespace's own rights, and no Secret at all.
        const elsewhere = await rulesIn(OUTSIDE);
        expect(elsewhere.filter((right) => /secrets|leases|preset|create config/.test(right))).toEqual([]);
      },
    );

    test.each(["osm-controller", "osm-injector"] as const)(
      "%s tries what it must not do, and is refused each time",
      async (role) => {
        // It is somebody: what it may do, it does.
        expect((await as(role, "GET", `/api/v1/namespaces/${SYSTEM}/secrets/osm-ca-bundle`)).status).toBe(200);
        const done: string[] = [];
        for (const [method, path, body, type] of FORBIDDEN) {
          const { status, body: said } = await as(role, method, path, body, type);
          if (status !== 403) done.push(`${method} ${path}: ${status} ${said.slice(0, 200)}`);
        }
        const admin = { "impersonate-user": "system:admin", "impersonate-group": "system:masters" };
        if ((await as(role, "GET", "/api/v1/secrets", undefined, undefined, admin)).status !== 403)
          done.push("impersonate");
        expect(done).toEqual([]);
      },
    );
  });
}
