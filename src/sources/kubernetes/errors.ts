/**
 * What can go wrong between here and an API server, as one typed error whose message is a sentence. Knows no request.
 */
import { isRaw } from "../../lib/json.ts";

/** A refusal of the API server, or no usable answer at all. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status; 0 when there was no answer that could be used. */
  readonly status: number;
  /** Kubernetes' own word, as `NotFound` or `Conflict`; with status 0 what happened, as `ECONNREFUSED`, `Timeout` or `BadAnswer`. */
  readonly reason: string;
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | undefined;
  /** Of a refused server-side apply: the fields that somebody else owns, as `.spec.traffic.enableEgress`. */
  readonly conflicts: readonly string[];

  constructor(
    status: number,
    reason: string,
    message: string,
    retryAfter?: number,
    cause?: unknown,
    conflicts: readonly string[] = [],
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
    this.conflicts = conflicts;
  }
}

/** A mistake in credentials or a kubeconfig. The message is a whole sentence for the user; no stack need be shown. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

const is = (error: unknown, status: number): boolean => error instanceof ApiError && error.status === status;

export const isNotFound = (error: unknown): boolean => is(error, 404);
/** Somebody else was first, or the object has changed since it was read. */
export const isConflict = (error: unknown): boolean => is(error, 409);
/** The resourceVersion or continue token is too old for the server. */
export const isGone = (error: unknown): boolean => is(error, 410);

/** Whether the same request may succeed later without anybody doing anything. */
export const isTransient = (error: unknown): boolean =>
  error instanceof ApiError &&
  (error.status === 0 || error.status === 408 || error.status === 429 || error.status >= 500);

/** What a person can do about a refusal; "" where nothing follows from the status. */
function advice(status: number): string {
  if (status === 401)
    return " The credentials were not accepted: check the token or client certificate, and that it has not expired.";
  if (status === 403) return " Grant this in the Role or ClusterRole of the account that asks.";
  return "";
}

const text = (value: unknown): string => (typeof value === "string" ? value.slice(0, 1_000) : "");

/**
 * From the body of a refusal, or the object of an ERROR event: a Kubernetes Status if it is one.
 * `what` is the request in words, as `GET /api/v1/pods`.
 */
export function refusal(what: string, status: number, body: unknown, retryAfterHeader?: string): ApiError {
  const given = isRaw(body) ? body : {};
  const details = isRaw(given["details"]) ? given["details"] : {};
  const seconds = Number(retryAfterHeader ?? details["retryAfterSeconds"]);
  const reason = text(given["reason"]) || (REASONS[status] ?? "Unknown");
  const said = text(given["message"]) || (typeof body === "string" ? body.trim().slice(0, 200) : "");
  return new ApiError(
    status,
    reason,
    `${what}: the API server answered ${status} ${reason}${said ? `: ${said.replace(/\.$/, "")}` : ""}.${advice(status)}`,
    Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : undefined,
    undefined,
    conflictsOf(details["causes"]),
  );
}

const conflictsOf = (causes: unknown): string[] =>
  (Array.isArray(causes) ? causes : []).flatMap((cause: unknown) => {
    const { reason, field } = (cause ?? {}) as Record<string, unknown>;
    return reason === "FieldManagerConflict" && typeof field === "string" ? [field] : [];
  });

const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Gone",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** No answer, or one that cannot be read. `said` without a full stop. */
export const noAnswer = (what: string, reason: string, said: string, cause?: unknown): ApiError =>
  new ApiError(0, reason, `${what}: ${said}.`, undefined, cause);
