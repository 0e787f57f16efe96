package dashboard

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func (d *Dashboard) workerPages() []page {
	return []page{{
		name: "worker", route: "/workers/{key}", title: "Worker", nav: "workers", needs: staff, live: true, view: d.worker,
	}}
}

func (d *Dashboard) workerActions() []action {
	act := func(name, done string, do func(WorkerActions, context.Context, string, []byte, string) error) action {
		return action{
			route: "/workers/{key}/" + name, role: RoleOperator, needs: staff,
			do: func(ctx context.Context, q *ask) (string, string, error) {
				key, err := workerKey(q)
				if err != nil {
					return "", "", err
				}
				reason, err := q.reason()
				if err != nil {
					return "", linkWorker(key), err
				}
				if d.deps.Actions == nil {
					return "", linkWorker(key), errReadOnly
				}
				return done, linkWorker(key), do(d.deps.Actions, ctx, q.Viewer.Name, key, reason)
			},
		}
	}
	return []action{
		act("drain", "The worker is draining: it finishes what it holds and gets nothing new.", WorkerActions.DrainWorker),
		act("ban", "The worker is banned: what it held goes to others.", WorkerActions.BanWorker),
		act("reinstate", "The worker is reinstated: it gets work when it is connected and proven.", WorkerActions.ReinstateWorker),
	}
}

type workerView struct {
	Key      string
	Worker   *readmodel.Worker
	State    cell
	Tier     string
	Facts    []fact
	Compared []comparison
	Claims   []fact // what nobody has proven
	Shares   []share
	Record   []fact
	Sessions table
	Attempts table
	JobsLink string
	Stream   string
	Forms    []form
}

// PageTitle names the worker.
func (v *workerView) PageTitle() string { return "Worker " + shortID(v.Key) }

// comparison is a claim beside its proof.
type comparison struct {
	Name, Claimed, Proven string
	Share                 []share // how much of the claim is proven
	Said                  string  // the same in words
}

func workerKey(q *ask) ([]byte, error) {
	key, err := hex.DecodeString(q.Path["key"])
	if err != nil || len(key) != 32 {
		return nil, errNotFound
	}
	return key, nil
}

// attemptsShown and sessionsShown bound the lists of a worker's page.
const (
	attemptsShown = 20
	sessionsShown = 10
)

func (d *Dashboard) worker(ctx context.Context, q *ask) (any, error) {
	key, err := workerKey(q)
	if err != nil {
		return nil, err
	}
	w, err := d.deps.Model.Worker(ctx, key)
	if err != nil {
		return nil, err
	}
	sessions, _, err := d.deps.Model.Sessions(ctx, key, readmodel.Page{Limit: sessionsShown})
	if err != nil {
		return nil, err
	}
	attempts, _, err := d.deps.Model.Attempts(ctx, readmodel.AttemptQuery{Page: readmodel.Page{Limit: attemptsShown}, Worker: key})
	if err != nil {
		return nil, err
	}
	name := hex.EncodeToString(key)
	v := &workerView{
		Key: name, Worker: w, State: workerState(w.State), Tier: tierText(w.Tier), Sessions: sessionTable(sessions),
		Attempts: attemptTable(attempts), JobsLink: list(linkJobs(), "worker", name), Stream: linkStream("worker-" + name),
		Forms: workerForms(w),
	}
	v.Facts = d.workerFacts(w)
	if d.deps.Ledger != nil {
		v.Facts = append(v.Facts, fact{"Account", hexCell(key, linkAccount(key)).with("on the ledger")})
	}
	v.Compared, v.Claims = compare(w)
	v.Record, v.Shares = record(w.Record)
	return v, nil
}

func (d *Dashboard) workerFacts(w *readmodel.Worker) []fact {
	facts := []fact{
		{"State", workerState(w.State).with(w.Detail)},
		{"Tier", text(tierText(w.Tier))},
		{"Last seen", when(w.LastSeen)},
		{"Registered", when(w.Registered)},
		{"Owner", hexCell(w.Owner, "")},
		{"Identity group", text(w.Group)},
		{"Connected to", text(w.Node)},
		{"Sessions", count(w.Sessions)},
	}
	if w.Rejection != eventv1.RejectionReason_REJECTION_REASON_UNSPECIFIED {
		facts = append(facts, fact{"Refused because", text(enumWords(w.Rejection.String(), "REJECTION_REASON_"))})
	}
	if d.deps.Live != nil && w.Connected {
		if l, ok := d.deps.Live(w.Key); ok {
			facts = append(facts, fact{"Works on", text(thousands(l.InFlight) + " tasks").with("would take " + thousands(l.Credits) + " more")})
		}
	}
	return facts
}

// compare sets claims beside proofs, and lists the claims that stay claims.
func compare(w *readmodel.Worker) ([]comparison, []fact) {
	claim, proven := w.Claim, w.Proven
	one := func(name string, claimed, proved uint64, write func(uint64) string, haveClaim, haveProof bool) comparison {
		c := comparison{Name: name, Claimed: "–", Proven: "not proven"}
		if haveClaim {
			c.Claimed = write(claimed)
		}
		if haveProof {
			c.Proven = write(proved)
		}
		if haveClaim && haveProof && claimed > 0 {
			percent := min(100, 100*float64(proved)/float64(claimed))
			c.Share = []share{{toneVerified, 0, percent}}
			c.Said = strconv.FormatFloat(percent, 'f', 0, 64) + " % of the claim is proven"
		}
		return c
	}
	compared := []comparison{
		one("Speed", claim.GetMflops(), proven.GetMflops(), gflops, claim != nil, proven != nil),
		one("Memory", claim.GetMaxAllocationBytes(), proven.GetMemoryBytes(), sizeOf, claim != nil, proven != nil),
		one("Chunk size", claim.GetChunkBytes(), 0, sizeOf, claim != nil, false),
		one("Fuel rate", 0, proven.GetFuelPerMs(), func(n uint64) string { return thousands(n) + " per ms" }, false, proven.GetFuelPerMs() > 0),
	}
	if compared[2].Proven = "none offered"; w.ChunkBytes > 0 {
		compared[2].Proven = sizeOf(w.ChunkBytes) + " offered"
	}
	if claim == nil {
		return compared, nil
	}
	return compared, []fact{
		{"Cores", count(claim.Cores)},
		{"System", text(joined(claim.Os, claim.Arch))},
		{"Engine", text(claim.Engine)},
		{"Software", text(claim.Agent)},
	}
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " / " + b
}

// record tells what became of a worker's results.
func record(t *eventv1.Tally) ([]fact, []share) {
	facts := []fact{
		{"Agreed", count(t.GetAgreed())},
		{"Contradicted", count(t.GetContradicted())},
		{"Refused", count(t.GetRejected())},
		{"Timed out", count(t.GetTimedOut())},
		{"Dropped", count(t.GetDropped())},
		{"Failed", count(t.GetFailed())},
		{"Ringers passed", count(t.GetRingersPassed())},
		{"Ringers failed", count(t.GetRingersFailed())},
		{"Fuel agreed on", count(t.GetFuel())},
	}
	return facts, shares(map[tone]uint64{
		toneVerified: t.GetAgreed(), toneMismatch: t.GetContradicted() + t.GetRejected(), toneWaiting: t.GetTimedOut() + t.GetDropped() + t.GetFailed(),
	}, toneVerified, toneMismatch, toneWaiting)
}

func sessionTable(rows []readmodel.Session) table {
	t := table{
		Caption: "Sessions", Compact: true, Columns: columns("Began", "Lasted", "Ended because", "Group~", "Node~"),
		Empty: empty{Title: "No session yet", Text: "The worker is registered but has not been connected since."},
	}
	for _, s := range rows {
		lasted, why := state(toneVerified, "Connected"), none()
		if !s.Ended.IsZero() {
			lasted, why = duration(s.Ended.Sub(s.Connected)), text(words(s.Why))
		}
		t.add(hex.EncodeToString(s.ID), when(s.Connected), lasted, why, text(s.Group), text(s.Node))
	}
	return t
}

func attemptTable(rows []readmodel.Attempt) table {
	t := table{
		Caption: "Last attempts", Compact: true, Columns: columns("Job", "Slot~", "Outcome", "Fuel#~", "Ran#~", "When"),
		Empty: empty{Title: "No attempt yet", Text: "The worker has not been handed a task."},
	}
	for _, a := range rows {
		ran := none()
		if a.RunMs > 0 {
			ran = duration(time.Duration(a.RunMs) * time.Millisecond)
		}
		fuel := none()
		if a.Fuel > 0 {
			fuel = count(a.Fuel)
		}
		t.add(a.Job+"-"+strconv.Itoa(int(a.Slot))+"-"+strconv.Itoa(int(a.Attempt)), idCell(a.Job, linkJob(a.Job)),
			text(strconv.Itoa(int(a.Slot))).with(attemptText(a.Attempt)), outcomeCell(a), fuel, ran, when(a.Dispatched))
	}
	return t
}

func attemptText(n uint32) string {
	if n <= 1 {
		return ""
	}
	return "attempt " + strconv.Itoa(int(n))
}

// outcomeCell tells what became of a hand-over.
func outcomeCell(a readmodel.Attempt) cell {
	name := sentenceCase(a.Outcome.String())
	switch {
	case a.Contradicted:
		return state(toneMismatch, "Contradicted").with(a.Detail)
	case a.Outcome == readmodel.OutcomeRejected:
		return state(toneDead, "Refused").with(joined(enumWords(a.Rejected.String(), "REJECT_REASON_"), a.Detail))
	case a.Outcome.Lost():
		return state(toneDead, name).with(a.Detail)
	case a.Outcome == readmodel.OutcomeReturned:
		return state(toneVerified, "Returned")
	case a.Outcome.Ended():
		return state(toneWaiting, name)
	}
	return state(toneRunning, name)
}

// workerForms are what can be done to a worker in its state.
func workerForms(w *readmodel.Worker) []form {
	at := linkWorker(w.Key)
	drain := form{Action: at + "/drain", Button: "Drain", Reason: true, Ask: "The worker finishes what it holds and gets nothing new until it is reinstated."}
	ban := form{Action: at + "/ban", Button: "Ban", Reason: true, Danger: true, Ask: "The worker is disconnected, what it holds goes to others, and its key is refused until it is reinstated."}
	reinstate := form{Action: at + "/reinstate", Button: "Reinstate", Reason: true, Ask: "The worker gets work again when it is connected and its proofs stand."}
	switch w.State {
	case readmodel.WorkerBanned:
		return []form{reinstate}
	case readmodel.WorkerDraining:
		return []form{reinstate, ban}
	}
	return []form{drain, ban}
}
