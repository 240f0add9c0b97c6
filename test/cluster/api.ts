/**
 * One request to the API server with the admin's certificate. A test's own view of it; Heddle's client is what is tested.
 */
import { Agent, request } from "node:https";

export interface ApiAccess {
  /** https://ADDRESS:PORT */
  readonly url: string;
  /** PEM. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface ApiReply {
  readonly status: number;
  readonly body: string;
}

const MERGE_PATCH = "application/merge-patch+json";

/** Rejects only when there is no answer. `body` is sent as JSON; with PATCH as a merge patch. */
export function callApi(access: ApiAccess, method: string, path: string, body?: object): Promise<ApiReply> {
  const agent = new Agent({ ca: access.ca, cert: access.cert, key: access.key });
  return new Promise((resolve, reject) => {
    const outgoing = request(new URL(path, access.url), {
      method,
      agent,
      timeout: 10_000,
      ...(body !== undefined && { headers: { "content-type": method === "PATCH" ? MERGE_PATCH : "application/json" } }),
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`${access.url} does not answer`)));
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
