package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"pgregory.net/rapid"
)

func goodConfig() Config {
	return Config{
		Chain: "c", Key: testKey(1), Dir: "d", Application: new(toy), Transport: NewExchange().Join(testID(1)), Puller: new(toyPuller),
	}
}

// TestConfig spoils one thing at a time.
func TestConfig(t *testing.T) {
	if err := goodConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(c *Config){
		"no chain":        func(c *Config) { c.Chain = "" },
		"long chain":      func(c *Config) { c.Chain = "0123456789012345678901234567890123" },
		"no key":          func(c *Config) { c.Key = nil },
		"no folder":       func(c *Config) { c.Dir = "" },
		"no application":  func(c *Config) { c.Application = nil },
		"no transport":    func(c *Config) { c.Transport = nil },
		"no puller":       func(c *Config) { c.Puller = nil },
		"many at once":    func(c *Config) { c.BatchCount = MaxBatchCount + 1 },
		"long ones":       func(c *Config) { c.TxBytes = MaxTxBytes + 1 },
		"large blocks":    func(c *Config) { c.BatchBytes = MaxBatchBytes + 1 },
		"small blocks":    func(c *Config) { c.BatchBytes = 1000 },
		"slow blocks":     func(c *Config) { c.BatchInterval = 2 * time.Second },
		"small pool":      func(c *Config) { c.PoolSize = 10 },
		"large pool":      func(c *Config) { c.PoolSize = 1<<20 + 1 },
		"hasty heartbeat": func(c *Config) { c.Heartbeat = 10 * time.Millisecond },
		"slow heartbeat":  func(c *Config) { c.Heartbeat = time.Hour },
		"coarse tick":     func(c *Config) { c.Tick = time.Second },
	} {
		c := goodConfig()
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLibraryConfiguration: whatever may be configured, the library takes it; the leader does not rotate (followers one
// step behind would stall the chain), nothing is synchronized while it starts (it could not hear the answers), and timers
// are fine enough for a change of the view, which waits for two ticks.
func TestLibraryConfiguration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := goodConfig()
		c.Heartbeat = time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(time.Minute)).Draw(t, "heartbeat"))
		c.BatchCount = rapid.IntRange(1, MaxBatchCount).Draw(t, "count")
		c.PoolSize = rapid.IntRange(c.BatchCount, 1<<20).Draw(t, "pool")
		c.BatchInterval = time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(c.Heartbeat)/2).Draw(t, "interval"))
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		c = c.withDefaults()
		l := c.library(nodeOf(testID(1)))
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		if l.LeaderRotation || l.DecisionsPerLeader != 0 || l.SyncOnStart || l.LeaderHeartbeatTimeout != c.Heartbeat || 10*c.Tick > c.Heartbeat ||
			l.RequestPoolSize < 2*uint64(c.PoolSize) {
			t.Fatalf("%+v", l)
		}
	})
}

// TestVoteLogIsFrugal: the library makes a buffer for every record of its log, and files that are never smaller than they
// may be.
func TestVoteLogIsFrugal(t *testing.T) {
	dir := t.TempDir()
	w, _, err := openVoteLog(dir, &libraryLog{log: testLog(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	record := marshal(&smartbftprotos.SavedMessage{Content: &smartbftprotos.SavedMessage_Commit{Commit: commitOf(1, 0, 4)}})
	got := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if err := w.Append(record, true); err != nil {
				b.Fatal(err)
			}
		}
	})
	if got.AllocedBytesPerOp() > 128<<10 {
		t.Errorf("%d bytes are allocated for a vote", got.AllocedBytesPerOp())
	}
	names, err := filepath.Glob(filepath.Join(voteLogDir(dir), "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 64<<20 {
		t.Errorf("a log of votes of %d bytes in %d files", size, len(names))
	}
}
