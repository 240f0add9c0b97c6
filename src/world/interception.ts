/**
 * What iptables rules can hold, as texts: asked where MeshConfig and annotations are read, and again where rules are made.
 * Knows neither objects nor rules.
 */
import { isIPv6 } from "./address.ts";

/** IPv4, or any form of IPv6 without a zone. Nothing in it could be read by a shell. */
export function isExactAddress(text: string): boolean {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return text.split(".").every((part) => Number(part) <= 255);
  // The URL parser knows every form of IPv6.
  return text.includes(":") && /^[\da-f:.]+$/i.test(text) && URL.canParse(`http://[${text}]/`);
}

/** Whether the text is an IP range, as `10.0.0.0/8` or `fd00::/8`. */
export function isIPRange(text: string): boolean {
  const [address = "", bits = "", ...rest] = text.split("/");
  return (
    rest.length === 0 &&
    isExactAddress(address) &&
    /^\d{1,3}$/.test(bits) &&
    Number(bits) <= (isIPv6(address) ? 128 : 32)
  );
}

/** A network interface's name. Kernel: 1 to 15 bytes, no slash and no white space; here in addition nothing that a shell could read. */
export const isInterface = (name: string): boolean => /^[\w][\w.@:+-]{0,14}$/.test(name);
