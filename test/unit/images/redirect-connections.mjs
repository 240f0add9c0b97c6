// Preloaded into the example's programs: leads connections to names of the mesh to the ports that a test has given them.
// REDIRECT: `name:port=localPort`, comma separated.
import { Socket } from "node:net";

const targets = new Map((process.env["REDIRECT"] ?? "").split(",").map((rule) => rule.split("=")));
const connect = Socket.prototype.connect;
Socket.prototype.connect = function (...args) {
  // Node's own callers pass [options, callback]. The options are copied: an Agent finds its sockets by them.
  const holder = Array.isArray(args[0]) ? args[0] : args;
  const port = targets.get(`${holder[0].host}:${holder[0].port}`);
  if (port !== undefined) holder[0] = { ...holder[0], host: "127.0.0.1", port: Number(port) };
  return connect.apply(this, args);
};
