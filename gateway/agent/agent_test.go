package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// TestMain makes the test binary the sandbox's child, as main does for the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sandbox-child" {
		if err := sandbox.Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

type noRunner struct{ loads atomic.Int64 }

func (r *noRunner) Load(context.Context, [32]byte, []byte) error { r.loads.Add(1); return nil }
func (r *noRunner) Run(context.Context, Task) (Result, error)    { return Result{}, nil }

func TestKeyFileIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "worker.key")
	keys := make([]ed25519.PrivateKey, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	all.Wait()
	for _, k := range keys[1:] {
		if !k.Equal(keys[0]) {
			t.Fatal("two keys for one file")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("files left: %v", left)
	}
}

func TestBadKeyFilesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"short":            {"abcd\n", 0o600},
		"no hex":           {string(bytes.Repeat([]byte("z"), 64)), 0o600},
		"empty":            {"", 0o600},
		"readable by all":  {hex.EncodeToString(make([]byte, 32)), 0o644},
		"larger than keys": {string(bytes.Repeat([]byte("0"), 5000)), 0o600},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	good := Config{Server: "http://127.0.0.1:1", Key: key, Runner: &noRunner{}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no server":        func(c *Config) { c.Server = "" },
		"other scheme":     func(c *Config) { c.Server = "ftp://x" },
		"no key":           func(c *Config) { c.Key = nil },
		"short key":        func(c *Config) { c.Key = c.Key[1:] },
		"no runner":        func(c *Config) { c.Runner = nil },
		"many runners":     func(c *Config) { c.Runners = 1 << 20 },
		"inverted backoff": func(c *Config) { c.MinBackoff, c.MaxBackoff = time.Hour, time.Second },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPausesGrowToTheCapAndAreSpread(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	a, err := New(Config{Server: "http://x", Key: key, Runner: &noRunner{}, MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for failures := range 70 {
		most := 5 * time.Second
		if failures < 6 {
			most = 100 * time.Millisecond << failures
		}
		var longest time.Duration
		for range 200 {
			longest = max(longest, a.pause(failures, errors.New("x")))
		}
		if longest > most+time.Millisecond || longest < most/2 {
			t.Fatalf("after %d failures at most %s was drawn, want up to %s", failures, longest, most)
		}
	}
	longest := time.Duration(0)
	for range 200 {
		longest = max(longest, a.pause(0, &wire.Error{Code: workerv1.ErrorCode_ERROR_CODE_REPLACED}))
	}
	if longest < 2*time.Second {
		t.Fatalf("a replaced worker is back within %s", longest)
	}
}

// Modules are fetched once, checked, kept on disk, and checked again when they are read from there.
func TestModulesAreFetchedOnceAndChecked(t *testing.T) {
	module := []byte("module")
	name := sha256.Sum256(module)
	var asked atomic.Int64
	answer := atomic.Pointer[[]byte]{}
	answer.Store(&module)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/blob/"+hex.EncodeToString(name[:]) {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(*answer.Load())
	}))
	defer s.Close()
	runner := &noRunner{}
	client := s.Client()
	cfg, err := Config{Server: s.URL, Key: make([]byte, 64), Runner: runner, CacheDir: t.TempDir(), HTTP: client}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	other := []byte("another")
	answer.Store(&other)
	if err := newLibrary(cfg).load(t.Context(), name); !errors.Is(err, ErrBlob) {
		t.Fatalf("a wrong module: %v", err)
	}
	answer.Store(&module)
	asked.Store(0)
	l := newLibrary(cfg)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := l.load(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if asked.Load() != 1 || runner.loads.Load() != 1 {
		t.Fatalf("asked %d times, loaded %d times", asked.Load(), runner.loads.Load())
	}
	if err := newLibrary(cfg).load(t.Context(), name); err != nil || asked.Load() != 1 {
		t.Fatalf("from disk: %v, asked %d times", err, asked.Load())
	}
	if err := os.WriteFile(newLibrary(cfg).path(name), []byte("rotten"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newLibrary(cfg).load(t.Context(), name); err != nil || asked.Load() != 2 {
		t.Fatalf("rotten on disk: %v, asked %d times", err, asked.Load())
	}
}

func TestSandboxPoolRunsAModule(t *testing.T) {
	original, err := os.ReadFile("../../cmd/shardy/examples/wasm/primes.wasm")
	if err != nil {
		t.Skip("the example module is not there")
	}
	module, err := wasm.Rewrite(original, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := NewSandboxPool(2, sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	name := wasm.Name(module)
	if _, err := pool.Run(t.Context(), Task{Module: name}); !errors.Is(err, sandbox.ErrNotLoaded) {
		t.Fatalf("before it was loaded: %v", err)
	}
	if err := pool.Load(t.Context(), name, module); err != nil {
		t.Fatal(err)
	}
	input := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 0), 100_000)
	var all sync.WaitGroup
	fuel := make([]uint64, 4)
	for i := range fuel {
		all.Go(func() {
			r, err := pool.Run(t.Context(), Task{Module: name, Input: input, FuelLimit: 1 << 40})
			if err != nil || r.Status != eventv1.ResultStatus_RESULT_STATUS_OK || len(r.Output) < 8 {
				t.Errorf("run: %v %v", r.Status, err)
				return
			}
			if n := binary.LittleEndian.Uint64(r.Output); n != 9592 {
				t.Errorf("%d primes below 100,000, want 9,592", n)
			}
			fuel[i] = r.Fuel
		})
	}
	all.Wait()
	for _, f := range fuel {
		if f == 0 || f != fuel[0] {
			t.Fatalf("fuel differs: %v", fuel)
		}
	}
	r, err := pool.Run(t.Context(), Task{Module: name, Input: input, FuelLimit: 1000})
	if err != nil || r.Status != eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL {
		t.Fatalf("without fuel: %v %v", r.Status, err)
	}
}
