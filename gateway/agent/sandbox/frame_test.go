package sandbox

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFramesSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Result{
			Status:   Status(rapid.IntRange(int(OK), int(BadOutput)).Draw(t, "status")),
			FuelUsed: rapid.Uint64().Draw(t, "fuel"),
			Detail:   rapid.StringN(0, 100, maxDetail).Draw(t, "detail"),
		}
		if want.Status == OK {
			want.Output = append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "output")...)
		}
		got, err := decodeVerdict(append(encodeVerdict(want), want.Output...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v: got %+v, want %+v", err, got, want)
		}
		task := Task{
			Module: [32]byte{7}, Input: []byte("in"), FuelLimit: rapid.Uint64Range(0, MaxFuel).Draw(t, "limit"),
			Unmetered: rapid.Bool().Draw(t, "unmetered"), Interpreter: rapid.Bool().Draw(t, "interpreter"),
			MaxOutput: rapid.Uint64().Draw(t, "max"), Timeout: time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "timeout")),
		}
		r, err := decodeRun(append(task.header(), task.Input...))
		if err != nil || r.module != task.Module || r.fuel != task.FuelLimit || r.unmetered != task.Unmetered ||
			r.interpreter != task.Interpreter || r.maxOutput != task.MaxOutput || string(r.input) != "in" ||
			time.Duration(r.seconds)*time.Second < task.Timeout {
			t.Fatalf("%v: got %+v, want %+v", err, r, task)
		}
	})
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("zero configuration: %v", err)
	}
	full, err := Config{CacheDir: "/some/where", Nice: 3}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeChildConfig(full.encode())
	want := childConfig{
		memoryLimit: 2 << 30, maxPages: 8192, maxModuleBytes: 4 << 20, maxPayload: 64 << 20,
		compileSeconds: 10, nice: 3, cacheDir: "/some/where",
	}
	if err != nil || got != want {
		t.Errorf("%v: got %+v, want %+v", err, got, want)
	}
	for name, bad := range map[string]Config{
		"memory":  {MemoryLimit: 1 << 20},
		"module":  {MaxModuleMemory: 5 << 30},
		"payload": {MaxPayload: 2 << 30},
		"bytes":   {MaxModuleBytes: -1},
		"modules": {MaxModules: 5000},
		"time":    {RunTimeout: -1},
		"nice":    {Nice: 20},
		"cache":   {CacheDir: "relative"},
	} {
		if err := bad.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadPayloadIsBounded(t *testing.T) {
	_, err := readPayload(strings.NewReader(""), nil, 1<<31, 100)
	wantError(t, err, ErrProtocol)
}

// A compiled module comes back from the cache in a new child.
func TestCacheFolder(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		s := open(t, Config{CacheDir: dir})
		works(t, s)
	}
}

// FuzzFrames feeds the decoders of both sides.
func FuzzFrames(f *testing.F) {
	f.Add(encodeVerdict(Result{Status: OK, FuelUsed: 7, Detail: "x"}))
	f.Add(Task{FuelLimit: 5}.header())
	f.Add([]byte{frameRun, 3, 0, 0, 0, 1, 2, 3})
	f.Add([]byte{1, 'n', 'o'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeVerdict(b); err == nil && (r.Status < OK || r.Status > BadOutput || len(r.Output) > len(b)) {
			t.Errorf("verdict %+v", r)
		}
		if r, err := decodeRun(b); err == nil && r.fuel > MaxFuel {
			t.Errorf("run %+v", r)
		}
		if _, err := decodeChildConfig(b); err != nil && !errors.Is(err, ErrProtocol) {
			t.Error(err)
		}
		if decodeError(b) == nil {
			t.Error("an error frame must be an error")
		}
		r := bytes.NewReader(b)
		if _, size, err := readHeader(r); err == nil {
			if p, err := readPayload(r, nil, size, 64); err == nil && len(p) != int(size) {
				t.Errorf("payload of %d bytes, want %d", len(p), size)
			}
		}
	})
}

// BenchmarkRoundTrip is the cost of a tiny task in a warm child: two pipe trips, a fresh instance and a call.
func BenchmarkRoundTrip(b *testing.B) {
	s := open(b, Config{})
	name := load(b, s, metered(b, echo))
	input := make([]byte, 1024)
	for b.Loop() {
		if _, err := s.Run(b.Context(), Task{Module: name, Input: input, FuelLimit: 1000}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkColdStart is a new child, its first compilation and a tiny task.
func BenchmarkColdStart(b *testing.B) {
	code := metered(b, echo)
	for b.Loop() {
		s := open(b, Config{})
		name := load(b, s, code)
		if _, err := s.Run(b.Context(), Task{Module: name, FuelLimit: 1000}); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}
