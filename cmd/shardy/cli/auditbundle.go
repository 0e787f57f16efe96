package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/transparency"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// bundleFlags say what goes into a bundle.
type bundleFlags struct {
	from      treeFlags
	to        string
	noContent bool
	noProof   bool
}

// bundledFile is what audit bundle prints with --json.
type bundledFile struct {
	audit.Bundled
	File string `json:"file"`
	Key  string `json:"key"` // hex; empty without proofs
}

func (a *app) auditBundle() *cobra.Command {
	var f bundleFlags
	c := &cobra.Command{
		Use: "bundle JOB", Short: "Write one file that proves a verdict offline", Args: cobra.ExactArgs(1),
		Long: "Bundle writes the records of a job and its slots as they are stored, the proofs that they are in the log, and\n" +
			"module, input and outputs. shardy audit check verifies it on any machine, without the log. It reads the log that\n" +
			"the flags name, or asks the orchestrator.",
		Example: "  shardy audit bundle 01k9x2 -o verdict.bundle\n  shardy audit bundle 01k9x2 --data-dir /var/lib/shardy --no-content",
		RunE: a.call(func(ctx context.Context, args []string) error {
			out, b, err := a.writeBundle(ctx, &f, args[0])
			if err != nil {
				return err
			}
			if f.to == "-" {
				return nil
			}
			b.File = out
			return a.showBundled(b)
		}),
	}
	f.from.flags(c)
	c.Flags().StringVar(&f.from.from.content, "blobs", "", "where the content is (default: the data folder's)")
	c.Flags().StringVarP(&f.to, "output", "o", "", "file to write, - for stdout (default: JOB.bundle)")
	c.Flags().BoolVar(&f.noContent, "no-content", false, "leave module, input and outputs out; their hashes stay")
	c.Flags().BoolVar(&f.noProof, "no-proof", false, "leave the proofs out: nothing then ties the records to a log")
	return c
}

// writeBundle writes the file and returns its name.
func (a *app) writeBundle(ctx context.Context, f *bundleFlags, text string) (name string, b bundledFile, err error) {
	if !f.from.from.named() {
		return a.bundleThere(ctx, f, text)
	}
	log, err := f.from.from.open(ctx)
	if err != nil {
		return "", b, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	id, err := log.jobID(ctx, text)
	if err != nil {
		return "", b, err
	}
	job, err := audit.Collect(ctx, log, id)
	if err != nil {
		return "", b, err
	}
	opts := audit.BundleOptions{Software: "shardy " + readBuild().Version, MadeUs: time.Now().UnixMicro()}
	if !f.noContent {
		opts.Content = log.Blobs
	}
	if !f.noProof {
		prover, closeTree, err := a.treeProver(ctx, f.from, log)
		if err != nil {
			return "", b, err
		}
		defer closeTree()
		if prover != nil {
			opts.Prover, b.Key = prover, hex.EncodeToString(prover.Key)
		}
	}
	name, err = a.toBundleFile(f.to, id, func(to io.Writer) error {
		b.Bundled, err = job.WriteBundle(ctx, to, opts)
		return treeError(err)
	})
	return name, b, err
}

// bundleThere asks the orchestrator for the file, and reads from it what it says of itself.
func (a *app) bundleThere(ctx context.Context, f *bundleFlags, text string) (name string, b bundledFile, err error) {
	if f.noProof || f.from.tiles != "" || f.from.key != "" || f.from.from.content != "" {
		return "", b, usage("--no-proof, --tiles, --key and --blobs are for logs that are read here: give --data-dir or --log")
	}
	api, err := a.dial()
	if err != nil {
		return "", b, err
	}
	id, err := api.jobID(ctx, text)
	if err != nil {
		return "", b, err
	}
	var file bytes.Buffer
	stream, err := api.GetBundle(ctx, &operatorv1.GetBundleRequest{Id: id, NoContent: f.noContent})
	err = receive(stream, err, func(res *operatorv1.GetBundleResponse) (bool, error) {
		if file.Len()+len(res.Data) > audit.MaxBundleBytes {
			return true, failed(exitRefused, "the orchestrator sends more than %s", bytesText(audit.MaxBundleBytes))
		}
		_, err := file.Write(res.Data)
		return false, err
	})
	if err != nil {
		return "", b, err
	}
	var key ed25519.PublicKey
	if b.Bundled, key, err = audit.Describe(file.Bytes()); err != nil {
		return "", b, failed(exitFailed, "the orchestrator sent no bundle: %w", err)
	}
	b.Key = hex.EncodeToString(key)
	name, err = a.toBundleFile(f.to, id, func(to io.Writer) error { return writeAll(to, file.Bytes()) })
	return name, b, err
}

func (a *app) toBundleFile(name, job string, write func(io.Writer) error) (string, error) {
	if name == "" {
		name = job + ".bundle"
	}
	out, err := a.openOutput(name)
	if err != nil {
		return "", err
	}
	return name, out.finish(write(out))
}

// treeProver opens the tree beside the log. Without one it answers nil.
func (a *app) treeProver(ctx context.Context, from treeFlags, log *heldLog) (*audit.TreeProver, func(), error) {
	none := func() {}
	dir := from.folder()
	if dir == "" {
		a.say("there is no tree beside the log: nothing will tie the records to it")
		return nil, none, nil
	}
	key, err := from.public()
	if err != nil {
		return nil, none, err
	}
	if key == nil {
		return nil, none, usage("whose signatures? give --key")
	}
	tree, err := transparency.Open(ctx, dir, log, nil, transparency.Options{})
	if err != nil {
		return nil, none, treeError(err)
	}
	return &audit.TreeProver{Tree: tree, Key: key}, func() { _ = tree.Close() }, nil // it was only read
}

func (a *app) showBundled(b bundledFile) error {
	if a.json {
		return a.printJSON(b)
	}
	anchored := "none: nothing ties the records to a log"
	if b.Anchored {
		anchored = "signed by key " + b.Key
	}
	return a.facts("file", fmt.Sprintf("%s, %s", b.File, bytesText(uint64(b.Bytes))), "records", b.Records,
		"checkpoint", anchored, "contents", fmt.Sprintf("%d, %d left out", b.Contents, len(b.Left)))
}
