package dashboard

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestVendorLock holds that what strangers wrote is byte for byte what its registry gave out.
func TestVendorLock(t *testing.T) {
	lock, err := staticFiles.ReadFile("static/vendor/vendor.lock")
	if err != nil {
		t.Fatal(err)
	}
	locked := map[string]string{"vendor.lock": "", "README.md": ""}
	lines := bufio.NewScanner(bytes.NewReader(lock))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 {
			locked[f[1]] = f[0]
		}
	}
	files, err := staticFiles.ReadDir("static/vendor")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range files {
		want, ok := locked[e.Name()]
		if !ok {
			t.Errorf("%s is not in vendor.lock", e.Name())
			continue
		}
		delete(locked, e.Name())
		data, err := staticFiles.ReadFile("static/vendor/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); want != "" && got != want {
			t.Errorf("%s: sha256 %s, locked is %s", e.Name(), got, want)
		}
	}
	for name := range locked {
		t.Errorf("%s is locked but not there", name)
	}
}

func TestAssetsAreKeptForGood(t *testing.T) {
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{file...}", a.serve)
	get := func(path, etag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", etag)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	w := get(a.URL("app.css"), "")
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") {
		t.Fatalf("app.css: %d %v", w.Code, w.Header())
	}
	if w := get(a.URL("app.css"), w.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("the same again: %d with %d bytes, want 304", w.Code, w.Body.Len())
	}
	if w := get("/static/app.css", ""); w.Code != http.StatusNotFound {
		t.Errorf("without a hash: %d, want 404", w.Code)
	}
}
