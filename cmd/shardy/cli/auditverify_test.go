package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/projections/transparency"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var treeSeed = bytes.Repeat([]byte{7}, ed25519.SeedSize)

func treeKey() string {
	return hex.EncodeToString(ed25519.NewKeyFromSeed(treeSeed).Public().(ed25519.PublicKey))
}

// treeFolder is the data folder of an orchestrator that has stopped: a log, and the signed tree over it.
func treeFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "server.key"), treeSeed, 0o600); err != nil {
		t.Fatal(err)
	}
	log := treeLog(t, dir)
	for i := range 700 {
		facts := []events.Fact{
			&eventv1.TaskAcked{Attempt: uint32(i), ExecutionDeadlineUs: int64(i) * 1000},
			&eventv1.WorkerConnected{},
		}
		origin := events.Origin{
			ID: events.NewCommandID(fmt.Append(nil, i)), Node: "n1", Rules: 1,
			Command: &eventv1.Command{AtUs: int64(i), Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: uint64(i)}}},
		}
		drafts, err := events.Encode(origin, facts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), fmt.Sprintf("assignment-%d", i%9), events.Any, drafts...); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := transparency.Open(t.Context(), filepath.Join(dir, "tree"), log, ed25519.NewKeyFromSeed(treeSeed), transparency.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var batch []events.Record
	for r, err := range log.ReadAll(t.Context(), 0, tree.Filter()) {
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, r)
	}
	if err := tree.Apply(t.Context(), batch, batch[len(batch)-1].Pos); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func treeLog(t *testing.T, dir string) *pebblelog.Log {
	t.Helper()
	log, err := pebblelog.Open(logDir(dir), pebblelog.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// tamper writes a data folder's log anew with one record changed: every checksum of the engine and of the record fits
// what it holds now, and nothing but the tree can tell.
func tamper(t *testing.T, dir string, change func(r *events.Record)) {
	t.Helper()
	log := treeLog(t, dir)
	var all []events.Record
	for r, err := range log.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		change(&r)
		all = append(all, r)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(logDir(dir)); err != nil {
		t.Fatal(err)
	}
	log = treeLog(t, dir)
	for _, r := range all {
		if _, err := log.Append(t.Context(), r.Stream, events.Any, r.Draft); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func shardy(t *testing.T, want int, args ...string) (out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	if got := run(context.Background(), args, strings.NewReader(""), &o, &e, func(string) string { return "" }); got != want {
		t.Fatalf("shardy %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, want, &o, &e)
	}
	return o.String(), e.String()
}

// TestTamperedDataFolder: one byte of one record is changed by someone who knows the format, and audit verify names it.
func TestTamperedDataFolder(t *testing.T) {
	dir := treeFolder(t)
	out, _ := shardy(t, exitOK, "audit", "verify", "--data-dir", dir)
	if !strings.Contains(out, "clean") || !strings.Contains(out, "1400 events") {
		t.Errorf("%s", out)
	}
	checkpoint := filepath.Join(t.TempDir(), "elsewhere.checkpoint")
	kept, err := transparency.ReadCheckpoints(filepath.Join(dir, "tree"), nil)
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := os.WriteFile(checkpoint, kept[0].Signed, 0o600); err != nil {
		t.Fatal(err)
	}
	shardy(t, exitOK, "audit", "verify", "--data-dir", dir, "--checkpoint", checkpoint)

	var victim events.Record
	tamper(t, dir, func(r *events.Record) {
		if r.Stream == "assignment-4" && r.Rev == 40 {
			was, is := events.Digest(r.Data), [events.DigestSize]byte{}
			r.Data[1] ^= 0x40
			is = events.Digest(r.Data)
			r.Meta = bytes.Replace(r.Meta, was[:], is[:], 1)
			victim = *r
		}
	})
	shardy(t, exitOK, "log", "fsck", "--data-dir", dir) // every checksum fits
	out, errOut := shardy(t, exitFailed, "audit", "verify", "--data-dir", dir, "--checkpoint", checkpoint)
	if want := fmt.Sprintf("assignment-4 revision 40 (TaskAcked, position %d, leaf %d): changed: byte 1 of the data is 0x%02x, was 0x%02x, and the digest",
		victim.Pos, victim.Pos-1, victim.Data[1], victim.Data[1]^0x40); !strings.Contains(out, want) || !strings.Contains(out, "DOES NOT MATCH") {
		t.Errorf("%s\nwant %s", out, want)
	}
	if !strings.Contains(errOut, "not what was signed") {
		t.Errorf("%s", errOut)
	}
	out, _ = shardy(t, exitFailed, "audit", "verify", "--data-dir", dir, "--json")
	var r transparency.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Findings != 1 || r.Found[0].Kind != transparency.Changed || r.Found[0].Position != victim.Pos ||
		r.Found[0].Stream != "assignment-4" || r.Found[0].Revision != 40 {
		t.Errorf("%s: %v", out, err)
	}
	// The orchestrator does not sign over it either: the log's last records are as they were, but a rebuild finds it.
	log := treeLog(t, dir)
	defer log.Close()
	if err := os.Remove(filepath.Join(dir, "tree", "edge")); err != nil {
		t.Fatal(err)
	}
	tree, err := transparency.Open(t.Context(), filepath.Join(dir, "tree"), log, ed25519.NewKeyFromSeed(treeSeed),
		transparency.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := tree.Err(); err == nil || !strings.Contains(err.Error(), "signed checkpoint") {
		t.Errorf("%v", err)
	}
}

// TestProveAndVerify: a proof made on one machine is checked on another, which has the public key and nothing else.
func TestProveAndVerify(t *testing.T) {
	dir := treeFolder(t)
	proof := filepath.Join(t.TempDir(), "record.tlog-proof")
	_, errOut := shardy(t, exitOK, "audit", "prove", "--data-dir", dir, "--stream", "assignment-3", "--revision", "17", "--out", proof)
	if !strings.Contains(errOut, treeKey()) {
		t.Errorf("%s", errOut)
	}
	out, _ := shardy(t, exitOK, "audit", "prove", "--data-dir", dir, "--stream", "assignment-3", "--revision", "17", "--json")
	var p proved
	text, err := os.ReadFile(proof)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil || p.Proof != string(text) || p.Stream != "assignment-3" || p.Revision != 17 || p.Size != 1400 {
		t.Errorf("%s: %v", out, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "server.pub")
	vkey, err := transparency.VerifierKey(ed25519.NewKeyFromSeed(treeSeed).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, []byte(vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{treeKey(), vkey, keyFile} {
		out, _ = shardy(t, exitOK, "audit", "verify-proof", proof, "--key", key)
		if !strings.Contains(out, "the record is in the log") || !strings.Contains(out, "assignment-3 revision 17, WorkerConnected") {
			t.Errorf("%s", out)
		}
	}
	shardy(t, exitRefused, "audit", "verify-proof", proof, "--key", strings.Repeat("ab", 32))
	forged := filepath.Join(t.TempDir(), "forged.tlog-proof")
	e, err := transparency.ParseEvidence(text)
	if err != nil {
		t.Fatal(err)
	}
	e.Leaf[len(e.Leaf)-1]++
	if err := os.WriteFile(forged, e.Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	shardy(t, exitFailed, "audit", "verify-proof", forged, "--key", treeKey())
}

func TestTreeUsage(t *testing.T) {
	dir := treeFolder(t)
	shardy(t, exitUsage, "audit", "verify")
	shardy(t, exitNotFound, "audit", "verify", "--data-dir", dir+"/none")
	shardy(t, exitUsage, "audit", "verify", "--data-dir", dir, "--key", "no key")
	shardy(t, exitNotFound, "audit", "verify", "--data-dir", dir, "--checkpoint", dir+"/none")
	shardy(t, exitRefused, "audit", "verify", "--data-dir", dir, "--checkpoint", filepath.Join(dir, "server.key"))
	shardy(t, exitFailed, "audit", "verify", "--data-dir", dir, "--key", strings.Repeat("ab", 32)) // kept checkpoints are of another key
	shardy(t, exitUsage, "audit", "prove", "--data-dir", dir)
	shardy(t, exitNotFound, "audit", "prove", "--data-dir", dir, "--stream", "assignment-3", "--revision", "99999")
	shardy(t, exitNotFound, "audit", "prove", "--data-dir", dir, "--stream", "nobody", "--revision", "0")
	shardy(t, exitRefused, "audit", "prove", "--data-dir", dir, "--stream", "a\nb", "--revision", "0")
	shardy(t, exitUsage, "audit", "verify-proof", "x")
	shardy(t, exitNotFound, "audit", "verify-proof", dir+"/none", "--key", treeKey())
	shardy(t, exitRefused, "audit", "verify-proof", filepath.Join(dir, "server.key"), "--key", treeKey())
	if err := os.RemoveAll(filepath.Join(dir, "tree")); err != nil {
		t.Fatal(err)
	}
	shardy(t, exitNotFound, "audit", "verify", "--data-dir", dir)
	shardy(t, exitNotFound, "audit", "prove", "--data-dir", dir, "--stream", "assignment-3", "--revision", "1")
}
