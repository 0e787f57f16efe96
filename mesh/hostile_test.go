package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func batchOf(txs ...[]byte) *ledgerv1.TransactionBatch {
	return &ledgerv1.TransactionBatch{Transactions: txs}
}

func presenceOf(n int, at time.Time) *ledgerv1.Presence {
	return &ledgerv1.Presence{Node: "n", Sequence: 1, AtUs: at.UnixMicro(), Key: public(keyOf(n)), Addresses: []string{"/ip4/127.0.0.1/tcp/1"}}
}

func announceOf(header, certificate []byte) *ledgerv1.BlockAnnounce {
	return &ledgerv1.BlockAnnounce{Header: header, Certificate: certificate}
}

// wrongs are messages of rogue n, and what becomes of it: some cost score, some do not.
func wrongs(t *testing.T) map[string]struct {
	topic  string
	data   func(n int) []byte
	edit   func(*pb.Message)
	guilty bool
} {
	presence := func(edit func(*ledgerv1.Presence)) func(int) []byte {
		return func(n int) []byte {
			p := presenceOf(n, time.Now())
			edit(p)
			return encoded(t, p)
		}
	}
	is := func(m proto.Message) func(int) []byte { return func(int) []byte { return encoded(t, m) } }
	block := func(height, version uint64, signers ...int) func(int) []byte {
		return is(announceOf(certified(t, height, version, signers...)))
	}
	var many [][]byte
	for i := range MaxBatch + 1 {
		many = append(many, transaction(t, 50, 1_000+i))
	}
	forged := transaction(t, 50, 2)
	forged[len(forged)-1] ^= 1
	header, _ := certified(t, 30, 1, 0, 1, 2)
	_, other := certified(t, 31, 1, 0, 1, 2)
	foreign := new(ledgerv1.Header)
	if err := proto.Unmarshal(header, foreign); err != nil {
		t.Fatal(err)
	}
	foreign.ChainId = "other"
	garbage := func(n int) []byte { return bytes.Repeat([]byte{0xff, byte(n)}, 20) }
	return map[string]struct {
		topic  string
		data   func(n int) []byte
		edit   func(*pb.Message)
		guilty bool
	}{
		"garbage for a presence":        {PresenceTopic, garbage, nil, true},
		"garbage for transactions":      {TransactionsTopic, garbage, nil, true},
		"garbage for a block":           {AnnounceTopic, garbage, nil, true},
		"nothing":                       {TransactionsTopic, func(int) []byte { return nil }, nil, true},
		"a fat presence":                {PresenceTopic, func(n int) []byte { return make([]byte, maxPresence+n) }, nil, true},
		"another's presence":            {PresenceTopic, func(int) []byte { return encoded(t, presenceOf(1, time.Now())) }, nil, true},
		"a presence without a key":      {PresenceTopic, presence(func(p *ledgerv1.Presence) { p.Key = nil }), nil, true},
		"a presence with a bell":        {PresenceTopic, presence(func(p *ledgerv1.Presence) { p.Node = "a\a" }), nil, true},
		"a presence at no address":      {PresenceTopic, presence(func(p *ledgerv1.Presence) { p.Addresses = []string{"here"} }), nil, true},
		"too many transactions":         {TransactionsTopic, is(batchOf(many...)), nil, true},
		"a transaction twice":           {TransactionsTopic, is(batchOf(many[0], many[0])), nil, true},
		"a forged transaction":          {TransactionsTopic, is(batchOf(many[0], forged)), nil, true},
		"a fat transaction":             {TransactionsTopic, is(batchOf(make([]byte, maxTransaction+1))), nil, true},
		"an unsigned message":           {TransactionsTopic, is(batchOf(many[1])), func(m *pb.Message) { m.Signature = nil }, true},
		"a message in another's name":   {TransactionsTopic, is(batchOf(many[2])), func(m *pb.Message) { m.From = []byte(mustPeer(t, 1)) }, true},
		"a message changed on its way":  {TransactionsTopic, is(batchOf(many[3])), func(m *pb.Message) { m.Data = encoded(t, batchOf(many[4])) }, true},
		"a block of too few":            {AnnounceTopic, block(20, 1, 0, 1), nil, true},
		"a block of strangers":          {AnnounceTopic, block(21, 1, 60, 61, 62, 63), nil, true},
		"a certificate of another":      {AnnounceTopic, is(announceOf(header, other)), nil, true},
		"a block of another chain":      {AnnounceTopic, is(announceOf(encoded(t, foreign), other)), nil, true},
		"a presence of yesterday":       {PresenceTopic, presence(func(p *ledgerv1.Presence) { p.AtUs -= 86_400_000_000 }), nil, false},
		"a presence of tomorrow":        {PresenceTopic, presence(func(p *ledgerv1.Presence) { p.AtUs += 86_400_000_000 }), nil, false},
		"a block of other validators":   {AnnounceTopic, block(22, 2, 0, 1, 2), nil, false},
		"a block of long ago":           {AnnounceTopic, block(3, 1, 0, 1, 2), nil, false},
		"a transaction that is too old": {TransactionsTopic, is(batchOf(expired(t))), nil, false},
	}
}

func mustPeer(t *testing.T, n int) string {
	id, err := PeerOf(public(keyOf(n)))
	if err != nil {
		t.Fatal(err)
	}
	return string(id)
}

func expired(t *testing.T) []byte { return transaction(t, 59, 0) }

// TestWrongMessages sends each by a rogue of its own. Nothing of it arrives, and only the guilty lose score.
func TestWrongMessages(t *testing.T) {
	old := expired(t)
	victim := open(t, 0, func(c *Config) {
		check := c.Ports.CheckTransaction
		c.Ports.CheckTransaction = func(tx []byte) error {
			if bytes.Equal(tx, old) {
				return fmt.Errorf("expired: %w", ErrNotNow)
			}
			return check(tx)
		}
	})
	victim.chain.mu.Lock()
	victim.height = 20
	victim.chain.mu.Unlock()
	rogues := map[string]*rogue{}
	n := 100
	var guilty, innocent int64
	all := wrongs(t)
	for name, w := range all {
		n++
		r := newRogue(t, n, victim.Mesh)
		rogues[name] = r
		if w.edit == nil {
			w.edit = func(*pb.Message) {}
		}
		r.say(w.topic, w.data(n), w.edit)
		if w.guilty {
			guilty++
		} else {
			innocent++
		}
	}
	sum := func(f func(TopicStatus) int64) (n int64) {
		for _, s := range victim.Status().Topics {
			n += f(s)
		}
		return n
	}
	eventually(t, "all are refused", func() bool {
		return sum(func(s TopicStatus) int64 { return s.Rejected }) == guilty && sum(func(s TopicStatus) int64 { return s.Ignored }) == innocent
	})
	for name, w := range all {
		if w.guilty {
			eventually(t, name+" costs score", func() bool { return victim.gossip.score(rogues[name].h.ID()) < 0 })
			continue
		}
		if s := victim.gossip.score(rogues[name].h.ID()); s < 0 {
			t.Errorf("%s costs score: %v", name, s)
		}
	}
	if txs, blocks, alive := victim.transactions(), victim.blocks(), victim.Orchestrators(); len(txs)+len(blocks)+len(alive) != 0 {
		t.Errorf("%d transactions, %d blocks and %d orchestrators arrived", len(txs), len(blocks), len(alive))
	}
	repeated := rogues["garbage for a block"]
	for i := range 12 {
		repeated.say(AnnounceTopic, []byte{0xff, 0xff, byte(i)})
	}
	eventually(t, "who keeps on is not heard any more", func() bool { return victim.gossip.score(repeated.h.ID()) < graylistThreshold })
	repeated.say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, 3))))
	rogues["a block of long ago"].say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, 4))))
	eventually(t, "others are", func() bool { return len(victim.transactions()) > 0 })
	if got := victim.transactions(); !bytes.Equal(got[0], transaction(t, 50, 4)) {
		t.Error("somebody on the grey list was heard")
	}
}

// TestReplays sends again what was valid: by the same peer, by another, in another wrapping, and late.
func TestReplays(t *testing.T) {
	victim := open(t, 0)
	a, b := newRogue(t, 101, victim.Mesh), newRogue(t, 102, victim.Mesh)
	tx, next := transaction(t, 50, 1), transaction(t, 50, 2)
	header, cert := certified(t, 5, 1, 0, 1, 2)
	_, more := certified(t, 5, 1, 0, 1, 2, 3)
	p := presenceOf(101, time.Now())
	p.Sequence = 7
	said := a.message(PresenceTopic, encoded(t, p))
	p.Sequence = 6
	before := a.message(PresenceTopic, encoded(t, p))
	for _, m := range []*pb.Message{
		a.message(TransactionsTopic, encoded(t, batchOf(tx))), a.message(AnnounceTopic, encoded(t, announceOf(header, cert))), said,
	} {
		a.rpc(&pb.RPC{Publish: []*pb.Message{m}})
	}
	eventually(t, "one of each", func() bool {
		return len(victim.transactions()) == 1 && len(victim.blocks()) == 1 && len(victim.Orchestrators()) == 1
	})
	for _, r := range []*rogue{a, b} {
		r.rpc(&pb.RPC{Publish: []*pb.Message{said, before}})
		r.say(TransactionsTopic, encoded(t, batchOf(tx)))
		r.say(TransactionsTopic, append(encoded(t, batchOf(tx)), 0x98, 0x06, 0x01)) // a field that nobody knows
		r.say(AnnounceTopic, encoded(t, announceOf(header, cert)))
		r.say(AnnounceTopic, encoded(t, announceOf(header, more)))
	}
	b.say(TransactionsTopic, encoded(t, batchOf(tx, next)))
	eventually(t, "the new one", func() bool { return len(victim.transactions()) == 2 })
	if txs := victim.transactions(); !bytes.Equal(txs[1], next) {
		t.Error("an old transaction came again")
	}
	if n := len(victim.blocks()); n != 1 {
		t.Errorf("%d blocks", n)
	}
	if o := victim.Orchestrators(); o[0].Sequence != 7 {
		t.Errorf("presence fell back to %d", o[0].Sequence)
	}
	for _, s := range victim.Status().Topics {
		if s.Rejected > 0 {
			t.Errorf("replays held against those who passed them on: %+v", s)
		}
	}
}

// TestGiant sends a message above the limit: the stream ends, the orchestrator goes on.
func TestGiant(t *testing.T) {
	victim := open(t, 0, func(c *Config) { c.MaxMessage = 256 << 10 })
	r, other := newRogue(t, 101, victim.Mesh), newRogue(t, 102, victim.Mesh)
	giant := &pb.RPC{Publish: []*pb.Message{r.message(TransactionsTopic, make([]byte, 300<<10))}}
	eventually(t, "the stream is reset", func() bool { return r.write(giant) != nil })
	other.say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, 1))))
	eventually(t, "others are heard", func() bool { return len(victim.transactions()) == 1 })
}

// TestFlood has one peer send valid messages without pause. Others' messages arrive all the same, and what the flooder
// sends beyond its allowance is not even looked at.
func TestFlood(t *testing.T) {
	var checked atomic.Int64
	victim := open(t, 0, func(c *Config) {
		c.MessagesPerSecond, c.Checks = 200, 1
		check := c.Ports.CheckTransaction
		c.Ports.CheckTransaction = func(tx []byte) error {
			checked.Add(1)
			return check(tx)
		}
	})
	flooder, honest := newRogue(t, 101, victim.Mesh), newRogue(t, 102, victim.Mesh)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		i := 0
		for ctx.Err() == nil {
			var rpc pb.RPC
			for range 50 {
				i++
				rpc.Publish = append(rpc.Publish, flooder.message(TransactionsTopic, encoded(t, batchOf(transaction(t, 51, i)))))
			}
			if err := flooder.write(&rpc); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	eventually(t, "the flood is cut", func() bool { return victim.Status().Cut > 500 })
	from := map[string]bool{}
	for i := range 40 {
		tx := transaction(t, 52, i)
		from[string(tx)] = true
		honest.say(TransactionsTopic, encoded(t, batchOf(tx)))
	}
	eventually(t, "all honest transactions", func() bool {
		n := 0
		for _, tx := range victim.transactions() {
			if from[string(tx)] {
				n++
			}
		}
		return n == 40
	})
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := victim.gossip.score(honest.h.ID()); s < 0 {
		t.Errorf("the honest one has score %v", s)
	}
}

// TestPanicInACheck drops the message and holds it against nobody.
func TestPanicInACheck(t *testing.T) {
	bad := transaction(t, 50, 1)
	victim := open(t, 0, func(c *Config) {
		c.Ports.CheckTransaction = func(tx []byte) error {
			if bytes.Equal(tx, bad) {
				panic("nobody thought of this")
			}
			return nil
		}
	})
	r := newRogue(t, 101, victim.Mesh)
	r.say(TransactionsTopic, encoded(t, batchOf(bad)))
	r.say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, 2))))
	eventually(t, "the next message", func() bool { return len(victim.transactions()) == 1 })
	if s := victim.Status().Topics[1]; s.Rejected != 0 || s.Ignored != 1 {
		t.Errorf("%+v", s)
	}
}

// TestOwnMistakes: what this orchestrator itself must not publish is refused with a reason, and does not leave.
func TestOwnMistakes(t *testing.T) {
	m := open(t, 0)
	forged := transaction(t, 50, 2)
	forged[len(forged)-1] ^= 1
	if err := m.Submit(forged); err == nil || errors.Is(err, ErrMalformed) {
		t.Errorf("forged: %v", err)
	}
	if err := m.Submit([]byte{1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("garbage: %v", err)
	}
	if err := m.Submit(make([]byte, maxTransaction+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("giant: %v", err)
	}
	header, cert := certified(t, 4, 1, 0, 1)
	if err := m.PublishAnnounce(context.Background(), header, cert); !errors.Is(err, ErrMalformed) {
		t.Errorf("block of too few: %v", err)
	}
	header, cert = certified(t, 4, 9, 0, 1, 2)
	if err := m.PublishAnnounce(context.Background(), header, cert); !errors.Is(err, ErrNotNow) {
		t.Errorf("block of other validators: %v", err)
	}
	bare := open(t, 1, func(c *Config) { c.Ports = Ports{} })
	if err := errors.Join(bare.Submit(forged), nil); !errors.Is(err, ErrOff) {
		t.Errorf("no ledger: %v", err)
	}
	if err := bare.PublishAnnounce(context.Background(), header, cert); !errors.Is(err, ErrOff) {
		t.Errorf("no ledger: %v", err)
	}
}
