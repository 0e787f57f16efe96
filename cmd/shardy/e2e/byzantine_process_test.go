package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/shardy-network/orchestrator/mesh/consensus/rogue"
)

// villainEnv makes this test binary a validator that breaks the protocol, in a process of its own.
const villainEnv = "SHARDY_E2E_VILLAIN"

func init() {
	if config := os.Getenv(villainEnv); config != "" {
		if err := villainMain(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// villainMain obeys the lines that it reads until there are no more: "on VICE", "off VICE", "counts". It answers each with
// a line of JSON: what it has done so far.
func villainMain(config string) error {
	var c rogue.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	r, err := rogue.Open(c)
	if err != nil {
		return err
	}
	defer r.Close()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, vice, _ := strings.Cut(in.Text(), " ")
		if verb == "on" || verb == "off" {
			if err := r.Set(rogue.Vice(vice), verb == "on"); err != nil {
				return err
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(r.Counts()); err != nil {
			return err
		}
	}
	return in.Err()
}

// villain is such a process, with the key and the address of a member.
type villain struct {
	*member
	process *exec.Cmd
	mu      sync.Mutex
	in      io.WriteCloser
	out     *bufio.Scanner
}

// corrupt starts a member as a villain in place of an orchestrator.
func (f *federation) corrupt(m *member) *villain {
	f.Helper()
	c := rogue.Config{Key: m.key, Genesis: f.genesis, Dir: filepath.Join(m.dir, "rogue"), Listen: m.mesh, Heartbeat: heartbeat()}
	for _, other := range f.operators {
		if other != m {
			c.Bootstrap = append(c.Bootstrap, other.address())
		}
	}
	config, err := json.Marshal(c)
	f.must(err)
	v := &villain{member: m, process: exec.Command(os.Args[0])}
	v.process.Env = append(os.Environ(), villainEnv+"="+string(config))
	log, err := os.Create(filepath.Join(m.logs, "villain.log"))
	f.must(err)
	v.process.Stderr = log
	v.in, err = v.process.StdinPipe()
	f.must(err)
	out, err := v.process.StdoutPipe()
	f.must(err)
	v.out = bufio.NewScanner(out)
	f.must(v.process.Start())
	f.must(log.Close()) // the process has its own
	f.villains++
	f.Cleanup(func() {
		_ = v.in.Close()
		_ = v.process.Process.Kill()
		_ = v.process.Wait() // it was killed
	})
	return v
}

// tell gives an order and returns what the villain has done so far.
func (v *villain) tell(order string) map[string]int64 {
	v.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, err := fmt.Fprintln(v.in, order); err != nil {
		v.Fatalf("the villain has ended: %v", err)
	}
	if !v.out.Scan() {
		v.Fatal("the villain has ended")
	}
	var done map[string]int64
	v.must(json.Unmarshal(v.out.Bytes(), &done))
	return done
}

// does waits until the villain has done something so often since a moment.
func (v *villain) does(what string, times int64, before map[string]int64) {
	v.Helper()
	v.poll("the villain does "+what, func() bool { return v.tell("counts")[what] >= before[what]+times })
}
