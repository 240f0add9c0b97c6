/**
 * Errors of the API server and of kubeconfigs, as the sentences that the command prints.
 */
import { UserError } from "../errors.ts";

/** The sentence of any error. */
export const errorOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * What a verb's error is for whoever typed it: a `UserError` for what the API server or a kubeconfig said, anything else as it is.
 * Names are their contract, so that nothing need be loaded to look.
 */
export function worded(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (error.name === "ConfigError") return new UserError(error.message);
  if (error.name !== "ApiError") return error;
  const { status } = error as Error & { readonly status: number };
  const todo =
    status === 0 ? " Check --kubeconfig and --context, and that the cluster runs: kubectl get --raw /readyz" : "";
  return new UserError(`${error.message}${todo}`);
}
