// Runs a metered module on a chunk in V8, as a browser would: node run.mjs MODULE CHUNK FUEL. Prints the SHA-256 of the
// output and the fuel used, after the first call and after enough of them for the optimising compiler.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [, , modulePath, chunkPath, limit] = process.argv;
const compiled = new WebAssembly.Module(readFileSync(modulePath));
const chunk = readFileSync(chunkPath);

function run() {
  const { memory, shardy_alloc, shardy_run, __shardy_fuel } = new WebAssembly.Instance(compiled, {}).exports;
  __shardy_fuel.value = BigInt(limit);
  const at = shardy_alloc(chunk.length);
  new Uint8Array(memory.buffer, at >>> 0, chunk.length).set(chunk);
  const result = BigInt.asUintN(64, shardy_run(at, chunk.length));
  const output = new Uint8Array(memory.buffer, Number(result >> 32n), Number(result & 0xffffffffn));
  return `${createHash("sha256").update(output).digest("hex")} ${BigInt(limit) - __shardy_fuel.value}`;
}

console.log(run());
let last = "";
for (let i = 0; i < 5; i++) last = run();
console.log(last);
