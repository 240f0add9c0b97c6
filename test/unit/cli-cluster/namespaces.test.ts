/** `heddle namespace` and `heddle metrics`: OSM's words, and the patches behind them. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Bench, BUILT_IN, controller, member, namespace, pod } from "./heddle.ts";

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.start();
  bench.api.serve(...BUILT_IN).put(controller());
});
afterEach(() => bench.stop());

const NAMESPACES = "/api/v1/namespaces";
const patches = () =>
  bench.api.seen.filter((one) => one.method === "PATCH").map(({ path, type, body }) => ({ path, type, body }));

describe("namespace add", () => {
  test("labels and annotates, with a merge patch, and says so as OSM", async () => {
    bench.api.put(namespace("shop"), namespace("bank"));
    const { code, out, error, notes } = await bench.heddle(["namespace", "add", "shop", "bank"]);
    expect({ code, error }).toEqual({ code: 0, error: "" });
    expect(out).toBe(
      "Namespace [shop] successfully added to mesh [osm]\nNamespace [bank] successfully added to mesh [osm]\n",
    );
    expect(notes).toEqual([]);
    expect(patches()).toEqual(
      ["shop", "bank"].map((name) => ({
        path: `${NAMESPACES}/${name}`,
        type: "application/merge-patch+json",
        body: {
          metadata: {
            labels: { "openservicemesh.io/monitored-by": "osm" },
            annotations: { "openservicemesh.io/sidecar-injection": "enabled" },
          },
        },
      })),
    );
    expect(bench.api.seen.every((one) => one.token === "Bearer secret-token")).toBe(true);
  });

  test("without injection it says disabled, and hints at no restart", async () => {
    bench.api.put(namespace("shop"), pod("shop", "web", { meshed: false }));
    const { notes } = await bench.heddle(["namespace", "add", "shop", "--disable-sidecar-injection"]);
    expect(patches()[0]?.body).toMatchObject({
      metadata: { annotations: { "openservicemesh.io/sidecar-injection": "disabled" } },
    });
    expect(notes).toEqual([]);
  });

  test("pods that run already want a restart", async () => {
    bench.api.put(namespace("shop"), pod("shop", "web", { meshed: false }));
    const { notes } = await bench.heddle(["ns", "add", "shop"]);
    expect(notes).toEqual(["Its pods get a sidecar when they are new: kubectl rollout restart deployment -n shop"]);
  });

  test("what is a member already, and where the controller is, stays as it is", async () => {
    bench.api.put(member("shop"), namespace("osm-system"));
    const { code, out } = await bench.heddle(["namespace", "add", "shop", "osm-system"]);
    expect(code).toBe(0);
    expect(out).toBe(
      "Namespace [shop] has already been added to mesh [osm]\nNamespace [osm-system] already has [osm-controller] installed and cannot be added to mesh [osm]\n",
    );
    expect(patches()).toEqual([]);
  });

  test.each([
    [
      ["add", "shop", "--mesh-name", "other"],
      /^mesh \[other\] does not exist, please specify another mesh using --mesh-name or create a new mesh/,
    ],
    [["add", "nowhere"], /there is no namespace "nowhere"\. Create it: kubectl create namespace nowhere/],
    [["add", "apart"], /^Cannot add namespace \[apart\]: it has the label control-plane, .* Remove the label first/],
    [["add", "quiet"], /^Cannot add ignored namespace \[quiet\]\. Remove the label first/],
  ])("%j fails and says what to do", async (args, sentence) => {
    bench.api.put(namespace("shop"), namespace("quiet", { labels: { "openservicemesh.io/ignore": "true" } }));
    bench.api.put(namespace("apart", { labels: { "control-plane": "gatekeeper" } }));
    const { code, error } = await bench.heddle(["namespace", ...args]);
    expect(code).toBe(1);
    expect(error).toMatch(sentence);
    expect(patches()).toEqual([]);
  });

  test("a refusal of the API server says which right is missing", async () => {
    bench.api.put(namespace("shop"));
    bench.api.refuses = ({ method }) => (method === "PATCH" ? 403 : undefined);
    const { code, error } = await bench.heddle(["namespace", "add", "shop"]);
    expect(code).toBe(1);
    expect(error).toMatch(/PATCH \/api\/v1\/namespaces\/shop.*403 Forbidden.*Grant this/);
  });
});

describe("namespace remove", () => {
  test("takes label and annotation away", async () => {
    bench.api.put(member("shop"));
    expect((await bench.heddle(["namespace", "remove", "shop"])).out).toBe(
      "Namespace [shop] successfully removed from mesh [osm]\n",
    );
    expect(bench.api.find(NAMESPACES, "shop")).toMatchObject({ metadata: { labels: {}, annotations: {} } });
    expect((await bench.heddle(["namespace", "remove", "shop"])).out).toBe(
      "Namespace [shop] already does not belong to any mesh\n",
    );
  });

  test("not out of somebody else's mesh", async () => {
    bench.api.put(member("shop", "other"));
    const { code, error } = await bench.heddle(["namespace", "remove", "shop"]);
    expect(code).toBe(1);
    expect(error).toBe(
      "Namespace belongs to mesh [other], not mesh [osm]. Please specify the correct mesh: --mesh-name other",
    );
  });
});

test("namespace ignore labels", async () => {
  bench.api.put(namespace("shop"));
  expect((await bench.heddle(["namespace", "ignore", "shop"])).out).toBe(
    "Successfully configured namespace [shop] to be ignored\n",
  );
  expect(patches()).toMatchObject([{ body: { metadata: { labels: { "openservicemesh.io/ignore": "true" } } } }]);
});

test("namespace list has OSM's table, over several pages, by mesh too", async () => {
  bench.api.page = 2;
  bench.api.put(
    member("shop"),
    member("a-bank", "other"),
    namespace("outside"),
    namespace("bare", { labels: { "openservicemesh.io/monitored-by": "osm" } }),
    namespace("quiet", {
      labels: { "openservicemesh.io/monitored-by": "osm", "openservicemesh.io/ignore": "true" },
      annotations: { "openservicemesh.io/sidecar-injection": "enabled" },
    }),
  );
  const all = await bench.heddle(["namespace", "list"]);
  expect(all.out.split("\n")).toEqual([
    "NAMESPACE   MESH    SIDECAR-INJECTION",
    "a-bank      other   enabled",
    "bare        osm     -",
    "quiet       osm     disabled (ignored)",
    "shop        osm     enabled",
    "",
  ]);
  expect((await bench.heddle(["namespace", "list", "--mesh-name", "other"])).out).toBe(
    "NAMESPACE   MESH    SIDECAR-INJECTION\na-bank      other   enabled\n",
  );
  expect((await bench.heddle(["namespace", "list", "third"])).out).toBe("No namespaces in mesh [third]\n");
});

test("namespace list of nothing", async () => {
  expect((await bench.heddle(["namespace", "list"])).out).toBe("No namespaces in any mesh\n");
});

describe("metrics", () => {
  test("enable annotates namespaces and the pods that have a sidecar, disable undoes it", async () => {
    bench.api.put(member("shop"), pod("shop", "web"), pod("shop", "old", { meshed: false }));
    expect((await bench.heddle(["metrics", "enable", "--namespace", "shop"])).out).toBe(
      "Metrics successfully enabled in namespace [shop]\n",
    );
    expect(bench.api.find(NAMESPACES, "shop")).toMatchObject({
      metadata: { annotations: { "openservicemesh.io/metrics": "enabled" } },
    });
    expect(bench.api.find("/api/v1/pods", "web")).toMatchObject({
      metadata: {
        annotations: {
          "prometheus.io/scrape": "true",
          "prometheus.io/port": "15010",
          "prometheus.io/path": "/stats/prometheus",
        },
      },
    });
    expect(patches().map(({ path }) => path)).toEqual(["/api/v1/namespaces/shop", "/api/v1/namespaces/shop/pods/web"]);
    expect((await bench.heddle(["metrics", "disable", "--namespace", "shop"])).out).toBe(
      "Metrics successfully disabled in namespace [shop]\n",
    );
    expect(bench.api.find("/api/v1/pods", "web")).toMatchObject({ metadata: { annotations: {} } });
  });

  test.each([
    [[], 2, /No namespace was given/],
    [
      ["--namespace", "outside"],
      1,
      /does not belong to a mesh, missing annotation "openservicemesh\.io\/monitored-by"/,
    ],
    [["--namespace", "lost"], 1, /belongs to mesh \[gone\], which does not exist\. There is: osm/],
  ])("%j", async (args, wanted, sentence) => {
    bench.api.put(namespace("outside"), member("lost", "gone"));
    const { code, error } = await bench.heddle(["metrics", "enable", ...args]);
    expect(code).toBe(wanted);
    expect(error).toMatch(sentence);
    expect(patches()).toEqual([]);
  });
});
