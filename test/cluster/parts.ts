/**
 * The parts of a cluster as data: the files that they read and their command lines. Starts nothing.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { flags } from "./exec.ts";
import {
  API_PORT,
  cgroupName,
  NODE_ADDRESS,
  NODE_NAME,
  POD_CIDR,
  REGISTRY_PORT,
  SERVICE_CIDR,
  stateDirectory,
} from "./paths.ts";

export type Part =
  | "etcd"
  | "kube-apiserver"
  | "kube-controller-manager"
  | "kube-scheduler"
  | "containerd"
  | "kubelet"
  | "kube-proxy"
  | "coredns"
  | "registry";

export interface Binaries {
  readonly kube: string;
  readonly coredns: string;
}

/** The sandbox image. Not to be pulled: each cluster imports it. */
export const PAUSE_IMAGE = "localhost/heddle-pause:1";
/** There are none; the default lies in /usr. */
const VOLUME_PLUGINS = "/var/lib/kubelet/volume-plugins";
const DOMAIN = "cluster.local";

export const containerdSocket = (id: string): string => join(stateDirectory(id), "run/containerd/containerd.sock");

/** Writes what the parts read, below the cluster's state directory. */
export function writeConfigs(id: string): void {
  const state = stateDirectory(id);
  const pki = (name: string): string => join(state, "pki", name);
  const write = (name: string, content: string | object): void => {
    const path = join(state, "config", name);
    mkdirSync(dirname(path), { recursive: true });
    // JSON is YAML.
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content, undefined, 2));
  };
  write(
    "containerd.toml",
    `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${join(state, "config/cni")}"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${join(state, "config/registries")}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
`,
  );
  // Every name without a host (which means docker.io) comes from the cluster's own registry.
  write(
    "registries/docker.io/hosts.toml",
    `[host."http://${NODE_ADDRESS}:${REGISTRY_PORT}"]\n  capabilities = ["pull", "resolve"]\n`,
  );
  write("registry.yaml", {
    version: "0.1",
    log: { level: "warn" },
    storage: { filesystem: { rootdirectory: "/var/lib/registry" }, delete: { enabled: true } },
    http: { addr: `:${REGISTRY_PORT}` },
  });
  write("cni/10-bridge.conflist", {
    cniVersion: "0.4.0",
    name: "pods",
    plugins: [
      {
        type: "bridge",
        bridge: "br0",
        isGateway: true,
        ipMasq: false,
        hairpinMode: true,
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: POD_CIDR, rangeStart: "10.244.1.1", gateway: NODE_ADDRESS }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  });
  write("resolv.conf", `nameserver ${NODE_ADDRESS}\n`);
  write("kubelet.yaml", {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true, cacheTTL: "0s" },
      x509: { clientCAFile: pki("ca.crt") },
    },
    authorization: { mode: "Webhook" },
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${cgroupName(id)}`,
    failCgroupV1: false,
    oomScoreAdj: 0,
    clusterDNS: [NODE_ADDRESS],
    clusterDomain: DOMAIN,
    resolvConf: join(state, "config/resolv.conf"),
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    protectKernelDefaults: true,
    volumePluginDir: VOLUME_PLUGINS,
    failSwapOn: false,
    maxPods: 250,
    registryPullQPS: 0,
    eventRecordQPS: 0,
    // Small, so that a test sees a new Secret or ConfigMap, and a pod's end, soon.
    syncFrequency: "10s",
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
  });
  write("kube-proxy.yaml", {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    clientConnection: { kubeconfig: pki("kube-proxy.kubeconfig") },
    mode: "iptables",
    conntrack: { maxPerCore: 0, min: 0 },
    // The default makes a new endpoint wait for up to a second after another change.
    iptables: { minSyncPeriod: "0s" },
    hostnameOverride: NODE_NAME,
    clusterCIDR: POD_CIDR,
    detectLocalMode: "ClusterCIDR",
    healthzBindAddress: "0.0.0.0:10256",
  });
  write(
    "Corefile",
    `${DOMAIN} in-addr.arpa {
  errors
  ready
  cache 5
  kubernetes ${DOMAIN} in-addr.arpa {
    kubeconfig ${pki("coredns.kubeconfig")} heddle-test
    pods verified
  }
}
`,
  );
}

/** The command line of a part, inside the node. */
export function commandOf(part: Part, id: string, { kube, coredns }: Binaries): string[] {
  const state = stateDirectory(id);
  const pki = (name: string): string => join(state, "pki", name);
  const config = (name: string): string => join(state, "config", name);
  switch (part) {
    case "etcd": {
      const [client, peer] = ["http://127.0.0.1:2379", "http://127.0.0.1:2380"];
      const options = flags({
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": `default=${peer}`,
        // Its data die with the cluster.
        "unsafe-no-fsync": true,
        "log-level": "warn",
      });
      return [kube, part, ...options];
    }
    case "kube-apiserver": {
      const options = flags({
        "etcd-servers": "http://127.0.0.1:2379",
        "cert-dir": join(state, part),
        "bind-address": "0.0.0.0",
        "secure-port": API_PORT,
        "advertise-address": NODE_ADDRESS,
        "service-cluster-ip-range": SERVICE_CIDR,
        "allow-privileged": true,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": pki("ca.crt"),
        "tls-cert-file": pki("kube-apiserver.crt"),
        "tls-private-key-file": pki("kube-apiserver.key"),
        "service-account-issuer": `https://kubernetes.default.svc.${DOMAIN}`,
        "service-account-key-file": pki("sa.pub"),
        "service-account-signing-key-file": pki("sa.key"),
        "kubelet-client-certificate": pki("kube-apiserver-kubelet-client.crt"),
        "kubelet-client-key": pki("kube-apiserver-kubelet-client.key"),
        "kubelet-preferred-address-types": "InternalIP",
        // Webhooks' pods are dialled directly.
        "enable-aggregator-routing": true,
      });
      return [kube, part, ...options];
    }
    case "kube-controller-manager": {
      const options = flags({
        kubeconfig: pki(`${part}.kubeconfig`),
        "use-service-account-credentials": true,
        "service-account-private-key-file": pki("sa.key"),
        "root-ca-file": pki("ca.crt"),
        "cluster-signing-cert-file": pki("ca.crt"),
        "cluster-signing-key-file": pki("ca.key"),
        "leader-elect": false,
        "cert-dir": join(state, part),
        "flex-volume-plugin-dir": VOLUME_PLUGINS,
        // Its own limit of 20 requests/s makes its start 4 s long.
        "kube-api-qps": 1000,
        "kube-api-burst": 2000,
      });
      return [kube, part, ...options];
    }
    case "kube-scheduler":
      return [kube, part, ...flags({ kubeconfig: pki(`${part}.kubeconfig`), "leader-elect": false })];
    case "containerd":
      return [part, "--config", config("containerd.toml")];
    case "kubelet": {
      const options = flags({
        config: config("kubelet.yaml"),
        kubeconfig: pki("kubelet.kubeconfig"),
        "hostname-override": NODE_NAME,
        "node-ip": NODE_ADDRESS,
      });
      return [kube, part, ...options];
    }
    case "kube-proxy":
      return [kube, part, `--config=${config("kube-proxy.yaml")}`];
    case "coredns":
      return [coredns, "-conf", config("Corefile")];
    case "registry":
      return ["docker-registry", "serve", config("registry.yaml")];
  }
}
