/**
 * The verbs that look at a cluster and explain it, and those that need none: policy, verify, support, check, inject, env, completion.
 */
import { Option, type Command } from "commander";
import { anyMeshName, examples, list } from "./options.ts";
import type { Run } from "./program.ts";

export function addPolicy(program: Command, run: Run): void {
  const policy = program
    .command("policy")
    .summary("check policies of a cluster")
    .description("Checks the policies of a cluster.");
  policy
    .command("check-pods")
    .summary("may one pod call another?")
    .description(
      "Says whether a pod may call another one, by which TrafficTarget, and on which ports and routes: by the code that enforces it.",
    )
    .argument("<source>", "the calling pod: namespace/pod, or a pod of namespace default")
    .argument("<destination>", "the pod that is called")
    .addHelpText(
      "after",
      examples(["heddle policy check-pods bookbuyer/bookbuyer-7d8f bookstore/bookstore-6c9b", "may it?"]),
    )
    .action((source: string, destination: string) =>
      run(async (context) => (await import("./policy.ts")).checkPods(context, source, destination)),
    );
  policy
    .command("check-conflicts")
    .summary("do objects of a kind contradict each other?")
    .description(
      "Says whether objects of a kind contradict each other: IngressBackends that name the same backend and port.",
    )
    .argument("<kind>", "IngressBackend")
    .addOption(list("-n, --namespaces <namespace>", "the namespace: exactly one"))
    .addHelpText("after", examples(["heddle policy check-conflicts IngressBackend -n bookstore", "in one namespace"]))
    .action((kind: string, options) =>
      run(async (context) => (await import("./conflicts.ts")).checkConflicts(context, kind, options)),
    );
}

export function addVerify(program: Command, run: Run): void {
  const verify = program
    .command("verify")
    .summary("find out why something does not work in a cluster")
    .description(
      "Goes through what a call needs, step by step, and says what is missing and what to do. Ends with 1 when something fails.",
    );
  verify
    .command("connectivity")
    .summary("from a pod to a pod, or out of the mesh")
    .description("Verifies what a call from a pod to another one, or to the outside, needs.")
    .requiredOption("--from-pod <namespace/pod>", "the calling pod")
    .option("--to-pod <namespace/pod>", "the pod that is called")
    .option("--to-service <service>", "the Service that is called, in the pod's namespace")
    .option("--to-ext-port <port>", "the port outside of the mesh")
    .option("--to-ext-host <host>", "the host outside of the mesh")
    .addOption(new Option("--app-protocol <protocol>", "what is spoken").default("http"))
    .addOption(anyMeshName())
    .addHelpText(
      "after",
      examples(
        [
          "heddle verify connectivity --from-pod curl/curl-7bb5 --to-pod httpbin/httpbin-69dc --to-service httpbin",
          "inside",
        ],
        [
          "heddle verify connectivity --from-pod curl/curl-7bb5 --to-ext-port 443 --to-ext-host httpbin.org",
          "to the outside",
        ],
      ),
    )
    .action((options) =>
      run(async (context) => (await import("./verify/run.ts")).verifyConnectivity(context, options)),
    );
  verify
    .command("ingress")
    .summary("from an ingress to a pod")
    .description("Verifies what a call from an ingress controller's Service to a pod of the mesh needs.")
    .requiredOption("--from-service <namespace/service>", "the ingress controller's Service")
    .requiredOption("--to-pod <namespace/pod>", "the pod that is called")
    .requiredOption("--to-service <service>", "the Service that is called, in the pod's namespace")
    .requiredOption("--ingress-backend <name>", "the IngressBackend, in the pod's namespace")
    .requiredOption("--to-port <port>", "the port that the pod listens on")
    .addOption(new Option("--app-protocol <protocol>", "what is spoken").default("http"))
    .addOption(anyMeshName())
    .addHelpText(
      "after",
      examples([
        "heddle verify ingress --from-service ingress-nginx/controller --to-pod httpbin/httpbin-7c64 --to-service httpbin --ingress-backend httpbin --to-port 14001",
        "is it let in?",
      ]),
    )
    .action((options) => run(async (context) => (await import("./verify/run.ts")).verifyIngress(context, options)));
  verify
    .command("control-plane-health")
    .summary("is the control plane well?")
    .description("Verifies that the control plane's pods are there, ready, and say so themselves.")
    .addOption(anyMeshName())
    .addHelpText("after", examples(["heddle verify control-plane-health", "is it well?"]))
    .action((options: { meshName?: string }) =>
      run(async (context) => (await import("./verify/run.ts")).verifyControlPlane(context, options.meshName)),
    );
}

export function addSupport(program: Command, run: Run): void {
  const support = program
    .command("support")
    .summary("collect and explain what goes wrong")
    .description("Collects and explains what goes wrong.");
  support
    .command("error-info")
    .summary("what codes mean")
    .description("Prints what the codes of Heddle's problems and of OSM's errors mean.")
    .argument("[code]", "one code; all of them when absent")
    .addHelpText(
      "after",
      examples(["heddle support error-info unknown-route", "one"], ["heddle support error-info E2007", "of OSM's"]),
    )
    .action((code: string | undefined) =>
      run(async (context) => (await import("./error-info.ts")).errorInfo(context, code)),
    );
  support
    .command("bug-report")
    .summary("collect what others need to see")
    .description(
      "Writes an archive (*.tar.gz, *.tgz or *.tar) with logs, objects and the sidecars' configuration. Secrets and values of variables are left out; look at the logs before you share it.",
    )
    .option("--all", "every namespace and pod of the mesh")
    .addOption(list("--app-namespaces <namespaces>", "namespaces, with commas between them"))
    .addOption(list("--app-deployments <deployments>", "Deployments, as namespace/name"))
    .addOption(list("--app-pods <pods>", "pods, as namespace/name"))
    .option("--ingress", "Ingress and IngressBackend objects of these namespaces too")
    .option("-o, --out-file <file>", "the archive (default: heddle-bug-report-TIME.tar.gz here)")
    .addHelpText(
      "after",
      examples(
        ["heddle support bug-report --all", "everything"],
        ["heddle support bug-report --app-namespaces bookstore --app-pods bookbuyer/bookbuyer-7bb7", "these only"],
      ),
    )
    .action((options) => run(async (context) => (await import("./bug-report.ts")).bugReport(context, options)));
}

export function addTools(program: Command, run: Run, print: (text: string) => Promise<void>): void {
  program
    .command("check")
    .summary("can a cluster take the mesh? Is it well?")
    .description(
      "With --pre: whether a cluster can take the mesh, before anything is installed. Without: as verify control-plane-health. Ends with 1 when something fails.",
    )
    .option("--pre", "before an installation: version, permissions, CRDs, other meshes")
    .addHelpText("after", examples(["heddle check --pre", "before heddle install"], ["heddle check", "afterwards"]))
    .action((options: { pre?: boolean }) =>
      run(async (context) =>
        options.pre
          ? (await import("./check.ts")).check(context)
          : (await import("./verify/run.ts")).verifyControlPlane(context),
      ),
    );
  program
    .command("inject")
    .summary("put sidecars into manifests, with no cluster")
    .description(
      "Prints manifests with sidecars in their pods, as the injector of a cluster would add them. What was done goes to standard error.",
    )
    .requiredOption("-f, --filename <file>", "the manifests; - is standard input")
    .option("-n, --namespace <namespace>", "namespace of objects that name none")
    .addOption(
      new Option("--envoy-image <image>", "the sidecar's image").default("envoyproxy/envoy:distroless-v1.40.0"),
    )
    .option("--init-image <image>", "the init container's image (default: Heddle's of this version)")
    .option("--no-native-sidecars", "for clusters older than Kubernetes 1.29")
    .addOption(new Option("--trust-domain <domain>", "the mesh's trust domain").default("cluster.local"))
    .addHelpText(
      "after",
      examples(
        ["heddle inject -f deployment.yaml | kubectl apply -f -", "with sidecars"],
        ["kubectl get deployment web -o yaml | heddle inject -f -", "what would be added?"],
      ),
    )
    .action((options) => run(async (context) => (await import("./inject.ts")).injectManifests(context, options)));
  program
    .command("env")
    .summary("print what OSM's configuration file comes to")
    .description(
      "Prints the settings of OSM's configuration file (~/.osm/config.yaml or $OSM_CONFIG), with flags applied.",
    )
    .addHelpText("after", examples(["heddle env", "the settings"]))
    .action(() => run(async (context) => (await import("./env.ts")).env(context)));
  program
    .command("completion")
    .summary("print completion for a shell")
    .description("Prints a script that completes heddle's commands and options in bash, zsh or fish.")
    .argument("<shell>", "bash, zsh or fish")
    .addHelpText(
      "after",
      examples(
        ["source <(heddle completion bash)", "in this shell"],
        ["heddle completion fish > ~/.config/fish/completions/heddle.fish", "in every new one"],
      ),
    )
    .action(async (shell: string) => print((await import("./completion.ts")).completion(program, shell)));
}
