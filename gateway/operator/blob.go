package operator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// partBytes is the size of one message of a download.
const partBytes = 256 << 10

// checkContent refuses a name whose content is not in the store, or has another size.
func (a *API) checkContent(ctx context.Context, field string, ref *eventv1.BlobRef, limit uint64) error {
	if err := checkRef(field, ref, limit); err != nil {
		return err
	}
	content, size, err := a.deps.Blobs.Open(ctx, [32]byte(ref.Sha256))
	if errors.Is(err, blobs.ErrNotFound) {
		return fmt.Errorf("%s: %w", field, errBlob)
	}
	if err != nil {
		return err
	}
	content.Close()
	if uint64(size) != ref.Size {
		return refuse(field, "the content has another size")
	}
	return nil
}

// keep stores content.
func (a *API) keep(ctx context.Context, data []byte) (*eventv1.BlobRef, error) {
	ref, err := a.deps.Blobs.Put(ctx, data)
	if err != nil {
		return nil, err
	}
	return &eventv1.BlobRef{Sha256: ref.Sum[:], Size: uint64(len(data))}, nil
}

// PutBlob stores content.
func (a *API) PutBlob(ctx context.Context, req *operatorv1.PutBlobRequest) (*operatorv1.PutBlobResponse, error) {
	if len(req.Data) > MaxBlobBytes {
		return nil, refuse("data", "above 16 MiB")
	}
	ref, err := a.keep(ctx, req.Data)
	if err != nil {
		return nil, err
	}
	return &operatorv1.PutBlobResponse{Ref: ref}, nil
}

// sendContent streams content in parts. Content that should be there and is not is a loss of data.
func (a *API) sendContent(ctx context.Context, ref *eventv1.BlobRef, send func(part []byte) error) error {
	if len(ref.GetSha256()) != 32 {
		return fmt.Errorf("%w: a fact names no content", events.ErrMalformed)
	}
	content, _, err := a.deps.Blobs.Open(ctx, [32]byte(ref.Sha256))
	if errors.Is(err, blobs.ErrNotFound) {
		return fmt.Errorf("%w: content %x is missing", events.ErrCorrupt, ref.Sha256)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	buf := make([]byte, min(partBytes, ref.Size))
	if len(buf) == 0 {
		return send(nil)
	}
	for {
		n, err := io.ReadFull(content, buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: content %x: %w", events.ErrUnavailable, ref.Sha256, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

// mayFetch decides who gets content by its hash alone: modules are everyone's, the rest is the staff's. A client
// downloads the results of its jobs instead.
func (a *API) mayFetch(sum [32]byte, r *http.Request) (public bool, status int, err error) {
	if a.modules.admitted(sum[:]) || a.deps.Public != nil && a.deps.Public(sum) {
		return true, 0, nil
	}
	c, err := a.guard.identify(r.Header)
	if err != nil {
		return false, http.StatusUnauthorized, err
	}
	if !c.is(staff) {
		return false, http.StatusForbidden, errRole
	}
	if c.limit != nil && !c.limit.Allow() {
		return false, http.StatusTooManyRequests, errRate
	}
	return false, 0, nil
}

func (a *API) serveBlob(w http.ResponseWriter, r *http.Request) {
	name, err := hex.DecodeString(r.PathValue("sha256"))
	if err != nil || len(name) != 32 {
		http.Error(w, "not a SHA-256 in hex", http.StatusBadRequest)
		return
	}
	sum := [32]byte(name)
	public, status, err := a.mayFetch(sum, r)
	if err != nil {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, err.Error(), status)
		return
	}
	content, size, err := a.deps.Blobs.Open(r.Context(), sum)
	if errors.Is(err, blobs.ErrNotFound) {
		http.Error(w, "no such content", http.StatusNotFound)
		return
	}
	if err != nil {
		_ = toConnect(err) // logs what is internal
		http.Error(w, "the store is unavailable", http.StatusServiceUnavailable)
		return
	}
	defer content.Close()
	etag := `"` + hex.EncodeToString(name) + `"`
	h := w.Header()
	h.Set("ETag", etag)
	h.Set("Cache-Control", cacheControl(public))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return
	}
	// Unverified bytes must not look whole: a copy that ends early, or in an error, drops the connection.
	if n, err := io.Copy(w, content); err != nil || n != size {
		panic(http.ErrAbortHandler)
	}
}

func cacheControl(public bool) string {
	if public {
		return "public, max-age=31536000, immutable"
	}
	return "private, max-age=31536000, immutable"
}
