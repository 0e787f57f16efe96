package host

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ringers issues verified jobs again, as jobs of kind lite_test whose answer is known: a worker that lies where it
// believes that nobody compares is found out. The policy says how many (ringer_per_million); which ones is a keyed hash
// of the job's id, so that nobody without the key can tell. What a worker is told of a ringer is what it would be told
// of the original: the same module, input and limits, an id of the same form, the number of one of its slots.
//
// Those who computed the original, and their identity groups, never get the ringer. Its limits: workers of several
// identities who tell each other what they computed recognise an input that they have seen; so does one who could
// download the output, for which reason inner stages of pipelines make the best ringers, yet any job is taken. A chosen
// job whose ringer was not submitted when the process ended gets none.
type ringers struct {
	host   *Host
	key    []byte
	choice [sha256.Size]byte // of the key: the choice looks at every verified job, and must be cheap
	queue  chan string       // jobs that were chosen; what does not fit has no ringer

	mu   sync.Mutex
	open []ringer // submitted and not decided, oldest first
}

type ringer struct {
	id string
	at time.Time
}

const (
	ringerQueue = 1024
	maxRingers  = 1024      // open at once
	ringerLife  = time.Hour // after which an open one makes room for others
)

func newRingers(h *Host, key []byte) *ringers {
	r := &ringers{host: h, key: slices.Clone(key), queue: make(chan string, ringerQueue)}
	r.choice = [sha256.Size]byte(r.draw("choose", ""))
	return r
}

// see takes note of verdicts. It runs on the goroutines of all jobs, and decides most of them by one look.
func (r *ringers) see(to actors.Address, facts []events.Fact) {
	if to.Room != actors.JobRoom || len(facts) == 0 {
		return
	}
	switch f := facts[len(facts)-1].(type) {
	case *eventv1.TaskVerified:
		switch f.Basis {
		case eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER:
			r.closed(to.ID)
		case eventv1.VerdictBasis_VERDICT_BASIS_QUORUM:
			if !r.chosen(to.ID, r.host.cfg.Policy().GetRingerPerMillion()) {
				return
			}
			select {
			case r.queue <- to.ID:
			default:
				r.host.counters.ringersSkipped.Add(1)
			}
		}
	case *eventv1.JobDeadLettered, *eventv1.JobCancelled:
		r.closed(to.ID)
	}
}

// draw is the keyed hash of a job's id, for one purpose.
func (r *ringers) draw(purpose, id string) []byte {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write([]byte(id))
	return mac.Sum(nil)
}

// chosen reports whether the job is among the share that is issued again.
func (r *ringers) chosen(id string, perMillion uint32) bool {
	if perMillion == 0 {
		return false
	}
	var buf [sha256.Size + events.EntityIDLen]byte
	sum := sha256.Sum256(append(append(buf[:0], r.choice[:]...), id...))
	hi, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), policy.PerMillion)
	return hi < uint64(perMillion)
}

func (r *ringers) run() {
	for {
		select {
		case id := <-r.queue:
			if err := r.issue(r.host.ctx, id); err != nil && r.host.ctx.Err() == nil {
				r.host.cfg.Logger.Warn("ringer was not issued", "original", id, "error", err)
			}
		case <-r.host.ctx.Done():
			return
		}
	}
}

// issue submits the ringer of a verified job, unless nobody is there whom it could test. Issuing it twice submits it
// once.
func (r *ringers) issue(ctx context.Context, original string) error {
	state, _, err := r.host.Inspect(ctx, actors.JobAddress(original))
	if err != nil {
		return err
	}
	s, ok := state.(job.State)
	if !ok || s.Phase != job.Verified || !standard(s.Spec) {
		return nil
	}
	rules, err := ringerPolicy(r.host.cfg.Policy(), s.Policy)
	if err != nil {
		return err
	}
	spec, barred := ringerSpec(&s)
	anyone, err := query(ctx, r.host, func(m *dispatch.Matcher) bool { return m.Anyone(spec, barred) })
	if err != nil {
		return err
	}
	id := r.id(&s)
	if !anyone || !r.admit(id) {
		r.host.counters.ringersSkipped.Add(1)
		return nil
	}
	reply, err := r.submit(ctx, id, &eventv1.SubmitJob{Spec: spec, Policy: rules, FirstSlot: r.slot(&s)})
	if err != nil {
		r.closed(id)
		return err
	}
	if was, ok := reply.(job.SubmitReply); ok && was.Existing {
		r.closed(id) // it may have been decided long ago
		return nil
	}
	r.host.counters.ringers.Add(1)
	return nil
}

// submit repeats the submission while the host is busy or the log away.
func (r *ringers) submit(ctx context.Context, id string, c *eventv1.SubmitJob) (any, error) {
	for {
		reply, err := r.host.Do(ctx, actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: c}})
		if !errors.Is(err, ErrBusy) && !errors.Is(err, events.ErrUnavailable) {
			return reply, err
		}
		select {
		case <-time.After(submitRetry):
		case <-ctx.Done():
			return nil, ErrStopped
		}
	}
}

func standard(spec *eventv1.JobSpec) bool {
	k := spec.GetKind()
	return k == eventv1.JobKind_JOB_KIND_STANDARD || k == eventv1.JobKind_JOB_KIND_UNSPECIFIED
}

// ringerSpec is the work of a verified job without whose it was, and those from whom it is kept.
func ringerSpec(s *job.State) (*eventv1.JobSpec, []actors.Holder) {
	spec := &eventv1.JobSpec{
		Module: s.Spec.Module, Input: s.Spec.Input, FuelLimit: s.Spec.FuelLimit, Output: s.Spec.Output,
		MinTier: s.Spec.MinTier, MinMemoryBytes: s.Spec.MinMemoryBytes, Priority: s.Spec.Priority, Proof: s.Spec.Proof,
		Kind: eventv1.JobKind_JOB_KIND_LITE_TEST, KnownChecksum: s.Verdict.Checksum,
	}
	var barred []actors.Holder
	for i := range s.Slots {
		if x := &s.Slots[i].Result; s.Slots[i].Phase == job.SlotReturned && len(barred) < job.MaxBarred {
			barred = append(barred, actors.Holder{Worker: x.Worker, Group: x.Group})
			spec.Barred = append(spec.Barred, &eventv1.Party{Worker: x.Worker, Group: x.Group})
		}
	}
	return spec, barred
}

// ringerPolicy is the deployment's policy for ringers, but with everything that a worker sees or feels taken from the
// original's: deadlines, and whether results are signed.
func ringerPolicy(deployed *eventv1.Policy, original *eventv1.JobPolicy) (*eventv1.JobPolicy, error) {
	lite, err := policy.Resolve(deployed, eventv1.JobKind_JOB_KIND_LITE_TEST, nil)
	if err != nil {
		return nil, err
	}
	p := proto.CloneOf(lite)
	p.AckTimeoutMs, p.ExecutionSlack = original.AckTimeoutMs, original.ExecutionSlack
	p.MinExecutionTimeoutMs, p.MaxExecutionTimeoutMs = original.MinExecutionTimeoutMs, original.MaxExecutionTimeoutMs
	p.RequireAttestation = original.RequireAttestation
	return p, policy.CheckJob(p)
}

// slot is the number of one of the slots that the original opened with.
func (r *ringers) slot(s *job.State) uint32 {
	return uint32(binary.BigEndian.Uint64(r.draw("slot", s.ID)) % uint64(max(s.Policy.Redundancy, 1)))
}

// id is the ringer's id, always the same, and of the same form as the original's: sorted by time, or derived.
func (r *ringers) id(s *job.State) string {
	drawn := r.draw("id", s.ID)
	if sortsByTime(s.ID) {
		return events.NewEntityID(time.UnixMicro(s.DecidedUs), [10]byte(drawn))
	}
	return events.DeriveEntityID([]byte("ringer"), drawn)
}

// sortsByTime reports whether an id was made by [events.NewEntityID]: a UUID of version 7.
func sortsByTime(id string) bool {
	b, err := crockford.DecodeString(id)
	return err == nil && len(b) == 16 && b[6]>>4 == 7
}

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// admit takes a ringer among the open ones. When they are too many, one that has been open for long is cancelled: those
// whom it could have tested are gone.
func (r *ringers) admit(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if len(r.open) >= maxRingers {
		oldest := r.open[0]
		if now.Sub(oldest.at) < ringerLife {
			return false
		}
		r.open = slices.Delete(r.open, 0, 1)
		r.host.Tell(actors.JobAddress(oldest.id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{
			CancelJob: &eventv1.CancelJob{By: "ringers", Reason: "there was nobody to be tested"},
		}}, nil)
	}
	r.open = append(r.open, ringer{id, now})
	return true
}

// closed forgets a ringer that is decided; jobs that are none are not among them.
func (r *ringers) closed(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.open, func(x ringer) bool { return x.id == id }); i >= 0 {
		r.open = slices.Delete(r.open, i, i+1)
	}
}
