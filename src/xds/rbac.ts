/**
 * Rules → Envoy's RBAC. A policy a rule; policies add up; none means nobody.
 */
import {
  RBAC_Action,
  type Permission,
  type Policy,
  type Principal,
  type RBAC,
} from "../../gen/envoy/config/rbac/v3/rbac.ts";
import type { HeaderMatcher } from "../../gen/envoy/config/route/v3/route_components.ts";
import type { RouteMatch, Rule } from "../policy/ir.ts";
import { headerMeant } from "../policy/routes.ts";
import { principalDnsName } from "../world/names.ts";
import { exact, regex } from "./message.ts";

/** What the rules allow, on HTTP requests or (rules without matches) on connections. */
export function rbac(rules: readonly Rule[], trustDomain: string): RBAC {
  const policies: Record<string, Policy> = {};
  for (const [i, rule] of rules.entries()) {
    policies[rule.target ?? `permissive-${i}`] = {
      permissions: rule.matches ? rule.matches.map(permission) : [ANYTHING],
      principals: rule.sources ? rule.sources.map((id) => principal(principalDnsName(id, trustDomain))) : [EVERYBODY],
    };
  }
  return { action: RBAC_Action.ALLOW, policies };
}

/** Rules that allow nothing: what holds until a route says otherwise. */
export const DENY_ALL: RBAC = { action: RBAC_Action.ALLOW, policies: {} };

const ANYTHING: Permission = { rule: { $case: "any", value: true } };
/** TLS demands a certificate of the mesh, so "any" is anybody with an identity. */
const EVERYBODY: Principal = { identifier: { $case: "any", value: true } };

const principal = (dnsName: string): Principal => ({
  identifier: { $case: "authenticated", value: { principalName: exact(dnsName) } },
});

function permission(match: RouteMatch): Permission {
  const all: Permission[] = headerMatchers(match).map((value) => ({ rule: { $case: "header", value } }));
  if (match.pathRegex !== undefined) {
    all.unshift({ rule: { $case: "urlPath", value: { rule: { $case: "path", value: regex(match.pathRegex) } } } });
  }
  const [only, ...more] = all;
  if (!only) return ANYTHING;
  return more.length === 0 ? only : { rule: { $case: "andRules", value: { rules: all } } };
}

/** A match's methods and headers, for RBAC and routes alike. */
export function headerMatchers({ methods, headers }: Pick<RouteMatch, "methods" | "headers">): HeaderMatcher[] {
  const matchers: HeaderMatcher[] = headers.map(({ name, regex: pattern }) => ({
    name: headerMeant(name),
    headerMatchSpecifier: { $case: "stringMatch", value: regex(pattern) },
  }));
  if (methods.length > 0 && !methods.includes("*")) {
    const [only, ...more] = methods;
    const value = more.length === 0 && only !== undefined ? exact(only) : regex(methods.map(escape).join("|"));
    matchers.unshift({ name: ":method", headerMatchSpecifier: { $case: "stringMatch", value } });
  }
  return matchers;
}

const escape = (text: string): string => text.replace(/[^A-Za-z0-9]/g, "\\$&");
