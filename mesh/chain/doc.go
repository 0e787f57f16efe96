// Package chain keeps a ledger on disk: its genesis, every block with its certificate and receipts, and now and then a
// snapshot of the state; the state itself is in memory and is made anew from the last snapshot when the chain is opened.
//
// It promises that a block is on disk before anybody hears of it, that no block is kept which does not follow from the one
// before it (link, certificate, roots, signatures, execution: see accept.go for the order), and that after a crash at any
// byte the same blocks lead to the same state. Limits: it orders nothing (package consensus does) and fetches nothing
// (package blocksync does); the whole state has to fit in memory; a disk that loses what it reported as written makes it
// refuse to open, or, when that is the last block of all, forget that block.
//
// A folder holds
//
//	lock                            held by the process that has the chain open
//	genesis                         the encoded genesis
//	blocks/<first height>.blocks    a segment: records of blocks, one after the other (record.go)
//	blocks/<first height>.index     where the records of a full segment begin; made again when it is missing
//	validators                      how the validators changed: proofs that are never removed (changes.go)
//	snapshots/<height>/             a manifest and chunks (snapshots.go)
//
// and it can be lost in these moments, none of which matters:
//
//	while a record is written       its tail is torn: it was not acknowledged, and is cut off at the next opening
//	while a change is written       the same; after that, before its block is: it is cut off too
//	after a record is written       it is found at the next opening, as if it had been acknowledged
//	while a segment is begun        a file with another name is left, and removed
//	while a snapshot is written     a folder with another name is left, and removed
//	while segments are pruned       the oldest are gone first: what is left is without a gap
//	while a snapshot is installed   it is there, or not; the blocks before it, which do not reach it, are removed
package chain
