// Package receipts keeps on disk what orchestrators have signed about a worker, so that it can prove later how it was
// treated.
//
// It promises that a receipt which was kept survives the process at once and a power cut after a second, that reading
// passes over what a crash has torn, and that no orchestrator can fill the disk or push out what another one has signed:
// each has its own folder, which is bounded, and so is their number. Within its own folder an orchestrator can push out
// its oldest receipts, by signing very many. It believes what it is given: signatures are checked by the agent before,
// and by whoever uses a receipt afterwards.
package receipts
