package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
)

// TestRunGivesWhatTheModuleGivesHere runs shipped modules over files by workers and, chunk by chunk, on this machine.
func TestRunGivesWhatTheModuleGivesHere(t *testing.T) {
	s := open(t, quickPolicy())
	s.crew(3)
	dir := t.TempDir()
	for _, name := range []string{"primes", "mc", "raytrace"} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.T = t
			program := examples.New(name, true)
			chunks := program.Chunks()
			chunks = chunks[:min(len(chunks), 6)]
			size := len(chunks[0])
			module, input, output := filepath.Join(dir, name+".wasm"), filepath.Join(dir, name+".in"), filepath.Join(dir, name+".out")
			s.must(os.WriteFile(module, examples.Module(name), 0o600))
			s.must(os.WriteFile(input, bytes.Join(chunks, nil), 0o600))
			fuel := fmt.Sprint(program.Fuel())
			r := s.ok("run", module, "--input", input, "--chunk-size", fmt.Sprint(size), "--output", output,
				"--fuel", fuel, "--min-tier", "1", "--json", "--timeout", patience(60e9).String())
			var done struct {
				ID             string
				Chunks, Failed int
				OutputBytes    int `json:"output_bytes"`
			}
			r.json(t, &done)
			var want []byte
			for i, c := range chunks {
				in, out := filepath.Join(dir, "chunk"), filepath.Join(dir, fmt.Sprint(name, i))
				s.must(os.WriteFile(in, c, 0o600))
				s.ok("wasm", "run", module, "--input", in, "--output", out, "--fuel", fuel)
				part, err := os.ReadFile(out)
				s.must(err)
				want = append(want, part...)
			}
			got, err := os.ReadFile(output)
			s.must(err)
			if !bytes.Equal(got, want) || len(want) == 0 {
				t.Errorf("%d bytes from the workers differ from %d computed here", len(got), len(want))
			}
			if done.Chunks != len(chunks) || done.Failed != 0 || done.OutputBytes != len(want) {
				t.Errorf("run says %s", r.out)
			}
			var p struct{ State string }
			s.ok("pipeline", "describe", done.ID, "--json").json(t, &p)
			if p.State != "completed" {
				t.Errorf("the pipeline is %q", p.State)
			}
			if r := s.ok("pipeline", "output", done.ID); r.out != string(want) {
				t.Error("pipeline output gives something else")
			}
		})
	}
	if r := s.shardy("run", filepath.Join(dir, "primes.wasm"), "--input", filepath.Join(dir, "primes.in"), "--chunk-size", "15",
		"--min-tier", "1", "--output", filepath.Join(dir, "never"), "--timeout", patience(30e9).String()); r.code != 1 {
		t.Errorf("chunks that the module refuses: exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	if _, err := os.Stat(filepath.Join(dir, "never")); err == nil {
		t.Error("a failed run left an output")
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(s.ok("status", "--json").out), &status); err != nil {
		t.Error(err)
	}
	s.stop()
	s.sound()
}
