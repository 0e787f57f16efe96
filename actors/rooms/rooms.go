// Package rooms lists every kind of entity there is, for those who open them by name: the host and the audit.
//
// It only lists; what a room does is told in the room.
package rooms

import (
	"strings"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/module"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/shard"
	"github.com/shardy-network/orchestrator/actors/worker"
)

// All lists the rooms. The slice belongs to the caller.
func All() []actors.Kind {
	return []actors.Kind{
		&job.Room, &assignment.Room, &worker.Room, &pipeline.Room, &module.Room, &policy.Room, &shard.Room,
	}
}

var byPrefix = func() map[string]actors.Kind {
	m := make(map[string]actors.Kind)
	for _, k := range All() {
		m[k.Prefix()] = k
	}
	return m
}()

// Of finds a room by its name.
func Of(prefix string) (actors.Kind, bool) {
	k, ok := byPrefix[prefix]
	return k, ok
}

// ByStream finds the room and the id that a stream's name speaks of. A stream of no room is not ok.
func ByStream(stream string) (kind actors.Kind, id string, ok bool) {
	prefix, id, found := strings.Cut(stream, "-")
	if !found || id == "" {
		return nil, "", false
	}
	kind, ok = byPrefix[prefix]
	return kind, id, ok
}
