package cli

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/transparency"
)

// auditTree are the commands about the log's Merkle tree.
func (a *app) auditTree() []*cobra.Command {
	return []*cobra.Command{a.auditVerify(), a.auditProve(), a.auditVerifyProof()}
}

// treeFlags say which log and which tree a command reads, and whose signatures it believes.
type treeFlags struct {
	from  logFlags
	tiles string
	key   string
}

func (f *treeFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.from.dir, "data-dir", "", "data folder of a stopped orchestrator, or a backup of one")
	c.Flags().StringVar(&f.from.uri, "log", "", "log on a server, for example esdb://127.0.0.1:2113?tls=false")
	c.Flags().StringVar(&f.tiles, "tiles", "", "folder of the tree (default: tree in the data folder)")
	keyFlag(c, &f.key)
}

func keyFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "key", "", "server's public key: hex, a verifier key as signed notes have it, or a file with one of them")
}

// folder is where the tree is. Empty: nowhere.
func (f *treeFlags) folder() string {
	switch {
	case f.tiles != "":
		return f.tiles
	case f.from.dir == "":
		return ""
	}
	dir := filepath.Join(f.from.dir, "tree")
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// public is the key that was given, or the data folder's own. Nil: there is none.
func (f *treeFlags) public() (ed25519.PublicKey, error) {
	if f.key != "" {
		return parseServerKey(f.key)
	}
	if f.from.dir == "" {
		return nil, nil
	}
	seed, err := os.ReadFile(filepath.Join(f.from.dir, "server.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, failed(exitRefused, "server.key in %s has %d bytes, want %d", f.from.dir, len(seed), ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey), nil
}

// parseServerKey reads a public key, or a file that holds one.
func parseServerKey(text string) (ed25519.PublicKey, error) {
	if key, ok := decodeServerKey(text); ok {
		return key, nil
	}
	const limit = 4096
	f, err := os.Open(text)
	if err != nil {
		return nil, usage("--key: neither a key of 32 bytes in hex, nor a verifier key, nor a file")
	}
	defer f.Close()
	b := make([]byte, limit)
	n, err := f.Read(b)
	if err != nil {
		return nil, failed(exitRefused, "--key: %w", err)
	}
	if key, ok := decodeServerKey(string(b[:n])); ok {
		return key, nil
	}
	return nil, failed(exitRefused, "--key: %s holds no public key", text)
}

func decodeServerKey(text string) (ed25519.PublicKey, bool) {
	text = strings.TrimSpace(text)
	if b, err := hex.DecodeString(text); err == nil && len(b) == ed25519.PublicKeySize {
		return b, true
	}
	parts := strings.SplitN(text, "+", 3) // name, number, base 64 of 1 and the key
	if len(parts) != 3 {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != 1 {
		return nil, false
	}
	return b[1:], true
}

func (a *app) auditVerify() *cobra.Command {
	var from treeFlags
	var outside []string
	c := &cobra.Command{
		Use: "verify", Short: "Hash the whole log again and compare with what was signed", Args: cobra.NoArgs,
		Long: "Verify hashes every record of a log and holds the Merkle tree over them against the tiles and the signed\n" +
			"checkpoints that the orchestrator kept, and against checkpoints that you kept elsewhere. A record that was\n" +
			"changed, moved, inserted or removed is named.",
		Example: "  shardy audit verify --data-dir /var/lib/shardy\n" +
			"  shardy audit verify --log esdb://127.0.0.1:2113?tls=false --tiles tree --key server.pub --checkpoint may.checkpoint",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			r, err := verifyLog(ctx, from, outside)
			if err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(r)
			} else {
				err = a.showVerified(r)
			}
			if err == nil && !r.Clean() {
				err = failed(exitFailed, "the log is not what was signed: %s", plural(r.Findings, "finding"))
			}
			return err
		}),
	}
	from.flags(c)
	c.Flags().StringArrayVar(&outside, "checkpoint", nil, "file with a signed checkpoint that was kept elsewhere (may be repeated)")
	return c
}

func verifyLog(ctx context.Context, from treeFlags, outside []string) (r transparency.Report, err error) {
	opts := transparency.VerifyOptions{}
	if opts.Key, err = from.public(); err != nil {
		return r, err
	}
	for _, name := range outside {
		signed, err := readSmall(name, transparency.MaxCheckpointBytes)
		if err != nil {
			return r, err
		}
		opts.Outside = append(opts.Outside, signed)
	}
	log, err := from.from.openLog(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	dir := from.folder()
	if dir == "" && len(outside) == 0 {
		return r, failed(exitNotFound, "nothing to compare with: no tree beside the log; give --tiles or --checkpoint")
	}
	if opts.Key == nil {
		return r, usage("whose signatures? give --key")
	}
	r, err = transparency.Verify(ctx, log, dir, opts)
	return r, treeError(err)
}

// readSmall reads a file up to a limit.
func readSmall(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, failed(exitRefused, "%s has %s, limit %s", name, bytesText(uint64(info.Size())), bytesText(uint64(limit)))
	}
	return os.ReadFile(name)
}

// treeError gives the tree's refusals their exit codes.
func treeError(err error) error {
	if err == nil {
		return nil
	}
	for _, refusal := range []error{
		transparency.ErrSignature, transparency.ErrCheckpoint, transparency.ErrProofText, transparency.ErrLeaf, events.ErrInvalid, events.ErrDenied,
	} {
		if errors.Is(err, refusal) {
			return failed(exitRefused, "%w", err)
		}
	}
	for _, missing := range []error{transparency.ErrNotLeaf, transparency.ErrBeyond, transparency.ErrNone, events.ErrNotFound, events.ErrDeleted} {
		if errors.Is(err, missing) {
			return failed(exitNotFound, "%w", err)
		}
	}
	if errors.Is(err, events.ErrUnavailable) {
		return failed(exitUnavailable, "%w", err)
	}
	return err
}

func (a *app) showVerified(r transparency.Report) error {
	verdict := "clean: the log is what was signed"
	if !r.Clean() {
		verdict = plural(r.Findings, "finding") + ": the log is not what was signed"
	}
	err := a.facts("verdict", verdict,
		"log", fmt.Sprintf("%s, root %s", plural(r.Events, "event"), r.Root),
		"tree", fmt.Sprintf("%d leaves, signed up to %d; %d of %s match", r.TreeSize, r.Signed, r.Matched, plural(r.Checkpoints, "checkpoint")),
		"speed", fmt.Sprintf("%.0f events/s, %.2f s", r.EventsPerS, r.Seconds))
	for _, o := range r.Outside {
		word := "matches"
		if !o.Matches {
			word = "DOES NOT MATCH"
		}
		if err == nil {
			err = a.facts("checkpoint from outside", fmt.Sprintf("%s, %d leaves: %s", o.Origin, o.Size, word))
		}
	}
	for _, f := range r.Found {
		if err == nil {
			_, err = fmt.Fprintln(a.out, printable(f.String()))
		}
	}
	return err
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// proved is what audit prove and audit verify-proof print with --json.
type proved struct {
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Type     string `json:"type"`
	EventID  string `json:"event_id"`
	Index    int64  `json:"index"`
	Size     int64  `json:"size"`
	Origin   string `json:"origin"`
	Root     string `json:"root"` // base 64
	Hashes   int    `json:"hashes"`
	Proof    string `json:"proof,omitempty"` // c2sp.org/tlog-proof
}

func describeProof(r events.Record, c transparency.Checkpoint, e transparency.Evidence) proved {
	return proved{
		Stream: r.Stream, Revision: r.Rev, Type: r.Type, EventID: r.ID.String(), Index: e.Proof.Index, Size: c.Size,
		Origin: c.Origin, Root: c.Root.String(), Hashes: len(e.Proof.Hashes),
	}
}

func (a *app) auditProve() *cobra.Command {
	var from treeFlags
	var stream, to string
	var rev uint64
	c := &cobra.Command{
		Use: "prove", Short: "Prove that a record is in the log, for someone who has only the server's public key", Args: cobra.NoArgs,
		Long: "Prove writes the record with its inclusion proof and the signed checkpoint that it leads to, as a\n" +
			"c2sp.org/tlog-proof. It verifies offline: shardy audit verify-proof, or any tool for that format.",
		Example: "  shardy audit prove --data-dir /var/lib/shardy --stream job-01jd2h7k3m5n7p9r1t3v5x7z9b --revision 4 --out verdict.tlog-proof",
		RunE: a.call(func(ctx context.Context, _ []string) (err error) {
			key, err := from.public()
			if err != nil {
				return err
			}
			if key == nil {
				return usage("whose signatures? give --key")
			}
			dir := from.folder()
			if dir == "" {
				return failed(exitNotFound, "no tree beside the log; give --tiles")
			}
			e, err := proveRecord(ctx, from, dir, stream, rev)
			if err != nil {
				return treeError(err)
			}
			r, signed, err := e.Verify(key)
			if err != nil {
				return treeError(err)
			}
			p := describeProof(r, signed, e)
			if a.json && to == "-" {
				p.Proof = string(e.Text())
				return a.printJSON(p)
			}
			out, err := a.openOutput(to)
			if err != nil {
				return err
			}
			_, err = out.Write(e.Text())
			if err = out.finish(err); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(p)
			}
			a.say("leaf %d of %d, signed by %s; check it with --key %s", p.Index, p.Size, p.Origin, hex.EncodeToString(key))
			return nil
		}),
	}
	from.flags(c)
	c.Flags().StringVar(&stream, "stream", "", "stream of the record, for example job-01jd2h7k3m5n7p9r1t3v5x7z9b")
	c.Flags().Uint64Var(&rev, "revision", 0, "revision of the record in its stream, from 0")
	c.Flags().StringVar(&to, "out", "-", "file to write the proof to")
	for _, name := range []string{"stream", "revision"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return c
}

func proveRecord(ctx context.Context, from treeFlags, dir, stream string, rev uint64) (e transparency.Evidence, err error) {
	log, err := from.from.openLog(ctx)
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	tree, err := transparency.Open(ctx, dir, log, nil, transparency.Options{})
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	return tree.Evidence(ctx, stream, rev)
}

func (a *app) auditVerifyProof() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "verify-proof FILE", Short: "Check a proof of audit prove offline, with nothing but the server's public key", Args: cobra.ExactArgs(1),
		Example: "  shardy audit verify-proof verdict.tlog-proof --key server.pub",
		RunE: a.call(func(_ context.Context, args []string) error {
			public, err := parseServerKey(key)
			if err != nil {
				return err
			}
			text, err := a.readInput(args[0], transparency.MaxProofBytes)
			if err != nil {
				return err
			}
			e, err := transparency.ParseEvidence(text)
			if err != nil {
				return treeError(err)
			}
			r, signed, err := e.Verify(public)
			if err != nil {
				return treeError(err)
			}
			if a.json {
				return a.printJSON(describeProof(r, signed, e))
			}
			return a.facts("verdict", "the record is in the log", "record", fmt.Sprintf("%s revision %d, %s, event %s", r.Stream, r.Rev, r.Type, r.ID),
				"leaf", fmt.Sprintf("%d of %d", e.Proof.Index, signed.Size), "signed by", signed.Origin)
		}),
	}
	keyFlag(c, &key)
	if err := c.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag was defined one line above
	}
	return c
}
