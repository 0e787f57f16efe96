package dashboard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// live keeps the live pages. Equal pages of viewers with equal rights share one room, which renders for all of them.
type live struct {
	d       *Dashboard
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup
	renders chan struct{} // a slot for each rendering at work

	mu      sync.Mutex
	closed  bool
	rooms   map[string]*room // by URL and rights
	readers map[string]int   // streams by viewer name
	streams int
}

// fragment is a rendering of a live block.
type fragment struct {
	at   events.Position // of what the page follows when the rendering began
	body []byte
	sum  [sha256.Size]byte
}

// id is what a browser names when it comes back: the place that was shown, and what the rendering looked like.
func (f *fragment) id() string {
	return strconv.FormatUint(uint64(f.at), 10) + "-" + hex.EncodeToString(f.sum[:4])
}

// seenBy reports whether a browser that names a place, or an id, has nothing to gain from the fragment. Pages that also
// change with time need the same id.
func (f *fragment) seenBy(id string, timed bool) bool {
	at, _, _ := strings.Cut(id, "-")
	return id == f.id() || !timed && at == strconv.FormatUint(uint64(f.at), 10)
}

// room renders one page for its readers, while it has any.
type room struct {
	screen  *screen
	ask     *ask
	stop    context.CancelFunc
	readers int // guarded by live.mu

	mu   sync.Mutex
	last *fragment     // nil until the first rendering
	err  error         // of the last rendering
	news chan struct{} // closed and replaced when last has changed
}

func newLive(d *Dashboard) *live {
	l := &live{d: d, renders: make(chan struct{}, d.limits.Renders), rooms: map[string]*room{}, readers: map[string]int{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

func (l *live) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.wg.Wait()
}

// enter counts a reader in and returns its room.
func (l *live) enter(s *screen, q *ask, name string) (*room, error) {
	q = &ask{Viewer: q.Viewer, Path: q.Path, URL: q.URL, Query: q.Query, frag: true}
	q.Viewer.Name = ""
	key := q.URL.Path + "?" + q.Query.Encode() + "\n" + q.Viewer.rights()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosing
	}
	if l.streams >= l.d.limits.Streams || l.readers[name] >= l.d.limits.StreamsViewer {
		return nil, errStreams
	}
	r, ok := l.rooms[key]
	if !ok {
		ctx, stop := context.WithCancel(l.ctx)
		r = &room{screen: s, ask: q, stop: stop, news: make(chan struct{})}
		l.rooms[key] = r
		l.wg.Go(func() { l.render(ctx, r) })
	}
	r.readers++
	l.streams++
	l.readers[name]++
	l.wg.Add(1)
	return r, nil
}

// leave counts a reader out. The last one ends the room.
func (l *live) leave(r *room, name string) {
	defer l.wg.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams--
	if l.readers[name]--; l.readers[name] == 0 {
		delete(l.readers, name)
	}
	if r.readers--; r.readers > 0 {
		return
	}
	r.stop()
	for key, other := range l.rooms {
		if other == r {
			delete(l.rooms, key)
		}
	}
}

// place is where what a page follows is: the read model in the log, or the ledger's last block.
func (d *Dashboard) place(p page) events.Position {
	if !p.chain {
		return d.deps.Model.Position()
	}
	if d.deps.Ledger == nil {
		return 0
	}
	return events.Position(d.deps.Ledger.Height())
}

// render keeps a room's fragment new until the last reader has gone.
func (l *live) render(ctx context.Context, r *room) {
	for {
		at, changed := l.d.place(r.screen.page), l.d.deps.Model.Changed()
		begin := time.Now()
		frag, err := l.once(ctx, r)
		if ctx.Err() != nil {
			return
		}
		r.publish(frag, err)
		// At most one rendering in RenderEvery, and at most a quarter of the time spent on them.
		if !wait(ctx, nil, max(l.d.limits.RenderEvery, 4*time.Since(begin))) {
			return
		}
		if !l.pause(ctx, r.screen.page, at, changed) {
			return
		}
	}
}

// pause waits until a page that showed a place may have changed. It returns false when ctx has ended.
func (l *live) pause(ctx context.Context, p page, at events.Position, changed <-chan struct{}) bool {
	switch {
	case p.chain && l.d.deps.Ledger != nil:
		waiting, stop := context.WithCancel(ctx)
		defer stop()
		changed = l.behind(waiting, uint64(at))
	case !p.live:
		changed = nil
	}
	return wait(ctx, changed, p.every)
}

// behind returns a channel that is closed when there is a block behind a height. That the ledger ends is news too: the
// next rendering tells of it.
func (l *live) behind(ctx context.Context, height uint64) <-chan struct{} {
	next := make(chan struct{})
	l.wg.Go(func() {
		if err := l.d.deps.Ledger.Await(ctx, height+1); err == nil || ctx.Err() == nil {
			close(next)
		}
	})
	return next
}

// wait returns true after a change, or after some time if that is not zero.
func wait(ctx context.Context, changed <-chan struct{}, every time.Duration) bool {
	var tick <-chan time.Time
	if every > 0 {
		t := time.NewTimer(every)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-changed:
		return true
	case <-tick:
		return true
	case <-ctx.Done():
		return false
	}
}

// once renders a room's page one time.
func (l *live) once(ctx context.Context, r *room) (*fragment, error) {
	select {
	case l.renders <- struct{}{}:
		defer func() { <-l.renders }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, l.d.limits.PageTimeout)
	defer cancel()
	q := *r.ask
	q.Now = time.Now()
	at := l.d.place(r.screen.page)
	view, err := r.screen.page.view(ctx, &q)
	if err != nil {
		return nil, err
	}
	body, err := r.screen.renderLive(frame{
		Title: r.screen.page.title, Nav: r.screen.page.nav, Viewer: q.Viewer, Acts: l.d.deps.Actions != nil,
		Path: q.URL.RequestURI(), Now: q.Now, Node: l.d.deps.Node, Version: l.d.deps.Version,
		Rebuilding: l.d.rebuilding(), View: view,
	})
	if err != nil {
		return nil, err
	}
	return &fragment{at: at, body: body, sum: sha256.Sum256(body)}, nil
}

func (r *room) publish(f *fragment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := fmt.Sprint(err) == fmt.Sprint(r.err) && (f == nil || r.last != nil && f.sum == r.last.sum)
	r.err = err
	if f != nil {
		r.last = f
	}
	if same {
		return
	}
	close(r.news)
	r.news = make(chan struct{})
}

// see returns the room's fragment and what is closed when there is another.
func (r *room) see() (*fragment, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.news, r.err
}

func (l *live) count() (streams, rooms int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams, len(l.rooms)
}
