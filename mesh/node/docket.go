package node

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/events/durable"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// maxCharges bounds the accusations that are not decided. One for each key is enough: a key is punished once.
const maxCharges = 256

var errDocket = errors.New("broken file of accusations")

// readDocket reads the accusations that were not decided when the process ended: Equivocations behind their lengths, and
// the SHA-256 of all of them at the end. What they hold needs no trust: it is checked before it is used.
func readDocket(path string) ([]*ledgerv1.Equivocation, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxCharges*ledger.MaxTransactionBytes+sha256.Size+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return parseDocket(b)
}

func parseDocket(b []byte) ([]*ledgerv1.Equivocation, error) {
	end := len(b) - sha256.Size
	if end < 0 {
		return nil, fmt.Errorf("%w: %d bytes", errDocket, len(b))
	}
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:]) {
		return nil, fmt.Errorf("%w: its sum is wrong", errDocket)
	}
	r := bufio.NewReader(bytes.NewReader(b[:end]))
	var list []*ledgerv1.Equivocation
	for {
		e := new(ledgerv1.Equivocation)
		err := (protodelim.UnmarshalOptions{MaxSize: ledger.MaxTransactionBytes}).UnmarshalFrom(r, e)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDocket, err)
		}
		if len(list) == maxCharges {
			return nil, fmt.Errorf("%w: more than %d", errDocket, maxCharges)
		}
		list = append(list, e)
	}
}

// writeDocket replaces the file: it is there whole or as it was.
func writeDocket(path string, list []*ledgerv1.Equivocation) error {
	var b bytes.Buffer
	for _, e := range list {
		if _, err := protodelim.MarshalTo(&b, e); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(b.Bytes())
	return durable.Replace(path, b.Bytes(), sum[:])
}
