/**
 * The part of a Kubernetes Pod object that sidecars and local pods are made from, in Kubernetes' own field names.
 * Data only: who reads it decides what it means.
 */

export interface PodManifest {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
    /** The controller's kind and name, as `ReplicaSet bookbuyer-6c9f`; absent for a bare pod. */
    readonly ownerReferences?: readonly {
      readonly kind: string;
      readonly name: string;
      readonly controller?: boolean;
    }[];
  };
  readonly spec: PodSpec;
}

export interface PodSpec {
  readonly serviceAccountName: string;
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly hostNetwork?: boolean;
  readonly restartPolicy?: "Always" | "OnFailure" | "Never";
  /** Seconds; 30 when absent. */
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: SecurityContext;
}

export interface SecurityContext {
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly workingDir?: string;
  readonly env?: readonly EnvVar[];
  readonly ports?: readonly {
    readonly containerPort: number;
    readonly name?: string;
    readonly protocol?: "TCP" | "UDP" | "SCTP";
  }[];
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly startupProbe?: Probe;
  readonly restartPolicy?: "Always";
  readonly securityContext?: SecurityContext;
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  /** Downward API: `metadata.name`, `metadata.namespace`, `metadata.uid`, `status.podIP`, `spec.serviceAccountName`, `metadata.labels['x']`. */
  readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
}

export interface Probe {
  readonly httpGet?: {
    readonly path?: string;
    /** Number or name of a container port. */
    readonly port: number | string;
    readonly scheme?: "HTTP" | "HTTPS";
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[];
  };
  readonly tcpSocket?: { readonly port: number | string };
  readonly exec?: { readonly command: readonly string[] };
  readonly grpc?: { readonly port: number; readonly service?: string };
  /** Seconds; Kubernetes' defaults (0, 10, 1) and counts (1, 3) when absent. */
  readonly initialDelaySeconds?: number;
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly successThreshold?: number;
  readonly failureThreshold?: number;
}

/** What became of a pod: what the kubelet would write into its status. */
export interface PodStatus {
  readonly phase: "Pending" | "Running" | "Succeeded" | "Failed";
  readonly ready: boolean;
  readonly ip?: string;
  readonly terminating: boolean;
  readonly restarts: number;
  /** Ready containers of all, the sidecar among them, as `1/2`. */
  readonly containers?: string;
  /** Milliseconds since the epoch. */
  readonly startedAt?: number;
  /** One line: why it is not running. */
  readonly reason?: string;
}
