/** `images.yaml`: what is started for a container, and what is said of a bad file. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ImageMap, parseImages, readImages, standInNotice, type ImageMapping } from "../../../src/local/images.ts";
import type { Container, PodManifest } from "../../../src/world/pod.ts";

const mapping = (image: string, over: Partial<ImageMapping> = {}): ImageMapping => ({
  image,
  command: [image],
  env: {},
  ...over,
});
const container = (over: Partial<Container> = {}): Container => ({ name: "c", image: "shop/web:1", ...over });
const pod = (...containers: Container[]): PodManifest => ({
  metadata: { name: "web-7d9f", namespace: "shop", uid: "u1", labels: { app: "web" }, annotations: {} },
  spec: { serviceAccountName: "web", containers },
});

test.each([
  ["openservicemesh/bookstore*", "openservicemesh/bookstore:latest-main", true],
  ["mysql:*", "mysql:5.6", true],
  ["mysql:*", "docker.io/library/mysql:5.6", true],
  ["mysql:*", "mysql", true],
  ["mysql:*", "registry:5000/mysql:5", false],
  ["shop/web:?", "shop/web:1", true],
  ["shop/web:?", "shop/web:10", false],
  ["shop.web", "shopxweb", false],
  ["*", "anything@sha256:00", true],
])("%s fits %s: %s", (glob, image, fits) => {
  expect(new ImageMap("/x", [mapping(glob)]).find(image) !== undefined).toBe(fits);
});

test("the first mapping that fits counts", () => {
  const map = new ImageMap("/x", [mapping("shop/web:2*"), mapping("shop/*"), mapping("*")]);
  expect(map.find("shop/web:1")?.image).toBe("shop/*");
});

test("the command takes the place of entrypoint and command; args follow, with variables filled in", () => {
  const map = new ImageMap("/srv/demo", [
    mapping("shop/*", { command: ["node", "apps/web.ts"], env: { MODE: "local", LEVEL: "1" } }),
  ]);
  const given = container({
    command: ["/web"],
    args: ["--name", "$(NAME)", "$$(NAME)", "$(UNKNOWN)"],
    env: [
      { name: "NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
      { name: "ADDRESS", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
      { name: "LEVEL", value: "2" },
    ],
  });
  const command = map.resolve(given, pod(given), "10.0.0.7");
  expect(command).toMatchObject({
    argv: [process.execPath, "apps/web.ts", "--name", "web-7d9f", "$(NAME)", "$(UNKNOWN)"],
    cwd: "/srv/demo",
    standIn: false,
  });
  expect(command.env).toMatchObject({
    MODE: "local",
    LEVEL: "2",
    NAME: "web-7d9f",
    ADDRESS: "10.0.0.7",
    HOSTNAME: "web-7d9f",
  });
});

test.each([
  ["./run.sh", "/srv/demo/run.sh"],
  ["bin/web", "/srv/demo/bin/web"],
  ["/usr/bin/env", "/usr/bin/env"],
  ["python3", "python3"],
  ["node", process.execPath],
])("program %s becomes %s", (program, expected) => {
  const map = new ImageMap("/srv/demo", [mapping("*", { command: [program] })]);
  expect(map.resolve(container(), pod()).argv).toEqual([expected]);
});

test("an image without a mapping gets the stand-in on its TCP ports, and one line says so", () => {
  const given = container({
    args: ["--x"],
    ports: [{ containerPort: 80 }, { containerPort: 53, protocol: "UDP" }, { containerPort: 81 }],
  });
  const { argv, env, standIn } = new ImageMap("/x", []).resolve(given, pod(given), "10.0.0.7");
  expect(standIn).toBe(true);
  expect(argv.slice(2)).toEqual(["80", "81"]);
  expect(env).toMatchObject({ POD_NAME: "web-7d9f", POD_NAMESPACE: "shop", POD_IP: "10.0.0.7", CONTAINER_NAME: "c" });
  expect(standInNotice(given, pod(given))).toMatchObject({
    code: "no-image-mapping",
    severity: "hint",
    path: "spec.containers[0].image",
    message:
      "image shop/web:1 has no local command, so a stand-in answers on port 80, 81; name a command in images.yaml to run one",
  });
  expect(standInNotice(container(), pod()).message).toContain("it declares no TCP port, so nothing listens");
});

test("good entries stay when others are bad, each with its field", () => {
  const { mappings, problems } = parseImages(
    `images:
      - { image: good, command: [node, a.ts], note: why, colour: red }
      - { command: [a] }
      - { image: b }
      - { image: c, command: "node a.ts" }
      - { image: d, command: [a, 1] }
      - { image: e, command: [a], env: { N: 1 } }
      - f
    extra: 1`.replace(/^ {4}/gm, ""),
    "demo/images.yaml",
  );
  expect(mappings.map((m) => m.image)).toEqual(["good"]);
  expect(problems.map((p) => [p.code, p.path])).toEqual([
    ["unknown-field", "extra"],
    ["unknown-field", "images[0].colour"],
    ["missing-field", "images[1].image"],
    ["missing-field", "images[2].command"],
    ["bad-field", "images[3].command"],
    ["bad-field", "images[4].command"],
    ["bad-field", "images[5].env"],
    ["bad-field", "images[6]"],
  ]);
  expect(problems[4]?.message).toBe(
    "demo/images.yaml: images[3].command must be a list of words such as [node, server.ts] (numbers in quotes); the entry is left out",
  );
});

test.each([
  ["images: [", "bad-yaml", /^f\.yaml:\d+ is not YAML \(.+\)/],
  ["images:\n - image: a\n  bad", "bad-yaml", /^f\.yaml:3 is not YAML/],
  ["- a", "bad-field", /^f\.yaml: images must be a list/],
  ["images: 1", "bad-field", /^f\.yaml: images must be a list/],
  ["images: []\n---\nimages: []", "bad-field", /^f\.yaml has 2 documents instead of one/],
  ["#".repeat(2 << 20), "too-large", /^f\.yaml is larger than 1 MB/],
])("a file that is none: %.12s", (text, code, message) => {
  const { mappings, problems } = parseImages(text, "f.yaml");
  expect(mappings).toEqual([]);
  expect(problems).toMatchObject([{ code, message: expect.stringMatching(message), file: "f.yaml" }]);
});

test("an empty file and no file are no mistakes; a named file that is missing is", async () => {
  const folder = await mkdtemp(join(tmpdir(), "heddle-images-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  expect((await readImages({ folder })).problems).toEqual([]);
  await writeFile(join(folder, "images.yaml"), "# nothing yet\n");
  expect((await readImages({ folder })).problems).toEqual([]);
  await writeFile(join(folder, "images.yaml"), "images: [{ image: a, command: [./b] }]\n");
  const { images, problems } = await readImages({ folder });
  expect(problems).toEqual([]);
  expect(images.resolve(container({ image: "a" }), pod()).argv).toEqual([join(folder, "b")]);
  const missing = await readImages({ folder, path: join(folder, "other.yaml") });
  expect(missing.problems).toMatchObject([
    { code: "unreadable", message: expect.stringContaining("there is no such file") },
  ]);
});
