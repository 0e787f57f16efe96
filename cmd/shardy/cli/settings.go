package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/shardy-network/orchestrator/events/durable"
)

// DefaultAddress is where an orchestrator listens unless it is told otherwise.
const DefaultAddress = "http://127.0.0.1:7420"

// settings say which orchestrator to speak to, and as whom.
type settings struct {
	Address string `json:"address"`
	Token   string `json:"token,omitempty"`
	Genesis string `json:"genesis,omitempty"` // hash of the ledger's block 0 that its answers are held against
	Context string `json:"-"`
}

// book is the file of saved contexts.
type book struct {
	Selected string              `json:"selected,omitempty"`
	Contexts map[string]settings `json:"contexts"`
}

// sourced is a setting and where it came from.
type sourced struct {
	Value  string `json:"value"`
	Source string `json:"source"` // flag, env NAME, context NAME, default
}

// resolved is what holds for this run.
type resolved struct {
	Context sourced `json:"context"`
	Address sourced `json:"address"`
	Token   sourced `json:"token"`
	Genesis sourced `json:"genesis"`
}

func (a *app) bookPath() (string, error) {
	dir := a.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := a.env("HOME")
		if home == "" {
			return "", usage("neither XDG_CONFIG_HOME nor HOME is set")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "shardy", "config.json"), nil
}

// readBook reads the saved contexts. It refuses a file that others can read: it holds tokens.
func (a *app) readBook() (*book, error) {
	b := &book{Contexts: map[string]settings{}}
	name, err := a.bookPath()
	if err != nil {
		return b, nil // no home, no contexts
	}
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, failed(exitRefused, "%s holds tokens and others can read it: chmod 600 it", name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(b); err != nil {
		return nil, failed(exitUsage, "%s: %w", name, err)
	}
	if b.Contexts == nil {
		b.Contexts = map[string]settings{}
	}
	return b, nil
}

// writeBook replaces the file as a whole.
func (a *app) writeBook(b *book) error {
	name, err := a.bookPath()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return durable.Replace(name, data, []byte{'\n'})
}

// resolve applies flag before environment before file before default.
func (a *app) resolve() (resolved, error) {
	b, err := a.readBook()
	if err != nil {
		return resolved{}, err
	}
	r := resolved{
		Context: pick(sourced{a.flags.Context, "flag"}, sourced{a.env("SHARDY_CONTEXT"), "env SHARDY_CONTEXT"}, sourced{b.Selected, "selected"}),
	}
	saved, ok := b.Contexts[r.Context.Value]
	if !ok && r.Context.Value != "" {
		return resolved{}, failed(exitUsage, "no context %q: see shardy context list", r.Context.Value)
	}
	from := "context " + r.Context.Value
	r.Address = pick(sourced{a.flags.Address, "flag"}, sourced{a.env("SHARDY_ADDRESS"), "env SHARDY_ADDRESS"},
		sourced{saved.Address, from}, sourced{DefaultAddress, "default"})
	r.Token = pick(sourced{a.flags.Token, "flag"}, sourced{a.env("SHARDY_TOKEN"), "env SHARDY_TOKEN"}, sourced{saved.Token, from})
	r.Genesis = pick(sourced{saved.Genesis, from})
	r.Address.Value, err = cleanAddress(r.Address.Value)
	return r, err
}

func pick(choices ...sourced) sourced {
	for _, c := range choices {
		if c.Value != "" {
			return c
		}
	}
	return sourced{"", "unset"}
}

// cleanAddress takes a URL, or host:port for short.
func cleanAddress(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usage("address %q: want http://host:port", s)
	}
	return strings.TrimSuffix(s, "/"), nil
}

// masked shows that there is a token, not which.
func masked(token string) string {
	if token == "" {
		return ""
	}
	return fmt.Sprintf("(%d characters)", len(token))
}
