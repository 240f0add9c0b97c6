/** @peculiar/x509, an oracle that shares no code with ours, behind what it needs to be loaded. */
import "./reflect.ts";
export * from "@peculiar/x509";
