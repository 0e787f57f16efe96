// Package audit holds an event log against itself: it takes every recorded command to the rules that decided it and
// compares the answer with what was recorded, verifies the evidence that decisions trusted without computing it, tells
// the story of a verdict in words, writes it down as a file that proves it offline, and plays recorded results under
// other policies.
//
// It promises that a log without divergences holds exactly the facts that its recorded commands lead to, that no fact's
// bytes differ from the digest beside them, and that every attestation, checksum and placement in it stands by itself;
// that a bundle which is sound with a trusted key holds records of the log that the key signed, to the byte, and shows
// for every contradicted worker what that worker signed; and that a comparison of policies under the recorded policy
// gives the recorded verdicts. A decision whose rules are gone is counted as undecidable, never as fine. Whatever a log
// or a file says, it takes bounded memory and no panic.
//
// Its limits: Replay alone cannot see a log that was rewritten as a whole, with commands, facts and digests that fit
// each other, nor a change to a part of a command that no fact depends on, because a command's own bytes are under no
// digest of the envelope. The Merkle tree over the log (package transparency) is against both: a record's leaf covers
// its metadata, and with it the whole command, so that audit verify and every bundle find such a change. A record's
// position and the time of its append are under no leaf. Proofs show what is in a log, never what is not: a bundle can
// end before the log does. A worker's signature says who sent a result, not that it is right; running the module again
// does. And nobody knows what workers would have returned under another policy beyond what they did return.
package audit
