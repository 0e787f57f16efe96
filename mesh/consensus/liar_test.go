package consensus

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bft "github.com/hyperledger-labs/SmartBFT/pkg/types"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// alterOf lets a function change the messages that one validator sends.
func (net *testNet) alterOf(liar Key, f func(to Key, m *message) []*message) {
	net.x.Alter(func(from, to Key, frame []byte) [][]byte {
		if from != liar || frame[0] != frameConsensus {
			return [][]byte{frame}
		}
		m, _, err := decodeFrame(frame, MaxTxBytes)
		if err != nil {
			panic(err)
		}
		var out [][]byte
		for _, altered := range f(to, m) {
			out = append(out, append([]byte{frameConsensus}, marshal(altered)...))
		}
		return out
	})
}

func same1(m *message) []*message { return []*message{m} }

// TestEquivocatingLeader: a leader that proposes different blocks to different validators gets none of them through, is
// replaced, and its transactions are not lost.
func TestEquivocatingLeader(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	liar := net.leader()
	rest := without(nodes, liar)
	net.alterOf(liar.key, func(to Key, m *message) []*message {
		if pp := m.GetPrePrepare(); pp != nil {
			h := new(ledgerv1.Header)
			mustUnmarshal(pp.Proposal.Header, h)
			h.TimeUs += int64(to[0]) + int64(to[1])<<8 // another block for each
			pp.Proposal.Header = encodeHeader(h)
		}
		return same1(m)
	})
	txs := toyTxs(10, 500)
	net.submit(nodes, txs...)
	net.awaitTxs(rest, txs)
	if l := net.leader(); l == liar {
		t.Error("the liar still leads")
	}
	net.agree(rest)
}

// TestBadStateRoot: a leader that proposes a state that its transactions do not lead to is replaced at once.
func TestBadStateRoot(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	liar := net.leader()
	liar.ledger.mu.Lock()
	liar.ledger.spoil = func(h *ledgerv1.Header) { h.State = make([]byte, 32) }
	liar.ledger.mu.Unlock()
	txs := toyTxs(10, 500)
	net.submit(nodes, txs...)
	rest := without(nodes, liar)
	net.awaitTxs(rest, txs)
	net.agree(rest)
}

// TestCensoringLeader: a leader that proposes everything but one transaction, and takes it from nobody, is complained of
// and replaced, although it is never silent.
func TestCensoringLeader(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	liar := net.leader()
	rest := without(nodes, liar)
	unwanted := toyTx(666)
	var dropped atomic.Int64
	net.x.Alter(func(_, to Key, frame []byte) [][]byte {
		if to == liar.key && frame[0] == frameTransaction {
			dropped.Add(1)
			return nil
		}
		return [][]byte{frame}
	})
	net.submit(rest, unwanted)
	for i, done := 1000, false; !done; i++ { // the chain goes on meanwhile
		tx := toyTxs(i, 1)
		net.submit(nodes, tx...)
		net.awaitTxs(rest, tx)
		rest[0].ledger.mu.Lock()
		done = rest[0].ledger.count[string(unwanted)] > 0
		rest[0].ledger.mu.Unlock()
	}
	net.awaitTxs(nodes, [][]byte{unwanted})
	if dropped.Load() == 0 {
		t.Error("nobody took it to the leader")
	}
	net.agree(nodes)
}

// TestNewLeaderHasAll: what waits at the validators while there is no leader is in the first blocks of the next one, which
// has it from nobody but itself.
func TestNewLeaderHasAll(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount = 100 })
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	first := net.leader()
	rest := without(nodes, first)
	net.x.Alter(func(_, _ Key, frame []byte) [][]byte { // nothing is forwarded
		if frame[0] == frameTransaction {
			return nil
		}
		return [][]byte{frame}
	})
	net.stop(first)
	txs := toyTxs(100, 300)
	net.submit(rest, txs...)
	net.awaitTxs(rest, txs)
	net.agree(rest)
}

// TestNoisyValidator: one that repeats all it has ever heard and said in any order, sends garbage of every kind and
// floods the others does not stop them, nor does it when they change the leader in its midst.
func TestNoisyValidator(t *testing.T) {
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount = 100 })
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	leader := net.leader()
	liar := without(nodes, leader)[0]
	honest := without(nodes, liar)

	// all that goes to the liar is said again by the liar, with everything of its own
	var mu sync.Mutex
	var heard [][]byte
	changing := make(chan struct{})
	var asked sync.Once
	net.x.Alter(func(from, to Key, frame []byte) [][]byte {
		if m, _, err := decodeFrame(frame, MaxTxBytes); err == nil && m.GetViewChange() != nil && from != liar.key {
			asked.Do(func() { close(changing) })
		}
		if from == liar.key || to == liar.key {
			mu.Lock()
			if len(heard) < 20000 {
				heard = append(heard, frame)
			}
			mu.Unlock()
		}
		return [][]byte{frame}
	})
	end := make(chan struct{})
	var noise sync.WaitGroup
	stop := sync.OnceFunc(func() { close(end); noise.Wait() })
	t.Cleanup(stop)
	noise.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		for {
			for _, to := range honest {
				mu.Lock()
				var frame []byte
				if len(heard) > 0 {
					frame = slices.Clone(heard[r.IntN(len(heard))])
				}
				mu.Unlock()
				if len(frame) > 2 && r.IntN(4) == 0 {
					frame[1+r.IntN(len(frame)-1)] ^= byte(1 << r.IntN(8))
				}
				net.x.Inject(liar.key, to.key, frame)
			}
			if r.IntN(50) == 0 { // leave a little of the machine to the others
				select {
				case <-end:
					return
				default:
				}
			}
		}
	})

	txs := toyTxs(10, 1000)
	net.submit(honest, txs...)
	net.awaitTxs(honest, txs)
	// A leader that is away is a second fault, more than four stand: nothing is promised until it is back.
	net.isolate(leader, true)
	more := toyTxs(10000, 300)
	net.submit(honest, more...)
	select {
	case <-changing:
	case <-time.After(patience):
		t.Fatal("nobody misses the leader")
	}
	net.isolate(leader, false)
	last := toyTxs(20000, 300)
	net.submit(nodes, last...)
	net.awaitTxs(honest, slices.Concat(txs, more, last))
	stop()
	net.agree(honest)
}

// TestReplayedNewView: after a change of the leader, the new one's NewView comes again and again, in the middle of the
// blocks that follow (the library would panic, or leave a log that it panics at).
func TestReplayedNewView(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount = 50 })
	nodes := net.startAll()
	first := net.leader()
	rest := without(nodes, first)
	var mu sync.Mutex
	replay := map[Key][]byte{} // by sender
	net.x.Alter(func(from, to Key, frame []byte) [][]byte {
		m, _, err := decodeFrame(frame, MaxTxBytes)
		if err != nil {
			panic(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if m.GetNewView() != nil {
			replay[from] = frame
		}
		if old := replay[from]; old != nil && (m.GetPrePrepare() != nil || m.GetCommit() != nil) {
			return [][]byte{old, frame, old}
		}
		return [][]byte{frame}
	})
	net.submit(nodes, toyTxs(0, 500)...)
	net.awaitHeight(first, 2)
	net.isolate(first, true)
	txs := toyTxs(10000, 1000)
	net.submit(rest, txs...)
	net.awaitTxs(rest, txs)
	net.isolate(first, false)
	net.awaitTxs(nodes, txs)
	mu.Lock()
	replays := len(replay)
	mu.Unlock()
	if replays == 0 {
		t.Fatal("nobody sent a NewView")
	}
	for _, n := range nodes { // and their logs can be started from
		net.stop(n)
	}
	nodes = net.startAll()
	more := toyTxs(20000, 100)
	net.submit(nodes, more...)
	net.awaitTxs(nodes, more)
	net.agree(nodes)
}

// TestWrongPayloadInViewChange: a validator that states a true last block with other transactions (they are not under
// the votes) when the view changes does not get them committed.
func TestWrongPayloadInViewChange(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount = 50 })
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	leader := net.leader()
	liar := without(nodes, leader)[0]
	net.alterOf(liar.key, func(_ Key, m *message) []*message {
		if vd := m.GetViewData(); vd != nil {
			v := viewDataOf(vd)
			v.LastDecision.Payload = encodePayload(toyTxs(666, 2))
			vd.RawViewData = marshal(v)
			vd.Signature = (&instance{engine: liar.engine}).Sign(vd.RawViewData)
		}
		return same1(m)
	})
	net.submit(nodes, toyTxs(10, 500)...)
	net.awaitHeight(leader, 3)
	net.stop(leader)
	rest := without(nodes, leader)
	back := net.start(leader.index)
	txs := toyTxs(10000, 300)
	honest := append(without(rest, liar), back)
	net.submit(honest, txs...)
	net.awaitTxs(honest, txs)
	net.agree(honest)
}

// TestEvidence: two votes of one validator for different blocks of one height and view are reported once, and only what
// it has signed.
func TestEvidence(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	liar := without(nodes, net.leader())[0]
	forged := make(chan struct{})
	var once sync.Once
	net.alterOf(liar.key, func(_ Key, m *message) []*message {
		c := m.GetCommit()
		if c == nil || c.Assist {
			return same1(m)
		}
		other := proto.Clone(m).(*message)
		v := voteOfCommit(c)
		block := sha256.Sum256([]byte("another block"))
		v.Block = block[:]
		o := other.GetCommit()
		o.Signature.Msg, o.Signature.Value = noteOf(v), seal.SignVote(toyChain, v, testKey(liar.index))
		unsigned := proto.Clone(other).(*message)
		unsigned.GetCommit().Signature.Value = make([]byte, 64)
		once.Do(func() { close(forged) })
		return []*message{unsigned, m, unsigned, other, other}
	})
	txs := toyTxs(0, 100)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	<-forged
	pairs := func() []*ledgerv1.VotePair {
		net.mu.Lock()
		defer net.mu.Unlock()
		return slices.Clone(net.evidence)
	}
	net.await("evidence", func() bool { return len(pairs()) > 0 })
	seen := map[uint64]int{}
	for _, p := range pairs() {
		a, b := p.First, p.Second
		if Key(p.Validator) != liar.key || a.Height != b.Height || a.View != b.View || slices.Equal(a.Block, b.Block) ||
			!seal.VerifyVote(toyChain, a, p.Validator, a.Signature) || !seal.VerifyVote(toyChain, b, p.Validator, b.Signature) {
			t.Fatalf("no evidence: %v", p)
		}
		if seen[a.Height]++; seen[a.Height] > 3 {
			t.Fatalf("height %d is reported %d times by three validators", a.Height, seen[a.Height])
		}
	}
	net.agree(nodes)
}

// TestWitnessAgainstCertificates: who tells one validator one thing and the certificate's signers another is caught by the
// certificate.
func TestWitnessAgainstCertificates(t *testing.T) {
	t.Parallel()
	var got []*ledgerv1.VotePair
	w := newWitness(toyChain, func(p *ledgerv1.VotePair) { got = append(got, p) })
	vote := func(height uint64, block string, key int) *ledgerv1.Vote {
		b, md := sha256.Sum256([]byte(block)), sha256.Sum256([]byte("md"))
		v := &ledgerv1.Vote{Height: height, View: 1, Block: b[:], Metadata: md[:], ValidatorsVersion: 1}
		v.Signature = seal.SignVote(toyChain, v, testKey(key))
		return v
	}
	certificate := func(height uint64, block string) *ledgerv1.Certificate {
		b := sha256.Sum256([]byte(block))
		c := &ledgerv1.Certificate{Height: height, Block: b[:], View: 1, Metadata: []byte("md")}
		for i := range 3 {
			k := testID(i)
			c.Signatures = append(c.Signatures, &ledgerv1.ValidatorSignature{Validator: k[:], Signature: vote(height, block, i).Signature})
		}
		return c
	}
	w.saw(testID(1), vote(5, "other", 1), 5)
	w.saw(testID(2), vote(5, "block", 2), 5)
	w.sawCertificate(certificate(5, "block"), 1, 5)
	if len(got) != 1 || Key(got[0].Validator) != testID(1) {
		t.Fatalf("evidence %v", got)
	}
	for h := uint64(6); h < 2000; h++ {
		w.saw(testID(1), vote(h, "block", 1), h)
		w.saw(testID(1), vote(h+5000, "far", 1), h)
	}
	if len(got) != 1 || len(w.votes) > 3*rememberedHeights || len(w.done) > 1 {
		t.Fatalf("%d reports, %d votes, %d done", len(got), len(w.votes), len(w.done))
	}
}

// TestLibraryGivesUp: what the library panics for ends its instance, and another one goes on from the log.
func TestLibraryGivesUp(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 200)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	n := without(nodes, net.leader())[0]
	in := n.engine.running.Load()
	go (&libraryLog{log: n.engine.log, fail: in.fail}).Panicf("node %d is lost", n.index)
	net.await("another instance", func() bool { o := n.engine.running.Load(); return o != nil && o != in })
	more := toyTxs(1000, 200)
	net.submit(nodes, more...)
	net.awaitTxs(nodes, more)
	net.agree(nodes)
	if s := n.engine.Status(); s.Restarts != 1 {
		t.Fatalf("status %+v", s)
	}
}

// TestRestorable: what a log may end with, and what is started from.
func TestRestorable(t *testing.T) {
	t.Parallel()
	proposal := func(seq uint64) []byte {
		return marshal(savedProposal(seq))
	}
	commit := marshal(savedCommit())
	change := marshal(savedViewChange())
	for _, c := range []struct {
		name    string
		height  uint64
		entries [][]byte
		want    [][]byte
		fails   bool
	}{
		{"nothing", 3, nil, nil, false},
		{"in flight", 3, [][]byte{proposal(4)}, [][]byte{proposal(4)}, false},
		{"voted", 3, [][]byte{proposal(4), commit}, [][]byte{proposal(4), commit}, false},
		{"voted in a view change", 3, [][]byte{proposal(4), change, commit}, [][]byte{proposal(4), commit}, false},
		{"voted before a view change", 3, [][]byte{proposal(4), commit, change}, [][]byte{proposal(4), commit, change}, false},
		{"pulled meanwhile", 9, [][]byte{proposal(4), commit}, nil, false},
		{"pulled meanwhile, not voted", 4, [][]byte{proposal(4)}, nil, false},
		{"blocks lost", 1, [][]byte{proposal(4), commit}, nil, true},
		{"commit alone", 3, [][]byte{commit}, nil, true},
		{"garbage", 3, [][]byte{proposal(4), {0xff}}, nil, true},
	} {
		got, err := restorable(c.entries, c.height)
		if (err != nil) != c.fails || !slices.EqualFunc(got, c.want, slices.Equal[[]byte]) {
			t.Errorf("%s: %d entries, %v", c.name, len(got), err)
		}
	}
}

// TestDecisionOfBlock: a block that was pulled is, for the library, byte by byte the one that was agreed on.
func TestDecisionOfBlock(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 10)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	b, err := nodes[0].ledger.Block(1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := decisionOf(b)
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{engine: nodes[1].engine}
	for _, s := range d.Signatures {
		if _, err := in.VerifyConsenterSig(s, d.Proposal); err != nil {
			t.Errorf("signature of %d: %v", s.ID, err)
		}
		if _, err := in.VerifyConsenterSig(bft.Signature{ID: s.ID, Value: s.Value, Msg: append(s.Msg, 0)}, d.Proposal); err == nil {
			t.Error("a longer note is taken")
		}
	}
	d.Proposal.Payload = encodePayload(toyTxs(5, 10))
	if _, err := in.VerifyConsenterSig(d.Signatures[0], d.Proposal); err == nil {
		t.Error("votes are taken for other transactions")
	}
}
