// Command shardy is the whole product in one binary: orchestrator, worker, client and audit.
//
// Its client commands are in package cli; those that run processes (serve, worker, dev, demo) are here.
package main

import (
	"os"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
)

func main() {
	os.Exit(cli.Main(serveCommand(), workerCommand(), devCommand(), demoCommand(), logCommand()))
}
