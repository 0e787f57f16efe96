package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hyperledger-labs/SmartBFT/pkg/api"
	"github.com/hyperledger-labs/SmartBFT/pkg/wal"
	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"
)

// The log of votes: what this validator has signed last. Without it, it might sign the contrary after a restart.

// voteLogDir is where the log lies in the engine's folder.
func voteLogDir(dir string) string { return filepath.Join(dir, "votes") }

// hasVoteLog reports whether there is a log that was written once.
func hasVoteLog(dir string) bool {
	names, err := filepath.Glob(filepath.Join(voteLogDir(dir), "*.wal"))
	return err == nil && len(names) > 0
}

// openVoteLog opens or creates the log and returns what it holds since its last truncation. A record torn by a crash was
// never answered for and is dropped.
func openVoteLog(dir string, log api.Logger) (*wal.WriteAheadLogFile, [][]byte, error) {
	options := wal.DefaultOptions()
	options.BufferSizeBytes = 64 << 10 // allocated for every record
	options.FileSizeBytes = 8 << 20
	w, entries, err := wal.InitializeAndReadAll(log, voteLogDir(dir), options)
	if err != nil {
		return nil, nil, fmt.Errorf("log of votes: %w", err)
	}
	return w, entries, nil
}

// setAside keeps an unreadable log for people to look at, and makes room for a new one.
func setAside(dir string) error {
	for i := 1; i < 1000; i++ {
		bad := fmt.Sprintf("%s.bad%d", voteLogDir(dir), i)
		if _, err := os.Lstat(bad); errors.Is(err, os.ErrNotExist) {
			return os.Rename(voteLogDir(dir), bad)
		}
	}
	return errors.New("too many unreadable logs of votes")
}

// restorable is what of a log's entries the library starts from without giving up, for a chain of this height. It looks
// at the last entry alone, or at the last two when the last is a commit, and takes any other order for corruption. But a
// view change may have been recorded between a proposal and the commit to it: then the commit counts, as it may have been
// sent. And a proposal whose height is final is no longer in flight, however the block came here.
func restorable(entries [][]byte, height uint64) ([][]byte, error) {
	var proposed, committed []byte // the newest proposal, and the commit to it
	var at uint64
	last := false // the last entry is one of these
	for i, e := range entries {
		m := new(smartbftprotos.SavedMessage)
		if err := proto.Unmarshal(e, m); err != nil || m.GetContent() == nil {
			return nil, fmt.Errorf("log of votes: entry %d: %w", i, errUnreadable)
		}
		last = false
		if p := m.GetProposedRecord(); p != nil {
			proposed, committed, at, last = e, nil, p.GetPrePrepare().GetSeq(), true
		}
		if m.GetCommit() != nil {
			committed, last = e, true
		}
	}
	switch {
	case proposed != nil && at > height+1:
		return nil, fmt.Errorf("log of votes is at height %d, the chain at %d: %w", at, height, errAhead)
	case !last:
		return entries, nil
	case proposed == nil:
		return nil, fmt.Errorf("log of votes: a commit to no proposal: %w", errUnreadable)
	case at <= height:
		return nil, nil
	case committed != nil:
		return [][]byte{proposed, committed}, nil
	}
	return [][]byte{proposed}, nil
}

var (
	errUnreadable = errors.New("unreadable")
	errAhead      = errors.New("blocks are missing")
)
