package consensus

import (
	"encoding/binary"
	"errors"
)

// ErrPayload says that bytes are no list of transactions.
var ErrPayload = errors.New("malformed payload of a proposal")

// encodePayload writes transactions one after the other, each behind its length (uvarint). There is exactly one encoding
// of a list: blocks that came by synchronization compare equal, byte by byte, with those that were agreed on here.
func encodePayload(txs [][]byte) []byte {
	size := 0
	for _, tx := range txs {
		size += len(tx) + binary.MaxVarintLen32
	}
	b := make([]byte, 0, size)
	for _, tx := range txs {
		b = binary.AppendUvarint(b, uint64(len(tx)))
		b = append(b, tx...)
	}
	return b
}

// decodePayload reads what encodePayload wrote and nothing else. The transactions are parts of b.
func decodePayload(b []byte) ([][]byte, error) {
	if len(b) > MaxBatchBytes+MaxBatchCount*binary.MaxVarintLen32 {
		return nil, ErrPayload
	}
	var txs [][]byte
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 || size == 0 || size > MaxTxBytes || size > uint64(len(b)-n) || len(txs) == MaxBatchCount {
			return nil, ErrPayload
		}
		end := n + int(size)
		txs = append(txs, b[n:end:end])
		b = b[end:]
	}
	return txs, nil
}
