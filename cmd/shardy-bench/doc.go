// Command shardy-bench measures the orchestrator: verified jobs a second, latency, CPU, memory and disk, with real
// processes over real sockets on one machine.
//
// A verified job is: a 1 KiB payload is submitted, worker process A and worker process B each answer with its SHA-256,
// the two are compared, the verdict is durable, and the client hears of it. Server, workers and client are processes of
// their own; the server is the product, started as any other program would start it. One run prints one JSON line.
//
// Its limits: workers answer with a native echo instead of a sandbox (it measures the orchestrator, not WebAssembly),
// client and server share the machine's cores, and meters read /proc, so it runs on Linux only.
package main
