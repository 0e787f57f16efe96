package kurrent_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractOverMemory(t *testing.T) {
	eventstest.Run(t, func(t *testing.T) events.Log {
		return serve(t, memlog.New(), esdbserver.Config{}).open(kurrent.Options{})
	})
}

func TestContractOverPebble(t *testing.T) {
	eventstest.Run(t, func(t *testing.T) events.Log {
		log, err := pebblelog.Open(t.TempDir(), pebblelog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, log, esdbserver.Config{}).open(kurrent.Options{})
	})
}

// TestContractWithATinyWindow makes nearly every tail read history again and again.
func TestContractWithATinyWindow(t *testing.T) {
	eventstest.Run(t, func(t *testing.T) events.Log {
		return serve(t, memlog.New(), esdbserver.Config{}).open(kurrent.Options{Window: 16, Reads: 2})
	})
}
