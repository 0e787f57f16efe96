//go:build !linux

package transparency

import "github.com/shardy-network/orchestrator/events/durable"

const canSyncAll = false

// syncAll is not what a writer relies on here: it names each file and folder.
func syncAll(dir string) error { return durable.SyncDir(dir) }
