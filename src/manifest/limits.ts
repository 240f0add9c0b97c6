/**
 * How much of an object is read: one table, so that no object can cost without bound. Knows no kind.
 */

/**
 * What lies above a limit is a Problem of code `too-large`, never a silent cut. Of a list that only adds (sources, rules, matches, ports)
 * the first entries stand; a list that restricts or shares out (headers, backends) is not used at all.
 */
export const LIMITS = {
  /** Characters of a name, DNS's own limit. */
  name: 253,
  /** Characters of a regular expression or another string of policy. */
  text: 4096,
  /** Characters of an annotation's or environment variable's value. */
  value: 256 * 1024,
  sources: 10_000,
  rules: 1_000,
  /** Matches of a route group, and names of matches in a rule. */
  matches: 1_000,
  methods: 100,
  headers: 100,
  /** Ports of a Service, a container or a TCPRoute. */
  ports: 1_000,
  backends: 1_000,
  labels: 1_000,
  endpoints: 10_000,
  containers: 100,
  addresses: 100,
  /** Arguments, environment variables, HTTP headers of a probe, lists of MeshConfig. */
  entries: 10_000,
  /** Pods that one controller makes here. */
  replicas: 1_000,
} as const;
