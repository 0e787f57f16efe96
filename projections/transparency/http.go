package transparency

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/events"
)

const (
	// maxProving bounds the requests that read tiles and records at one time; others wait.
	maxProving = 8
	// cacheForGood is for what never changes: a client may keep it.
	cacheForGood = "public, max-age=31536000, immutable"
)

// Handler serves the tree: /checkpoint and /tile/ as c2sp.org/tlog-tiles has them (no entry bundles), and proofs:
//
//	GET /proof/inclusion?position=P or ?stream=S&revision=R or ?index=I, and perhaps &size=N
//	GET /proof/consistency?from=N&to=M
//
// Proofs come as JSON, hashes in base 64. Without a size, inclusion is proved in the tree of the last checkpoint, which
// is part of the answer. Hashes tell nothing of the records, except to those who can guess a record whole; proofs by
// stream and revision tell whether the record exists.
func (t *Tree) Handler() http.Handler {
	s := &server{t: t, slots: make(chan struct{}, maxProving)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkpoint", s.checkpoint)
	mux.HandleFunc("GET /tile/", s.limited(s.tile))
	mux.HandleFunc("GET /proof/inclusion", s.limited(s.inclusion))
	mux.HandleFunc("GET /proof/consistency", s.limited(s.consistency))
	return mux
}

type server struct {
	t     *Tree
	slots chan struct{}
}

func (s *server) limited(next func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-r.Context().Done():
			return
		}
		if err := next(w, r); err != nil && r.Context().Err() == nil {
			s.refuse(w, err)
		}
	}
}

func (s *server) checkpoint(w http.ResponseWriter, _ *http.Request) {
	signed, err := s.t.Latest()
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(signed) // whoever left does not care
}

func (s *server) tile(w http.ResponseWriter, r *http.Request) error {
	level, n, width, err := parseTilePath(r.URL.Path)
	if err != nil {
		return err
	}
	data, err := s.t.Tile(r.Context(), level, n, width)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", cacheForGood)
	w.Write(data)
	return nil
}

// errPath refuses a path that no tile has.
var errPath = errors.New("no tile has this path")

// parseTilePath reads /tile/<L>/<N>[.p/<W>].
func parseTilePath(path string) (level int, n int64, width int, err error) {
	rest, ok := strings.CutPrefix(path, "/tile/")
	if !ok || len(rest) > 64 {
		return 0, 0, 0, errPath
	}
	// tlog's own paths name the height too, which is always 8 here.
	tile, err := tlog.ParseTilePath("tile/" + strconv.Itoa(tileHeight) + "/" + rest)
	if err != nil || tile.L < 0 || tile.L > 63 || tile.N < 0 || tile.N > MaxSize {
		return 0, 0, 0, errPath
	}
	return tile.L, tile.N, tile.W, nil
}

// inclusionAnswer is the JSON of an inclusion proof.
type inclusionAnswer struct {
	Index      int64       `json:"index"`
	Size       int64       `json:"size"`
	Hashes     []tlog.Hash `json:"hashes"`
	Leaf       tlog.Hash   `json:"leaf_hash"`
	Checkpoint string      `json:"checkpoint,omitempty"` // signed, of this size
}

func (s *server) inclusion(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	index, err := s.index(r.Context(), q)
	if err != nil {
		return err
	}
	var a inclusionAnswer
	var p Proof
	cache := "no-cache"
	if q.Has("size") {
		size, perr := parameter(q, "size")
		if perr != nil {
			return perr
		}
		cache = cacheForGood
		p, err = s.t.ProveAt(r.Context(), index, size)
	} else {
		var signed []byte
		p, signed, err = s.t.Prove(r.Context(), index)
		a.Checkpoint = string(signed)
	}
	if err != nil {
		return err
	}
	h, err := s.t.published()
	if err != nil {
		return err
	}
	if a.Leaf, err = s.t.fetcher(r.Context(), h).leaf(index); err != nil {
		return err
	}
	a.Index, a.Size, a.Hashes = p.Index, p.Size, append([]tlog.Hash{}, p.Hashes...)
	return answer(w, cache, a)
}

// index finds the leaf that a query names.
func (s *server) index(ctx context.Context, q url.Values) (int64, error) {
	switch {
	case q.Has("index"):
		return parameter(q, "index")
	case q.Has("position"):
		pos, err := strconv.ParseUint(q.Get("position"), 10, 64)
		if err != nil {
			return 0, errParameter("position")
		}
		return s.t.IndexOf(ctx, events.Position(pos))
	case q.Has("stream"):
		rev, err := strconv.ParseUint(q.Get("revision"), 10, 64)
		if err != nil {
			return 0, errParameter("revision")
		}
		r, err := s.t.find(ctx, q.Get("stream"), rev)
		if err != nil {
			return 0, err
		}
		return s.t.IndexOf(ctx, r.Pos)
	}
	return 0, errParameter("position")
}

// consistencyAnswer is the JSON of a consistency proof.
type consistencyAnswer struct {
	From   int64       `json:"from"`
	To     int64       `json:"to"`
	Hashes []tlog.Hash `json:"hashes"`
}

func (s *server) consistency(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	from, err := parameter(q, "from")
	if err != nil {
		return err
	}
	to, err := parameter(q, "to")
	if err != nil {
		return err
	}
	p, err := s.t.Consistency(r.Context(), from, to)
	if err != nil {
		return err
	}
	return answer(w, cacheForGood, consistencyAnswer{p.From, p.To, append([]tlog.Hash{}, p.Hashes...)})
}

// errParameter names the parameter that is missing or malformed.
type errParameter string

func (e errParameter) Error() string { return "parameter " + string(e) + " is missing or malformed" }

func parameter(q url.Values, key string) (int64, error) {
	n, err := checkpoint.ParseNumber(q.Get(key))
	if err != nil {
		return 0, errParameter(key)
	}
	return n, nil
}

func answer(w http.ResponseWriter, cache string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", cache)
	w.Write(append(b, '\n'))
	return nil
}

// refuse maps errors to statuses: the one place that does.
func (s *server) refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var bad errParameter
	switch {
	case errors.As(err, &bad), errors.Is(err, events.ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, errPath), errors.Is(err, ErrBeyond), errors.Is(err, ErrNotLeaf), errors.Is(err, ErrNone),
		errors.Is(err, events.ErrNotFound), errors.Is(err, events.ErrDeleted):
		status = http.StatusNotFound
	case errors.Is(err, events.ErrUnavailable), errors.Is(err, events.ErrClosed):
		status = http.StatusServiceUnavailable
	}
	text := err.Error()
	if status == http.StatusInternalServerError {
		s.t.opts.Logger.Error("transparency request failed", "error", err)
		text = "the tree or the log is damaged"
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
