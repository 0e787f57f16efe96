package projections

import (
	"errors"

	"github.com/shardy-network/orchestrator/events"
)

// Facts decodes a batch: the fact of batch[i] is at i. A record of a type that this program does not know has nil there, as
// newer programs may have written it. One that does not decode as its fact is damage, and an error.
func Facts(batch []events.Record) ([]events.Fact, error) {
	facts := make([]events.Fact, len(batch))
	for i := range batch {
		f, err := events.Decode(batch[i])
		if err != nil && !errors.Is(err, events.ErrUnknownType) {
			return nil, err
		}
		facts[i] = f
	}
	return facts, nil
}
