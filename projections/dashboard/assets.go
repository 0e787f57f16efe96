package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// asset is a file that never changes under its name.
type asset struct {
	data []byte
	kind string
	etag string
}

// assets are the static files. The URL of each holds the hash of its content, so that browsers may keep it for good.
type assets struct {
	urls  map[string]string // by file name
	files map[string]asset  // by URL below /static/
}

func loadAssets() (*assets, error) {
	a := &assets{urls: map[string]string{}, files: map[string]asset{}}
	err := fs.WalkDir(staticFiles, "static", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := staticFiles.ReadFile(p)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, "static/")
		sum := sha256.Sum256(data)
		hash, ext := hex.EncodeToString(sum[:8]), path.Ext(name)
		kind := mime.TypeByExtension(ext)
		switch ext {
		case ".js":
			kind = "text/javascript; charset=utf-8"
		case ".css":
			kind = "text/css; charset=utf-8"
		case ".svg":
			kind = "image/svg+xml"
		case "":
			kind = "text/plain; charset=utf-8"
		}
		at := strings.TrimSuffix(name, ext) + "." + hash + ext
		a.urls[name] = "/static/" + at
		a.files[at] = asset{data, kind, `"` + hash + `"`}
		return nil
	})
	return a, err
}

// URL returns where a static file is. A name that does not exist is a mistake in a template: the tests find it.
func (a *assets) URL(name string) string {
	if u, ok := a.urls[name]; ok {
		return u
	}
	return fmt.Sprintf("/static/missing/%s", name)
}

func (a *assets) serve(w http.ResponseWriter, r *http.Request) {
	f, ok := a.files[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", f.etag)
	h.Set("Content-Type", f.kind)
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(f.data) // the reader is gone when this fails
}
