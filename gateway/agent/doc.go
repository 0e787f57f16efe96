// Package agent is the far side of the worker wire: it keeps a session with an orchestrator, runs the tasks it is
// given, and hands the results back signed.
//
// It promises that a result is kept until the orchestrator has settled it, over any number of reconnects, and that
// nothing it was sent is believed before its digest, or the signature under a receipt, was checked. It does not promise
// that a task survives the agent's own process: what it forgets is stripped from it and goes to another worker.
package agent
