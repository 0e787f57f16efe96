package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == SandboxChild {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// script runs the lines of one file of testdata/script; the words are those of Go's own script tests:
//
//	shardy ARGS         must exit with 0
//	code N shardy ARGS  must exit with N
//	[!] stdout REGEXP   of the last command, lines matched with (?m); likewise stderr
//	cmp A B, cp A B, exists A, ! exists A, mode OCTAL A, chmod OCTAL A, stdin A, env K=V, setfirst K A, setafter K WORD A,
//	replace REGEXP TEXT A
//	workers HOW         what the workers of the world do with their tasks
//	mklog FOLDER        an empty event log
//	mkcases FOLDER      a log with jobs of every fate, with content and a signed tree; JOB is one with a liar,
//	                    SERVER the key that signed
//	servelog FOLDER     the log of a data folder on a server; LOG is its address
//	putblob FOLDER A    content in the store of a data folder that no fact names
//	serveledger A KEY...  a ledger that begins with the genesis A, with the validators' data folders; LEDGER is its address
//	servemesh A FOLDER  a whole orchestrator on its data folder, alone on the ledger with the genesis A; LEDGER is its address
//	spoil A B           B is A with its last byte changed
//
// Files follow as "-- name --" and the text. A is a file, or stdout.
type script struct {
	t        *testing.T
	dir      string
	env      map[string]string
	world    *operatortest.World
	in       []byte
	out, err string
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := newScript(t)
			lines := s.unpack(string(text))
			for i, line := range lines {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					if problem := s.step(s.words(line)); problem != "" {
						t.Fatalf("%s:%d: %s\n%s\nstdout: %s\nstderr: %s", file, i+1, line, problem, s.out, s.err)
					}
				}
			}
		})
	}
}

// scriptConfig is who may do what.
func scriptConfig() operator.Config {
	token := func(name string, role operator.Role, tenants ...string) operator.Token {
		return operator.Token{Name: name, SHA256: operator.HashToken(name), Role: role, Tenants: tenants}
	}
	return operator.Config{Tokens: []operator.Token{
		token("root", operator.Admin), token("eye", operator.Viewer), token("alice", operator.Client, "alice"),
	}}
}

func newScript(t *testing.T) *script {
	w := operatortest.Start(t, scriptConfig())
	w.Register(t, operatortest.Key(0))
	s := &script{t: t, dir: t.TempDir(), world: w}
	s.env = map[string]string{
		"SHARDY_ADDRESS": w.URL, "SHARDY_TOKEN": "root", "XDG_CONFIG_HOME": s.path("config"),
		"KEY": hex.EncodeToString(operatortest.Key(0)), "OTHER": strings.Repeat("5e", 32),
	}
	t.Chdir(s.dir)
	s.write("echo.wasm", operatortest.EchoModule)
	return s
}

func (s *script) path(name string) string { return filepath.Join(s.dir, name) }

func (s *script) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) read(name string) string {
	s.t.Helper()
	if name == "stdout" {
		return s.out
	}
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

var fileMark = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

// unpack writes the files and returns the lines of the script.
func (s *script) unpack(text string) []string {
	marks := fileMark.FindAllStringSubmatchIndex(text, -1)
	end := len(text)
	for i := len(marks) - 1; i >= 0; i-- {
		m := marks[i]
		s.write(text[m[2]:m[3]], []byte(text[m[1]:end]))
		end = m[0]
	}
	return strings.Split(text[:end], "\n")
}

// words cuts a line at blanks outside single quotes. Variables count everywhere.
func (s *script) words(line string) []string {
	line = os.Expand(line, func(k string) string {
		if v, ok := s.env[k]; ok {
			return v
		}
		return "$" + k // a regular expression's end of line
	})
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func (s *script) shardy(args []string) int {
	var out, err bytes.Buffer
	code := run(context.Background(), args, bytes.NewReader(s.in), &out, &err, func(k string) string { return s.env[k] })
	s.out, s.err, s.in = out.String(), err.String(), nil
	return code
}

// step does one line and says what is wrong.
func (s *script) step(w []string) string {
	not := w[0] == "!"
	if not {
		w = w[1:]
	}
	switch w[0] {
	case "shardy":
		if got := s.shardy(w[1:]); got != 0 {
			return "exit code " + strconv.Itoa(got)
		}
	case "code":
		if got := strconv.Itoa(s.shardy(w[3:])); got != w[1] {
			return "exit code " + got
		}
	case "stdout", "stderr":
		text := s.out
		if w[0] == "stderr" {
			text = s.err
		}
		if regexp.MustCompile("(?m)"+strings.Join(w[1:], " ")).MatchString(text) == not {
			return "not as expected"
		}
	case "cmp":
		if a, b := s.read(w[1]), s.read(w[2]); a != b {
			return "they differ: " + strconv.Quote(a) + " and " + strconv.Quote(b)
		}
	case "exists":
		if _, err := os.Stat(s.path(w[1])); (err == nil) == not {
			return "not so"
		}
	default:
		return s.prepare(w)
	}
	return ""
}

// prepare does the lines that check nothing.
func (s *script) prepare(w []string) string {
	var err error
	switch w[0] {
	case "cp":
		s.write(w[2], []byte(s.read(w[1])))
	case "replace":
		s.write(w[3], regexp.MustCompile(w[1]).ReplaceAll([]byte(s.read(w[3])), []byte(w[2])))
	case "stdin":
		s.in = []byte(s.read(w[1]))
	case "env":
		k, v, _ := strings.Cut(w[1], "=")
		s.env[k] = v
	case "setfirst":
		s.env[w[1]] = firstWord(s.read(w[2]))
	case "setafter":
		_, rest, _ := strings.Cut(s.read(w[3]), w[2])
		rest, _, _ = strings.Cut(rest, `"`)
		s.env[w[1]] = firstWord(rest)
	case "workers":
		s.world.Release(map[string]operatortest.Answer{"echo": operatortest.Echo, "trap": operatortest.Trap, "hold": operatortest.Hold}[w[1]])
	case "mklog":
		var log *pebblelog.Log
		if log, err = pebblelog.Open(logDir(s.path(w[1])), pebblelog.Options{}); err == nil {
			err = log.Close()
		}
	case "mkcases":
		s.env["JOB"], s.env["SERVER"] = mkCases(s.t, s.path(w[1])), hexID(casesKey().Public().(ed25519.PublicKey))
	case "servelog":
		s.env["LOG"] = serveLog(s.t, s.path(w[1]))
	case "serveledger":
		var keys []ed25519.PrivateKey
		for _, dir := range w[2:] {
			key, err := loadSigner(s.path(dir))
			if err != nil {
				return err.Error()
			}
			keys = append(keys, key)
		}
		s.env["LEDGER"] = serveLedger(s.t, []byte(s.read(w[1])), keys...).url
	case "servemesh":
		s.env["LEDGER"] = serveMesh(s.t, []byte(s.read(w[1])), s.path(w[2]))
	case "spoil":
		data := []byte(s.read(w[1]))
		data[len(data)-1] ^= 1
		s.write(w[2], data)
	case "putblob":
		err = putBlob(s.path(w[1]), []byte(s.read(w[2])))
	case "mode", "chmod":
		var want uint64
		if want, err = strconv.ParseUint(w[1], 8, 32); err != nil {
			break
		}
		if w[0] == "chmod" {
			err = os.Chmod(s.path(w[2]), os.FileMode(want))
			break
		}
		var info os.FileInfo
		if info, err = os.Stat(s.path(w[2])); err == nil && info.Mode().Perm() != os.FileMode(want) {
			err = errors.New("mode is " + info.Mode().String())
		}
	default:
		return "unknown word " + w[0]
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func firstWord(text string) string {
	if words := strings.Fields(text); len(words) > 0 {
		return words[0]
	}
	return ""
}

// putBlob puts content into the store of a stopped orchestrator's data folder, and a fact after it: content that is
// staged in the log becomes durable with an append.
func putBlob(dataDir string, data []byte) error {
	log, err := openLog(dataDir)
	if err != nil {
		return err
	}
	store, err := blobs.Open(context.Background(), filepath.Join(dataDir, "blobs"), blobs.Options{Log: log})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	_, err = store.Put(context.Background(), data)
	if err == nil {
		_, err = log.Append(context.Background(), "shard-1", events.Any, events.Draft{
			ID: events.NewCommandID(data).Event(0), Type: events.TypeOf(&eventv1.ShardTaken{}),
		})
	}
	return errors.Join(err, store.Close(), log.Close())
}
