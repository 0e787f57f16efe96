package module_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/module"
	"github.com/shardy-network/orchestrator/actors/story"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var (
	original = bytes.Repeat([]byte{5}, 32)
	id       = hex.EncodeToString(original)
)

func admit(rewriter uint32, name byte) *eventv1.AdmitModule {
	return &eventv1.AdmitModule{
		Original: original, Name: bytes.Repeat([]byte{name}, 32), Rewriter: rewriter,
		Class: eventv1.ModuleClass_MODULE_CLASS_FLOAT, MemoryBytes: 1 << 20, CanaryFuel: 77, Size: 2048, CanonicalNan: true,
	}
}

func admitted(rewriter uint32, name byte) *eventv1.ModuleAdmitted {
	return &eventv1.ModuleAdmitted{
		Original: original, Name: bytes.Repeat([]byte{name}, 32), Rewriter: rewriter,
		Class: eventv1.ModuleClass_MODULE_CLASS_FLOAT, MemoryBytes: 1 << 20, CanaryFuel: 77, Size: 2048, CanonicalNan: true,
	}
}

func refuse(rewriter uint32, code string) *eventv1.RefuseModule {
	return &eventv1.RefuseModule{Original: original, Code: code, Detail: "why", Rewriter: rewriter}
}

func refused(rewriter uint32, code string) *eventv1.ModuleRefused {
	return &eventv1.ModuleRefused{Original: original, Code: code, Detail: "why", Rewriter: rewriter}
}

func TestFirstVerdictStands(t *testing.T) {
	s := story.Of(t, &module.Room, id)
	s.When(admit(1, 6)).Then(admitted(1, 6)).Replies(admitted(1, 6)).IsDone(true)
	s.When(admit(1, 7)).Nothing().Replies(admitted(1, 6))
	s.When(refuse(1, "threads")).Nothing().Replies(admitted(1, 6))
}

func TestRefusalStandsAsWell(t *testing.T) {
	s := story.Of(t, &module.Room, id)
	s.When(refuse(1, "threads")).Then(refused(1, "threads")).Replies(refused(1, "threads"))
	s.When(admit(1, 6)).Nothing().Replies(refused(1, "threads"))
	s.When(refuse(1, "imports")).Nothing().Replies(refused(1, "threads"))
}

func TestNewerRewriterJudgesAnew(t *testing.T) {
	s := story.Of(t, &module.Room, id)
	s.When(refuse(1, "threads"))
	s.When(admit(2, 6)).Then(admitted(2, 6))
	s.When(admit(1, 9)).Nothing().Replies(admitted(2, 6))
	s.When(admit(3, 7)).Then(admitted(3, 7))
	s.When(refuse(4, "relaxed_simd")).Then(refused(4, "relaxed_simd"))
	s.When(admit(4, 7)).Nothing().Replies(refused(4, "relaxed_simd"))
}

func TestMalformedFindingsAreRefused(t *testing.T) {
	change := func(f func(*eventv1.AdmitModule)) *eventv1.AdmitModule {
		c := admit(1, 6)
		f(c)
		return c
	}
	for name, cmd := range map[string]proto.Message{
		"another module":  change(func(c *eventv1.AdmitModule) { c.Original = bytes.Repeat([]byte{8}, 32) }),
		"no name":         change(func(c *eventv1.AdmitModule) { c.Name = nil }),
		"no version":      change(func(c *eventv1.AdmitModule) { c.Rewriter = 0 }),
		"no class":        change(func(c *eventv1.AdmitModule) { c.Class = 0 }),
		"unknown class":   change(func(c *eventv1.AdmitModule) { c.Class = 99 }),
		"too much memory": change(func(c *eventv1.AdmitModule) { c.MemoryBytes = 1 << 33 }),
		"no size":         change(func(c *eventv1.AdmitModule) { c.Size = 0 }),
		"no code":         refuse(1, ""),
		"long code":       refuse(1, strings.Repeat("c", module.MaxCode+1)),
		"binary code":     refuse(1, "\xff"),
	} {
		t.Run(name, func(t *testing.T) { story.Of(t, &module.Room, id).When(cmd).Refuses(module.ErrInvalid) })
	}
	story.Of(t, &module.Room, id).When(&eventv1.OpenSlot{}).Refuses(actors.ErrUnknownCommand)
}
