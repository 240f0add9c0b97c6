/**
 * The checks that probes are made of. Made from the node's address, as the kubelet makes them; only `exec` needs a process.
 * Each answers undefined for success, else one line of why not, and ends when the signal says so.
 */
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect as http2Connect } from "node:http2";
import { connect } from "node:net";
import type { Container, Probe } from "../world/pod.ts";
import { launch, signalGroup, type LaunchSpec } from "./launch.ts";

export interface ProbeTarget {
  /** The pod's address. */
  readonly ip: string;
  /** The address to call from. */
  readonly from: string;
  readonly container: Container;
  /** How to run a program in the container. */
  readonly launch: LaunchSpec;
}

type Outcome = string | undefined;

export async function check(probe: Probe, target: ProbeTarget, signal: AbortSignal): Promise<Outcome> {
  if (probe.httpGet) return httpGet(probe.httpGet, target, signal);
  if (probe.tcpSocket) return tcpSocket(portOf(probe.tcpSocket.port, target), target, signal);
  if (probe.grpc) return grpc(probe.grpc.port, probe.grpc.service ?? "", target, signal);
  if (probe.exec) return exec(probe.exec.command, target, signal);
  return "the probe has no httpGet, tcpSocket, grpc or exec";
}

function portOf(port: number | string, { container }: ProbeTarget): number {
  if (typeof port === "number") return port;
  const named = container.ports?.find((p) => p.name === port)?.containerPort ?? Number(port);
  if (!Number.isInteger(named)) throw new Error(`the container has no port named "${port}"`);
  return named;
}

function httpGet(get: NonNullable<Probe["httpGet"]>, target: ProbeTarget, signal: AbortSignal): Promise<Outcome> {
  const headers: Record<string, string> = { "user-agent": "kube-probe/1.36", accept: "*/*", connection: "close" };
  for (const { name, value } of get.httpHeaders ?? []) headers[name.toLowerCase()] = value;
  const https = get.scheme?.toUpperCase() === "HTTPS";
  const options = {
    host: target.ip,
    localAddress: target.from,
    port: portOf(get.port, target),
    path: encodeURI(decodeSafely(get.path ?? "/")).replace(/^(?!\/)/, "/"),
    headers,
    agent: false as const,
    signal,
  };
  return new Promise((resolve) => {
    const request = https ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
    request.on("error", (error) => resolve(error.message));
    request.on("response", (response) => {
      const code = response.statusCode ?? 0;
      response.resume();
      resolve(code >= 200 && code < 400 ? undefined : `HTTP status ${code}`);
    });
    request.end();
  });
}

/** A path as users write it, whether or not they escaped it themselves. */
function decodeSafely(path: string): string {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

async function tcpSocket(port: number, target: ProbeTarget, signal: AbortSignal): Promise<Outcome> {
  const socket = connect({ host: target.ip, port, localAddress: target.from, signal });
  try {
    await once(socket, "connect");
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    socket.on("error", () => {});
    socket.destroy();
  }
}

/** grpc.health.v1.Health/Check, written by hand: one string out, one number back. */
function grpc(port: number, service: string, target: ProbeTarget, signal: AbortSignal): Promise<Outcome> {
  const name = Buffer.from(service);
  // HealthCheckRequest{service}: field 1, length-delimited; below 128 bytes its length is one byte, as is the rule for names.
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
  return new Promise((resolve) => {
    const session = http2Connect(`http://${target.ip}:${port}`, {
      createConnection: () => connect({ host: target.ip, port, localAddress: target.from }),
    });
    const end = (outcome: Outcome): void => {
      resolve(outcome);
      session.destroy();
    };
    signal.addEventListener("abort", () => end("aborted"), { once: true });
    session.on("error", (error) => end(error.message));
    const stream = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    let body = Buffer.alloc(0);
    let status: string | undefined;
    stream.on("response", (headers) => (status ??= headers["grpc-status"] as string | undefined));
    stream.on("trailers", (headers) => (status ??= headers["grpc-status"] as string | undefined));
    stream.on("data", (data: Buffer) => (body = Buffer.concat([body, data])));
    stream.on("error", (error) => end(error.message));
    stream.on("end", () => {
      if (status !== "0") return end(`gRPC status ${status ?? "missing"}`);
      // HealthCheckResponse{status}: field 1, varint; 1 is SERVING.
      return end(body[5] === 0x08 && body[6] === 1 ? undefined : "the service says that it is not serving");
    });
    stream.end(frame);
  });
}

async function exec(command: readonly string[], target: ProbeTarget, signal: AbortSignal): Promise<Outcome> {
  const child = launch({ ...target.launch, argv: command });
  let said = "";
  const hear = (data: Buffer) => (said = (said + data.toString()).slice(-200));
  child.stdout?.on("data", hear);
  child.stderr?.on("data", hear);
  const end = () => signalGroup(child.pid, "SIGKILL");
  signal.addEventListener("abort", end, { once: true });
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    return code === 0 ? undefined : `exit code ${code ?? "none"}${said ? `: ${said.trim()}` : ""}`;
  } finally {
    signal.removeEventListener("abort", end);
  }
}
