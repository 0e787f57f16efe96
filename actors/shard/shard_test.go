package shard_test

import (
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/shard"
	"github.com/shardy-network/orchestrator/actors/story"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func TestTake(t *testing.T) {
	s := story.Of(t, &shard.Room, "17").
		When(&eventv1.TakeShard{Node: "a"}).Then(&eventv1.ShardTaken{Node: "a"}).
		Replies(shard.TakeReply{Epoch: 0}).Effects().
		When(&eventv1.TakeShard{Node: "b"}).Then(&eventv1.ShardTaken{Node: "b"}).
		Replies(shard.TakeReply{Epoch: 1}).
		When(&eventv1.TakeShard{Node: "b"}).Then(&eventv1.ShardTaken{Node: "b"}). // it fences its own past
		Replies(shard.TakeReply{Epoch: 2}).
		When(&eventv1.TakeShard{}).Refuses(shard.ErrInvalid).
		When(&eventv1.TakeShard{Node: "\xff"}).Refuses(shard.ErrInvalid).
		When(&eventv1.TakeShard{Node: strings.Repeat("n", shard.MaxNode+1)}).Refuses(shard.ErrInvalid).
		When(&eventv1.ReopenJob{}).Refuses(actors.ErrUnknownCommand).
		IsDone(true)
	if got := s.State().(shard.State); got.Node != "b" || got.Epoch() != 2 {
		t.Errorf("got %+v, epoch %d", got, got.Epoch())
	}
}
