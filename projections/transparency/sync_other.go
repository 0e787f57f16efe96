//go:build !linux

package transparency

const canSyncAll = false

func syncAll(dir string) error { return syncDir(dir) }
