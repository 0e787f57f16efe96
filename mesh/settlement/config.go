package settlement

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/shardy-network/orchestrator/actors/settle"
)

// The refusals.
var (
	ErrConfig    = errors.New("settlement is configured wrongly")
	ErrDamaged   = errors.New("book of the settlement is damaged")
	ErrForeign   = errors.New("book of the settlement is another one's")
	ErrForgotten = errors.New("book of the settlement is older than the ledger's memory")
	ErrRebuild   = errors.New("a settlement is not rebuilt: it would pay again; remove its book while the process is down")
	ErrAnchor    = errors.New("log contradicts its anchor on the ledger")
)

// Config says what is settled, for whom and how. Zero numbers mean their defaults.
type Config struct {
	Key    ed25519.PrivateKey // of the orchestrator; pays
	Ledger Ledger
	Log    Log    // that the facts come from
	File   string // of the book

	Prices settle.Schedule
	// Ahead locks money when a job is submitted, so that its workers can see it; otherwise it is locked and paid at once.
	Ahead bool
	// Life is for how many blocks a transaction is good, 100; at most the chain's window.
	Life uint64
	// Since leaves unpaid what was recorded before.
	Since time.Time

	Referee     Referee       // nil: nobody is punished for what only a quorum says
	RefereeTime time.Duration // for one job, 10 min

	// Checkpoint returns the newest signed checkpoint of the log, of Key. Nil: the log is not anchored.
	Checkpoint  func() ([]byte, error)
	AnchorEvery time.Duration // 30 s

	// Share is the part of the processors (of GOMAXPROCS) that may be taken, 0.03; at most 1. What the node does with a
	// transaction after Submit is not part of it.
	Share float64

	Linger    time.Duration // for how long deeds wait for company in a transaction, 1 s
	Resubmit  time.Duration // after which a transaction that is in no block is submitted again, 10 s; then twice that, up to eight times
	SaveEvery time.Duration // how old the book's file may get while nothing is signed, 30 s

	Logger *slog.Logger // nil: slog.Default()
}

// Validate refuses what cannot work.
func (c Config) Validate() error {
	switch {
	case len(c.Key) != ed25519.PrivateKeySize:
		return fmt.Errorf("%w: the key has %d bytes", ErrConfig, len(c.Key))
	case c.Ledger == nil || c.Log == nil:
		return fmt.Errorf("%w: ledger and log are needed", ErrConfig)
	case c.File == "":
		return fmt.Errorf("%w: no file for the book", ErrConfig)
	case !(c.Share >= 0 && c.Share <= 1):
		return fmt.Errorf("%w: a share of %g of the processors", ErrConfig, c.Share)
	case c.RefereeTime < 0 || c.AnchorEvery < 0 || c.Linger < 0 || c.Resubmit < 0 || c.SaveEvery < 0:
		return fmt.Errorf("%w: negative time", ErrConfig)
	}
	return nil
}

func (c Config) withDefaults() Config {
	or := func(d *time.Duration, usual time.Duration) {
		if *d == 0 {
			*d = usual
		}
	}
	or(&c.RefereeTime, 10*time.Minute)
	or(&c.AnchorEvery, 30*time.Second)
	or(&c.Linger, time.Second)
	or(&c.Resubmit, 10*time.Second)
	or(&c.SaveEvery, 30*time.Second)
	if c.Share == 0 {
		c.Share = 0.03
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// rules are what the book is kept by.
func (c Config) rules() (settle.Config, error) {
	state := c.Ledger.State()
	p := state.Params()
	life := c.Life
	if life == 0 {
		life = min(100, p.WindowBlocks)
	}
	if life > p.WindowBlocks {
		return settle.Config{}, fmt.Errorf("%w: transactions are good for %d blocks, the chain allows %d", ErrConfig, life, p.WindowBlocks)
	}
	rules := settle.Config{
		Chain: state.Chain(), Sender: c.Key.Public().(ed25519.PublicKey), Prices: c.Prices, Ahead: c.Ahead,
		BonusPpm: p.StakeBonusPpm, SlashOnQuorum: p.SlashOnQuorum, Life: life,
	}
	if err := rules.Validate(); err != nil {
		return settle.Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return rules, nil
}
