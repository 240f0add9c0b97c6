/**
 * IP addresses as texts, as Kubernetes writes them. Knows no network.
 */

export const isIPv6 = (address: string): boolean => address.includes(":");

/** As it stands in a URL or in a request's authority. */
export const inAuthority = (address: string): string => (isIPv6(address) ? `[${address}]` : address);
