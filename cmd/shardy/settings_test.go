package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/gateway/operator"
)

// parsed is a command that shares the flags of serve, with a command line that was read.
func parsed(t *testing.T, args ...string) (*cobra.Command, *serveFlags) {
	t.Helper()
	var f serveFlags
	cmd := &cobra.Command{Use: "serve"}
	f.register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return cmd, &f
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "shardy.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFlagBeforeVariableBeforeFileBeforeDefault(t *testing.T) {
	file := configFile(t, `{"node": "file", "listen" : "file:1", "request-rate": 7.5, "max-streams":7,
		"blob-url":"file:///file", "trusted-proxy": [ "10.0.0.0/8", "::1/128" ]}`)
	env := map[string]string{
		"SHARDY_CONFIG": file, "SHARDY_NODE": "env", "SHARDY_LISTEN": "env:1", "SHARDY_MAX_STREAMS_PER_TOKEN": "6", "SHARDY_BLOB_URL": "",
	}
	cmd, f := parsed(t, "--node", "flag")
	all, err := settle(cmd, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := f.config(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]setting{}
	for _, s := range all {
		got[s.Name] = s
	}
	for _, want := range []setting{
		{"node", "flag", "flag"},
		{"listen", "env:1", "env SHARDY_LISTEN"},
		{"max-streams-per-token", json.Number("6"), "env SHARDY_MAX_STREAMS_PER_TOKEN"},
		{"request-rate", json.Number("7.5"), "file " + file},
		{"max-streams", json.Number("7"), "file " + file},
		{"blob-url", "file:///file", "file " + file},
		{"trusted-proxy", []string{"10.0.0.0/8", "::1/128"}, "file " + file},
		{"max-requests", json.Number("512"), "default"},
	} {
		if !reflect.DeepEqual(got[want.Name], want) {
			t.Errorf("%+v, want %+v", got[want.Name], want)
		}
	}
	if want := (operator.Config{
		RequestRate: 7.5, MaxRequests: 512, MaxRequestBytes: 20 << 20, MaxStreams: 7, MaxStreamsToken: 6, Visitors: operator.Visitors{Rate: 50},
	}); !reflect.DeepEqual(cfg.API, want) {
		t.Errorf("API %+v, want %+v", cfg.API, want)
	}
	if cfg.Node != "flag" || cfg.Listen != "env:1" || len(cfg.Door.TrustedProxies) != 2 {
		t.Errorf("%+v", cfg)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"max-conections": 1}`:                `unknown field "max-conections"`,
		`{"config": "x"}`:                      `unknown field "config"`,
		`{"help": true}`:                       `unknown field "help"`,
		`{"node":"a","node":"b"}`:              "twice",
		`{"max-streams":"7"}`:                  "want a number",
		`{"max-streams":null}`:                 "want a number",
		`{"max-streams":7.5}`:                  "max-streams",
		`{"max-streams":99999999999999999999}`: "max-streams",
		`{"node":7}`:                           "want a text",
		`{"trusted-proxy":"10.0.0.0/8"}`:       "want a list",
		`{"trusted-proxy":[1]}`:                "want a list",
		`[]`:                                   "want a JSON object",
		``:                                     "want a JSON object",
		`{"node":"a"`:                          "EOF",
		`{"node":"a"} {}`:                      "behind",
		strings.Repeat(" ", maxConfigBytes+1):  "more than",
	} {
		cmd, _ := parsed(t, "--config", configFile(t, text))
		if _, err := settle(cmd, func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	cmd, _ := parsed(t, "--config", filepath.Join(t.TempDir(), "missing"))
	if _, err := settle(cmd, func(string) string { return "" }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	cmd, _ = parsed(t)
	if _, err := settle(cmd, func(k string) string { return map[string]string{"SHARDY_MAX_STREAMS": "many"}[k] }); err == nil || !strings.Contains(err.Error(), "SHARDY_MAX_STREAMS") {
		t.Errorf("bad variable: %v", err)
	}
}

func FuzzDecodeConfig(f *testing.F) {
	f.Add([]byte(`{"node":"a","trusted-proxy":["::1/128"],"max-streams":7}`))
	f.Add([]byte(`{"node":"a","node":{}} []`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fields, err := decodeConfig(data)
		if err != nil {
			return
		}
		var plain map[string]json.RawMessage
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("taken, though it is no JSON: %v", err)
		}
		if a, b := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(plain)); !slices.Equal(a, b) {
			t.Fatalf("fields %q, want %q", a, b)
		}
	})
}

func TestSecretsOfAddressesAreHidden(t *testing.T) {
	for address, want := range map[string]string{
		"":                      "",
		"/var/lib/shardy/blobs": "/var/lib/shardy/blobs",
		"s3://bucket?region=eu": "s3://bucket?region=eu",
		"s3://ann:hunter2@bucket?access_key=A&Secret-Key=hunter2&region=eu": "s3://ann:xxxxx@bucket?Secret-Key=xxxxx&access_key=xxxxx&region=eu",
		"azblob://c?sig=hunter2": "azblob://c?sig=xxxxx",
		"s3://b?a=%zzhunter2":    "s3://b?xxxxx",
		"s3://b:hunter2:%zz":     "xxxxx",
	} {
		if got := redacted(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestPrintConfig: what it prints can be a configuration file again.
func TestPrintConfig(t *testing.T) {
	run := func(args ...string) (string, error) {
		root := cli.NewRoot(serveCommand(), devCommand())
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(args)
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	t.Setenv("SHARDY_LOG_LEVEL", "warn")
	text, err := run("serve", "--print-config", "--request-rate", "-1", "--blob-url", "s3://ann:hunter2@bucket")
	if err != nil || strings.Contains(text, "hunter2") {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{"request-rate +-1 +flag", "log-level +warn +env SHARDY_LOG_LEVEL", "max-streams +1024 +default"} {
		if !containsLine(text, strings.Split(want, " +")...) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	out, err := run("serve", "--print-config", "--json", "--trusted-proxy", "10.0.0.0/8", "--max-streams", "9", "--ping-interval", "3s")
	if err != nil {
		t.Fatal(err, out)
	}
	var printed struct{ Settings []setting }
	if err := json.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatal(err, out)
	}
	again := map[string]any{}
	for _, s := range printed.Settings {
		again[s.Name] = s.Value
	}
	file, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	cmd, f := parsed(t, "--config", configFile(t, string(file)))
	if _, err := settle(cmd, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	if f.pingInterval != 3*time.Second || f.api.MaxStreams != 9 || f.api.RequestRate != 5000 || f.logLevel != "warn" || !slices.Equal(f.trustedProxies, []string{"10.0.0.0/8"}) {
		t.Errorf("%+v", f)
	}
	for _, args := range [][]string{
		{"serve", "--print-config", "--listen", "0.0.0.0:1"}, // without tokens
		{"serve", "--print-config", "--max-request-bytes", "1"},
		{"serve", "--print-config", "--request-rate", "NaN"},
		{"serve", "--print-config", "--ping-interval", "0"},
		{"dev", "--print-config", "--node", "no spaces"},
	} {
		if out, err := run(args...); err == nil || !strings.Contains(out, "max-streams") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

func containsLine(text string, fields ...string) bool {
	want := strings.Fields(strings.Join(fields, " "))
	for line := range strings.Lines(text) {
		if slices.Equal(strings.Fields(line), want) {
			return true
		}
	}
	return false
}
