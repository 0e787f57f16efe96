//go:build race

package e2e

// buildFlags make the processes look for races when the tests do.
var buildFlags = []string{"-race"}

// slow says that times mean nothing.
const slow = true
