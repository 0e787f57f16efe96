package dashboard

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

// sinceParam is the place that the page was rendered at, for the first connection; later ones name Last-Event-ID.
const sinceParam = "since"

// serveLive streams the changes of a page: each event is the whole live block, its id begins with the place that it shows.
// A reader that comes back and has missed nothing is sent nothing. Without TLS a browser speaks HTTP/1.1 and opens at
// most six connections to a host, so that hidden tabs let their streams go (the SSE extension does that) and come back.
func (d *Dashboard) serveLive(s *screen) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := askOf(r, s.page.route, "/live")
		if err != nil {
			d.fail(w, r, err)
			return
		}
		seen := r.Header.Get("Last-Event-ID")
		if seen == "" {
			seen = q.Query.Get(sinceParam)
		}
		q.Query = cloneQuery(q.Query)
		q.Query.Del(sinceParam)
		q.URL.RawQuery = q.Query.Encode()
		who := visitOf(r.Context())
		room, err := d.live.enter(s, q, who.Name)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		defer d.live.leave(room, who.Name)
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")
		d.stream(&streamWriter{w: w, rc: http.NewResponseController(w), timeout: d.limits.WriteTimeout}, r, room, who, seen)
	})
}

// stream sends fragments until the reader goes, is too slow, is logged out, or the dashboard closes.
func (d *Dashboard) stream(w *streamWriter, r *http.Request, room *room, who visit, seen string) {
	var ended <-chan struct{} // never, without a session
	var expired <-chan time.Time
	if who.session != nil {
		ended = who.session.ended
		t := time.NewTimer(time.Until(who.session.expires))
		defer t.Stop()
		expired = t.C
	}
	quiet := time.NewTicker(d.limits.KeepAlive)
	defer quiet.Stop()
	if w.write([]byte("retry: 1000\n\n")) != nil {
		return
	}
	var sent *fragment
	for {
		frag, news, err := room.see()
		switch {
		case err != nil:
			if w.event("", "trouble", []byte(d.troubleOf(r, err).Text)) != nil || !transient(err) {
				return
			}
		case frag == nil || sent != nil && frag.sum == sent.sum:
		case sent == nil && frag.seenBy(seen, room.screen.page.every > 0):
			sent = frag // the reader has this one
		default:
			if w.event(frag.id(), "", frag.body) != nil {
				return
			}
			sent = frag
		}
		for again := true; again; {
			select {
			case <-news:
				again = false
			case <-quiet.C:
				if w.write([]byte(":\n\n")) != nil {
					return
				}
			case <-ended:
				return
			case <-expired:
				return
			case <-r.Context().Done():
				return
			case <-d.live.ctx.Done():
				return
			}
		}
	}
}

// transient reports whether a page that could not be built may be built later.
func transient(err error) bool {
	return !errors.Is(err, ErrNotFound) && !errors.Is(err, errForbidden) && !errors.Is(err, errNoMesh)
}

// streamWriter writes server-sent events. Each write has its own deadline: a reader that stands still is cut off.
type streamWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (s *streamWriter) write(p []byte) error {
	// A deadline that cannot be set leaves the server's own; one that is over fails the write.
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.timeout))
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	if err := s.rc.Flush(); err != nil {
		return err
	}
	_ = s.rc.SetWriteDeadline(time.Time{})
	return nil
}

// event writes one event. Any line break in the data is one of the format, so that no text can end the event.
func (s *streamWriter) event(id, name string, data []byte) error {
	var b bytes.Buffer
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}
