// Package proof holds what makes a result checkable: the consensus checksum, the worker's attestation, the orchestrator's
// receipt for recorded results, and the pluggable verifiers of further proofs.
//
// It promises that equal results have equal checksums and that a signature binds a result to one attempt of one slot.
// It does not say that a result is right: that is the verdict's business.
package proof
