package esdbserver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// nodeFolder is a folder with the official clients for Node: SHARDY_NODE_CLIENTS, or a fresh one in CI.
func nodeFolder(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node is missing; CI must install it")
		}
		t.Skip("node is not installed")
	}
	if dir := os.Getenv("SHARDY_NODE_CLIENTS"); dir != "" {
		return dir
	}
	if os.Getenv("CI") != "true" {
		t.Skip("SHARDY_NODE_CLIENTS names no folder with the node_modules of testdata/node")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "node"))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// TestNodeClients drives the server with the unmodified official clients for Node.
func TestNodeClients(t *testing.T) {
	dir := nodeFolder(t)
	script, err := os.ReadFile(filepath.Join("testdata", "node", "clients.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := pebblelog.Open(t.TempDir(), pebblelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, log, Config{})
	for _, client := range []struct{ name, scheme string }{
		{"@eventstore/db-client", "esdb"},
		{"@kurrent/kurrentdb-client", "kurrentdb"},
	} {
		t.Run(strings.ReplaceAll(client.name, "/", " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			// The script is read from standard input, so that packages are looked for in the folder.
			cmd := exec.CommandContext(ctx, "node", "--input-type=module", "-", client.name, client.scheme+"://"+addr+"?tls=false")
			cmd.Dir = dir
			cmd.Stdin = strings.NewReader(string(script))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
