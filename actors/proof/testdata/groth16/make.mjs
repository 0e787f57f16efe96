// Makes a Groth16 test vector with snarkjs and no circuit compiler: the constraint system is written by hand.
// Signals: 0 one, 1 out (public output), 2 in (public input), 3 secret, 4 square.
// Constraints: secret * secret = square; square * in = out.
import * as snarkjs from "snarkjs";
import { writeFileSync } from "node:fs";
const P = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
const fe = (n) => { const b = Buffer.alloc(32); n = ((n % P) + P) % P; for (let i = 0; i < 32; i++) { b[i] = Number(n & 255n); n >>= 8n; } return b; };
const file = (magic, version, sections) => Buffer.concat([Buffer.from(magic), u32(version), u32(sections.length), ...sections.flatMap(([id, d]) => [u32(id), u64(d.length), d])]);
const lc = (...terms) => Buffer.concat([u32(terms.length), ...terms.flatMap(([s, c]) => [u32(s), fe(c)])]);
const header = Buffer.concat([u32(32), fe(0n + 0n), u32(5), u32(1), u32(1), u32(1), u64(5), u32(2)]);
header.set((() => { const b = Buffer.alloc(32); let n = P; for (let i = 0; i < 32; i++) { b[i] = Number(n & 255n); n >>= 8n; } return b; })(), 4);
const constraints = Buffer.concat([lc([3, 1n]), lc([3, 1n]), lc([4, 1n]), lc([4, 1n]), lc([2, 1n]), lc([1, 1n])]);
const map = Buffer.concat([0, 1, 2, 3, 4].map(u64));
writeFileSync("c.r1cs", file("r1cs", 1, [[1, header], [2, constraints], [3, map]]));
const inp = 7n, secret = 12345n, square = secret * secret, out = square * inp;
const prime = header.subarray(4, 36);
writeFileSync("c.wtns", file("wtns", 2, [[1, Buffer.concat([u32(32), prime, u32(5)])], [2, Buffer.concat([1n, out, inp, secret, square].map(fe))]]));
const curve = await snarkjs.curves.getCurveFromName("bn128");
await snarkjs.powersOfTau.newAccumulator(curve, 4, "p0.ptau");
await snarkjs.powersOfTau.contribute("p0.ptau", "p1.ptau", "test", "entropy of a test vector");
await snarkjs.powersOfTau.preparePhase2("p1.ptau", "p2.ptau");
await snarkjs.zKey.newZKey("c.r1cs", "p2.ptau", "c0.zkey");
await snarkjs.zKey.contribute("c0.zkey", "c1.zkey", "test", "more entropy");
const vk = await snarkjs.zKey.exportVerificationKey("c1.zkey");
const { proof, publicSignals } = await snarkjs.groth16.prove("c1.zkey", "c.wtns");
console.log(publicSignals, await snarkjs.groth16.verify(vk, publicSignals, proof));
for (const [n, v] of Object.entries({ verification_key: vk, proof, public: publicSignals })) writeFileSync(n + ".json", JSON.stringify(v, null, 1) + "\n");
process.exit(0);
