package operator

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// Visitors are the limits of those who need no token, by address (an IPv4 address, a /64 of IPv6). A request costs one
// unit and more for what it makes the server do: see the costs below. This machine has more of everything, so behind a
// proxy of its own that is not trusted to name its clients all of them share that. Zero numbers mean the defaults.
type Visitors struct {
	Rate            float64 // units a second and address. Default 50; negative: no limit
	Burst           int     // units. Default 500
	Requests        int     // at work at once. Default 256
	RequestsAddress int     // the same, of one address. Default 32
	Waits           int     // for blocks, at once. Default 128
	WaitsAddress    int     // the same, of one address. Default 16
	AnswerBytes     int     // of answers that are on their way at once, however slowly they are read. Default 128 MiB, at least 32 MiB
}

// What things cost a visitor, in units beside the one of each request. Answers and blocks that were read are paid
// afterwards: the next requests wait for it.
const (
	bytesAnswered = 64 << 10  // a unit for so much of an answer
	bytesRead     = 256 << 10 // a unit for so much of blocks that were looked through
	blocksRun     = 16        // a unit for so many blocks of an answer that is full of them, or fewer
	bytesChecked  = 1 << 10   // a unit for so much of a transaction, whose signatures are verified
	unitsFound    = 4         // for finding what became of a transaction, in a block of any size
)

const (
	loopbackFactor = 20      // how much more of a rate this machine has
	maxVisitors    = 1 << 15 // addresses that are known at once; others share one allowance
	bodyBytes      = 128 << 10
)

func (v Visitors) withDefaults() Visitors {
	orDefault(&v.Rate, 50)
	orDefault(&v.Burst, 500)
	orDefault(&v.Requests, 256)
	orDefault(&v.RequestsAddress, 32)
	orDefault(&v.Waits, 128)
	orDefault(&v.WaitsAddress, 16)
	orDefault(&v.AnswerBytes, 128<<20)
	return v
}

func (v Visitors) validate() error {
	if math.IsNaN(v.Rate) || math.IsInf(v.Rate, 0) || v.Burst < 1 || v.Burst > 1<<30 || v.Requests < 1 || v.RequestsAddress < 1 || v.Waits < 1 || v.WaitsAddress < 1 || v.AnswerBytes < 32<<20 {
		return fmt.Errorf("%w: a limit of visitors is out of range", ErrConfig)
	}
	return nil
}

// visitor is an address that uses what needs no token.
type visitor struct {
	limit    *rate.Limiter // nil: none
	burst    int
	requests *counter
	waits    *counter
}

// tooFast refuses an address that has spent its allowance, and says when it has enough again.
type tooFast struct{ wait time.Duration }

func (e *tooFast) Error() string { return errAddress.Error() }
func (e *tooFast) Unwrap() error { return errAddress }

// spend takes units from the allowance, if it has as many.
func (v *visitor) spend(units int) error {
	if units = min(units, v.burst); v.limit == nil || v.limit.AllowN(time.Now(), units) {
		return nil
	}
	missing := float64(units) - v.limit.Tokens()
	return &tooFast{time.Duration(max(missing, 0) / float64(v.limit.Limit()) * float64(time.Second))}
}

// pay takes units for what was done already, whether there are as many or not. A nil visitor is no visitor.
func (v *visitor) pay(units int) {
	if v != nil && v.limit != nil && units > 0 {
		v.limit.ReserveN(time.Now(), min(units, v.burst))
	}
}

// idle reports whether forgetting the visitor gives it nothing.
func (v *visitor) idle() bool {
	return v.requests.n.Load() == 0 && (v.limit == nil || v.limit.Tokens() >= float64(v.burst))
}

// visitors knows the addresses.
type visitors struct {
	cfg             Visitors
	requests, waits *counter // of all
	answers         *counter // bytes

	mu    sync.Mutex
	known map[netip.Prefix]*visitor // guarded by mu
	crowd *visitor                  // whoever found the table full; guarded by mu
	swept time.Time                 // guarded by mu
}

func newVisitors(cfg Visitors) *visitors {
	return &visitors{
		cfg: cfg, requests: newCounter(cfg.Requests), waits: newCounter(cfg.Waits), answers: newCounter(cfg.AnswerBytes),
		known: map[netip.Prefix]*visitor{},
	}
}

func (vs *visitors) newVisitor(loopback bool) *visitor {
	units, burst, requests, waits := vs.cfg.Rate, vs.cfg.Burst, vs.cfg.RequestsAddress, vs.cfg.WaitsAddress
	if loopback {
		units, burst = units*loopbackFactor, burst*loopbackFactor
		requests, waits = max(requests, vs.cfg.Requests/2), max(waits, vs.cfg.Waits/2)
	}
	v := &visitor{burst: burst, requests: newCounter(requests), waits: newCounter(waits)}
	if units > 0 {
		v.limit = rate.NewLimiter(rate.Limit(units), burst)
	}
	return v
}

// visit is one request to what needs no token. Only the goroutine that serves it uses it.
type visit struct {
	all   *visitors
	from  *visitor
	token bool  // it is on the allowance of a token
	bytes int64 // of its answer
}

// enter counts a request of an address in. Every one that entered MUST leave.
func (vs *visitors) enter(from netip.Prefix) (*visit, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.visitor(from)
	if !v.requests.enter() {
		return nil, errAddress
	}
	if !vs.requests.enter() {
		v.requests.leave()
		return nil, errFull
	}
	return &visit{all: vs, from: v}, nil
}

// answer makes room for an answer until the visit ends, and has it paid.
func (v *visit) answer(bytes int) error {
	if !v.all.answers.take(int64(bytes)) {
		return errFull
	}
	v.bytes += int64(bytes)
	if !v.token {
		v.from.pay(bytes / bytesAnswered)
	}
	return nil
}

func (v *visit) leave() {
	v.all.answers.give(v.bytes)
	v.from.requests.leave()
	v.all.requests.leave()
}

// visitor finds an address. vs.mu is held.
func (vs *visitors) visitor(from netip.Prefix) *visitor {
	if v := vs.known[from]; v != nil {
		return v
	}
	if len(vs.known) >= maxVisitors && time.Since(vs.swept) > time.Second {
		vs.swept = time.Now()
		for at, v := range vs.known {
			if v.idle() {
				delete(vs.known, at)
			}
		}
	}
	if len(vs.known) >= maxVisitors {
		if vs.crowd == nil {
			vs.crowd = vs.newVisitor(true)
		}
		return vs.crowd
	}
	v := vs.newVisitor(thisMachine(from))
	vs.known[from] = v
	return v
}

// wait counts one that waits for a block in. A nil visitor is a room of this process.
func (vs *visitors) wait(v *visitor) (leave func(), err error) {
	if v != nil && !v.waits.enter() {
		return nil, errWaits
	}
	if !vs.waits.enter() {
		if v != nil {
			v.waits.leave()
		}
		return nil, errWaits
	}
	return func() {
		vs.waits.leave()
		if v != nil {
			v.waits.leave()
		}
	}, nil
}

var loopbackNet = netip.MustParsePrefix("::/64") // of ::1

func thisMachine(p netip.Prefix) bool { return p.Addr().IsLoopback() || p == loopbackNet }

// addressOf is the address of a connection, for a process that knows no proxies.
func addressOf(r *http.Request) netip.Prefix {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // all that have none are one visitor
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fits both kinds
	return p
}

// open reports whether everybody may call what lies at a path, whatever the tokens are.
func open(path string) bool { return strings.HasPrefix(path, "/"+op.LedgerServiceName+"/") }

type visitKey struct{}

func withVisit(ctx context.Context, v *visit) context.Context {
	return context.WithValue(ctx, visitKey{}, v)
}

// visitOf returns the visit that a request is; nil when it is none.
func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// visitorOf returns whose allowance a request is on; nil when it is on none, or on a token's.
func visitorOf(ctx context.Context) *visitor {
	if v := visitOf(ctx); v != nil && !v.token {
		return v.from
	}
	return nil
}
