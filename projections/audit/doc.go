// Package audit replays an event log: it takes every recorded command to the rules that decided it and compares the
// answer with what was recorded, and it verifies the evidence that decisions trusted without computing it.
//
// It promises that a log without divergences holds exactly the facts that its recorded commands lead to, that no fact's
// bytes differ from the digest beside them, and that every attestation, checksum and placement in it stands by itself.
// A decision whose rules are gone is counted as undecidable, never as fine.
//
// Its limits: it cannot see a log that was rewritten as a whole, with commands, facts and digests that fit each other
// (signed checkpoints of the log are against that); a command's own bytes are under no digest, so a change to a part of
// a command that no fact depends on goes unseen; and a worker's signature says who sent a result, not that it is right.
package audit
