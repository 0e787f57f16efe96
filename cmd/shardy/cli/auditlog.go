package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// logFlags say which log an audit reads.
type logFlags struct {
	dir     string // data folder of a stopped orchestrator, or a backup of one
	uri     string // of a server that has the log
	content string // where the blobs are; empty: the data folder's
}

func (l *logFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&l.dir, "data-dir", "", "data folder of a stopped orchestrator, or a backup of one")
	c.Flags().StringVar(&l.uri, "log", "", "log on a server, for example esdb://127.0.0.1:2113?tls=false")
	c.Flags().StringVar(&l.content, "blobs", "", "where the content is (default: the data folder's)")
}

// named reports whether the flags name a log.
func (l *logFlags) named() bool { return l.dir != "" || l.uri != "" }

// heldLog is a log that is open for reading, with the content beside it.
type heldLog struct {
	events.Log
	Blobs audit.Blobs // nil: no content is there
	Dir   string      // data folder; empty for a log that a server has
	store *blobs.Store
}

// open opens the log that the flags name. The caller closes it.
func (l *logFlags) open(ctx context.Context) (*heldLog, error) {
	log, err := l.openLog(ctx)
	if err != nil {
		return nil, err
	}
	h := &heldLog{Log: log, Dir: l.dir}
	content := l.content
	if content == "" && l.dir != "" {
		content = filepath.Join(l.dir, "blobs")
		if _, err := os.Stat(content); errors.Is(err, fs.ErrNotExist) {
			content = ""
		}
	}
	if content == "" {
		return h, nil
	}
	if h.store, err = blobs.Open(ctx, content, blobs.Options{Log: log}); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	h.Blobs = auditBlobs{h.store}
	return h, nil
}

func (l *logFlags) openLog(ctx context.Context) (events.Log, error) {
	switch {
	case !l.named():
		return nil, usage("which log? give --data-dir or --log")
	case l.dir != "" && l.uri != "":
		return nil, usage("give --data-dir or --log, not both")
	case l.uri != "":
		return openServed(ctx, l.uri)
	}
	return openLog(l.dir)
}

// serverPatience is how long a log's server is waited for.
const serverPatience = 15 * time.Second

// openServed connects to a server that has a log.
func openServed(ctx context.Context, uri string) (events.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	log, err := kurrent.Open(ctx, uri, kurrent.Options{})
	switch {
	case errors.Is(err, kurrent.ErrURI):
		return nil, Usage(err)
	case errors.Is(err, events.ErrDenied):
		return nil, failed(exitRefused, "%w", err)
	case errors.Is(err, events.ErrUnavailable):
		return nil, failed(exitUnavailable, "no server answers for the log: %w", err)
	case err != nil:
		return nil, err
	}
	return log, nil
}

// Close closes the content and the log.
func (h *heldLog) Close() error {
	var err error
	if h.store != nil {
		err = h.store.Close()
	}
	return errors.Join(err, h.Log.Close())
}

// auditBlobs reads content as the audit wants it.
type auditBlobs struct{ *blobs.Store }

func (b auditBlobs) Get(ctx context.Context, sum [32]byte) ([]byte, error) {
	data, err := b.Store.Get(ctx, sum, blobs.DefaultMaxBytes)
	if errors.Is(err, blobs.ErrNotFound) {
		err = fmt.Errorf("%w: %w", events.ErrNotFound, err)
	}
	return data, err
}

// jobID completes a job's short id from the names of the log's streams.
func (h *heldLog) jobID(ctx context.Context, text string) (string, error) {
	return complete("job", text, isEntityID, func(string) ([]string, string, error) {
		var ids []string
		prefix := actors.JobAddress(strings.ToLower(strings.TrimSpace(text))).Stream()
		for r, err := range h.ReadAll(ctx, 0, events.Filter{Streams: []string{prefix}, Types: []string{events.TypeOf(&eventv1.JobSubmitted{})}}) {
			if err != nil {
				return nil, "", err
			}
			if ids = append(ids, strings.TrimPrefix(r.Stream, actors.JobRoom+"-")); len(ids) > 2 {
				break
			}
		}
		return ids, "", nil
	})
}
