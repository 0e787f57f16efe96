// Package transparency makes tampering with the event log evident: an RFC 6962 Merkle tree over all of its records,
// signed checkpoints of that tree, and proofs that a stranger can check with nothing but the server's public key.
//
// It promises that no two roots are ever signed for one size as long as the tree's folder is kept, that a record which
// was changed, moved, inserted or removed after a checkpoint is found by Verify and named as far as the hash tiles say,
// and that nothing is signed over a history that a kept checkpoint contradicts. It cannot promise more than what lies
// outside: whoever holds the folder and the server's key can forge both anew, which only a checkpoint that was copied
// elsewhere shows; and what was written since the last checkpoint is compared with the tiles alone. The tree signs what
// it has seen: a record that is changed afterwards does not change what is signed next, and is found by whoever reads
// the log again: Verify, a proof of that record, or a rebuild.
//
// # Leaves
//
// Every record whose type does not begin with "$" is a leaf, in the order of the log; leaves are counted from 0. Those
// that begin with "$" belong to the store (stream metadata, links, statistics) and differ between stores. Deleting a
// stream hides its records from readers of that stream and takes nothing out of the log: its leaves stay. A log that is
// scavenged or truncated no longer matches its tree, and Verify says so.
//
// A leaf of version 1 is these bytes, numbers big endian; its hash is SHA-256 of 0x00 and the leaf:
//
//	offset 0   1, the version
//	offset 1   flags: 1 = the data is JSON
//	offset 2   event id, 16 bytes
//	offset 18  revision of the record in its stream, 8 bytes
//	offset 26  stream, type, metadata, data: for each its length in 4 bytes, and then its bytes
//
// The position is not part of it: positions are opaque, differ between stores, and the leaf's index already says where
// the record lies. The time of the append is not part of it either: stores round it differently and some clients see
// only milliseconds. No decision reads it; the time that counts is in the command, inside the metadata.
//
// # Proofs and checkpoints
//
// A checkpoint is a signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint): origin, size, root, and an ed25519
// signature by the server's key under the origin's name, which is "shardy/" and the first 8 bytes of that key in hex.
// Hash tiles are those of c2sp.org/tlog-tiles with their height of 8; there are no entry bundles. A proof in a file is
// a c2sp.org/tlog-proof, whose extra data is the leaf.
package transparency
