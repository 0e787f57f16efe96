// Package blocksync moves blocks and snapshots between orchestrators: a Server hands out what its chain holds, a Client
// brings a chain up to where the others are, from genesis, from its last block, or from a snapshot.
//
// It promises that nothing a peer sends gets into the chain but what validators have certified and the chain has executed
// itself (package chain), that no answer makes it allocate more than the protocol's limits, that a peer which lies, stalls
// or drips is left for another one, and that what was downloaded of a snapshot is not downloaded again after a restart.
// Limits: it cannot know that there is a newer block when the validators that it reaches do not tell. And a snapshot of
// validators that changed is taken on the word of those before them, change by change: whoever has the keys of a quorum
// that left long ago can lead a joiner that knows only genesis to another history (weak subjectivity). A block that the
// operator trusts (chain.Trusted) stands against that.
//
// Both protocols are uvarint-delimited protobuf (shardy.ledger.v1, sync.proto) and take one request a stream: the asker
// closes its side after it, the answer ends with an end or is a single message.
//
//	/shardy/blocks/sync/1.0.0      status -> status; range -> block* end; changes -> changes | end
//	/shardy/state/snapshot/1.0.0   list -> manifest | end; chunk -> chunk | end
//
// How far to go is the (f+1)-th highest height that validators report, so that at least one honest one has been there.
// Whom to ask is decided by speed and failures. Whoever sends what is provably wrong is not asked again for a while.
package blocksync
