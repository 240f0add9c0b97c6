// Preloaded into the example's programs: leads connections to names of the mesh to the ports that a test has given them.
// REDIRECT: `name:port=localPort`, comma separated.
import { Socket } from "node:net";

const targets = new Map((process.env["REDIRECT"] ?? "").split(",").map((rule) => rule.split("=")));
const connect = Socket.prototype.connect;
Socket.prototype.connect = function (...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  const port = targets.get(`${options.host}:${options.port}`);
  if (port !== undefined) Object.assign(options, { host: "127.0.0.1", port: Number(port) });
  return connect.apply(this, args);
};
