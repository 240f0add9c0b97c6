/**
 * For tests of what happens when Envoy rejects something: makes one resource unreadable. Nothing else uses it.
 */
import { resource, type Resources, type Type } from "../xds/resource.ts";

/** The same resources, but for one whose bytes are no message any more. */
export function spoil(resources: Resources, type: Type, name: string): Resources {
  const found = resources[type].get(name);
  if (!found) return resources;
  const bad = resource(type, name, Uint8Array.from([0xff, 0xff, 0xff]), found.refs);
  return { ...resources, [type]: new Map([...resources[type], [name, bad]]) };
}
