package transparency

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
)

func get(t *testing.T, base, path string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}

// tileClient reads tiles over HTTP as any client of c2sp.org/tlog-tiles does.
type tileClient struct {
	t    *testing.T
	base string
}

func (c tileClient) Height() int { return tileHeight }

func (c tileClient) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "/tile/", 1)
		status, _, body := get(c.t, c.base, path)
		if status != http.StatusOK {
			return nil, fmt.Errorf("%s: %d %s", path, status, body)
		}
		out[i] = body
	}
	return out, nil
}

func (c tileClient) SaveTiles([]tlog.Tile, [][]byte) {}

// TestOverHTTP reads everything as strangers do: with tlog's own tile client, and through the proofs.
func TestOverHTTP(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	tree := open(t, "", log, Options{})
	defer tree.Close()
	srv := httptest.NewServer(tree.Handler())
	defer srv.Close()
	if status, _, _ := get(t, srv.URL, "/checkpoint"); status != http.StatusNotFound {
		t.Errorf("nothing signed: %d", status)
	}
	var earlier Checkpoint
	for round, n := range []int{70, 2000, 1} {
		write(t, log, round*10_000, n)
		if err := feed(t, tree, log); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Sign(t.Context()); err != nil {
			t.Fatal(err)
		}
		status, header, signed := get(t, srv.URL, "/checkpoint")
		c, err := OpenCheckpoint(signed, public(testKey(1)))
		if status != http.StatusOK || err != nil || header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("checkpoint: %d %v %v", status, header, err)
		}
		reader := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, tileClient{t, srv.URL})
		index := int64(0)
		for r, err := range log.ReadAll(t.Context(), 0, events.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if index%401 == 0 || index == c.Size-1 {
				p, err := InclusionProof(c.Size, index, reader)
				if err == nil {
					err = CheckInclusion(c, LeafHash(r), p)
				}
				if err != nil {
					t.Fatalf("leaf %d from tiles: %v", index, err)
				}
				checkInclusionAnswers(t, srv.URL, c, r, index)
			}
			index++
		}
		if round > 0 {
			status, header, body := get(t, srv.URL, fmt.Sprintf("/proof/consistency?from=%d&to=%d", earlier.Size, c.Size))
			var a consistencyAnswer
			if err := json.Unmarshal(body, &a); status != http.StatusOK || err != nil || !strings.Contains(header.Get("Cache-Control"), "immutable") {
				t.Fatalf("consistency: %d %s %v", status, body, err)
			}
			if err := CheckConsistency(earlier, c, Consistency(a)); err != nil {
				t.Error(err)
			}
		}
		earlier = c
	}
	// Partial tiles of earlier checkpoints stay.
	_, _, full := get(t, srv.URL, "/tile/0/000")
	if status, header, part := get(t, srv.URL, "/tile/0/000.p/70"); status != http.StatusOK || !bytes.Equal(part, full[:70*32]) ||
		header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(header.Get("Cache-Control"), "immutable") {
		t.Errorf("partial tile: %d, %d bytes, %v", status, len(part), header)
	}
}

func checkInclusionAnswers(t *testing.T, base string, c Checkpoint, r events.Record, index int64) {
	t.Helper()
	for _, query := range []string{
		fmt.Sprintf("position=%d", r.Pos), fmt.Sprintf("index=%d", index), fmt.Sprintf("position=%d&size=%d", r.Pos, c.Size),
		fmt.Sprintf("stream=%s&revision=%d", url.QueryEscape(r.Stream), r.Rev),
	} {
		status, _, body := get(t, base, "/proof/inclusion?"+query)
		var a inclusionAnswer
		if err := json.Unmarshal(body, &a); status != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		p := Proof{a.Index, a.Size, a.Hashes}
		if err := CheckInclusion(c, LeafHash(r), p); err != nil || a.Leaf != LeafHash(r) || a.Index != index {
			t.Errorf("%s: %v, %+v", query, err, a)
		}
		if !strings.Contains(query, "size") {
			if err := VerifyInclusion([]byte(a.Checkpoint), public(testKey(1)), r, p); err != nil {
				t.Errorf("%s: %v", query, err)
			}
		}
	}
}

func TestRefusalsOverHTTP(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	write(t, log, 0, 300)
	tree := open(t, "", log, Options{})
	defer tree.Close()
	if err := feed(t, tree, log); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(tree.Handler())
	defer srv.Close()
	long := strings.Repeat("x", 5000)
	for path, want := range map[string]int{
		"/tile/0/000": 200, "/tile/0/001.p/44": 200, "/tile/1/000.p/1": 200,
		"/tile/0/001": 404, "/tile/0/001.p/45": 404, "/tile/0/000.p/0": 404, "/tile/0/000.p/256": 404, "/tile/1/000": 404, "/tile/2/000.p/1": 404,
		"/tile/64/000": 404, "/tile/-1/000": 404, "/tile/data/000": 404, "/tile/00/000": 404, "/tile/0/0": 404, "/tile/0/x000/000": 404,
		"/tile/0/x999/x999/x999/x999/x999/x999/999": 404, "/tile/": 404, "/tile/entries/000": 404, "/tile/0/" + long: 404,
		"/proof/inclusion":            400,
		"/proof/inclusion?position=x": 400, "/proof/inclusion?position=-1": 400, "/proof/inclusion?index=007": 400,
		"/proof/inclusion?index=300": 404, "/proof/inclusion?position=0": 404, "/proof/inclusion?position=301": 404,
		"/proof/inclusion?position=18446744073709551615": 404, "/proof/inclusion?index=9&size=9": 404, "/proof/inclusion?index=9&size=301": 404,
		"/proof/inclusion?index=9&size=": 400, "/proof/inclusion?stream=job-1": 400, "/proof/inclusion?stream=job-99&revision=0": 404,
		"/proof/inclusion?stream=job-1&revision=99999": 404, "/proof/inclusion?stream=&revision=1": 400, "/proof/inclusion?revision=1&stream=" + long: 400,
		"/proof/inclusion?stream=a%00b&revision=1": 400,
		"/proof/consistency?from=5":                400, "/proof/consistency?from=6&to=5": 404, "/proof/consistency?from=5&to=301": 404, "/proof/consistency?from=0&to=0": 200,
	} {
		if status, header, body := get(t, srv.URL, path); status != want || status != 200 && header.Get("Cache-Control") != "no-store" && !strings.Contains(path, "/x") {
			t.Errorf("%.80s: %d %.100s, want %d", path, status, body, want)
		}
	}
	res, err := http.Post(srv.URL+"/checkpoint", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("post: %d", res.StatusCode)
	}
}

func FuzzTilePath(f *testing.F) {
	f.Add("/tile/0/x001/x234/067.p/3")
	f.Add("/tile/63/000")
	f.Fuzz(func(t *testing.T, path string) {
		level, n, w, err := parseTilePath(path)
		if err != nil {
			return
		}
		back := "/" + tileName(level, n)
		if w < tileWidth {
			back += fmt.Sprintf(".p/%d", w)
		}
		if back != path || level < 0 || level > 63 || n < 0 || w < 1 || w > tileWidth {
			t.Errorf("%q is %d %d %d", path, level, n, w)
		}
	})
}
