package memlog_test

import (
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
)

func TestContract(t *testing.T) {
	eventstest.Run(t, func(*testing.T) events.Log { return memlog.New() })
}
