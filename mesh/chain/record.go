package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// MaxBlockBytes bounds an encoded CertifiedBlock: its transactions with what frames them, header and certificate.
const MaxBlockBytes = ledger.MaxBlockBytes + 8*ledger.MaxBlockTransactions + light.MaxHeaderBytes + light.MaxCertificateBytes + 64

// A record is a head of 24 bytes (big endian) and a body:
//
//	0  length of the body
//	4  CRC-32C of all that follows, the body included
//	8  height of the block
//	16 height up to which all blocks were synced when this was written
//
// The body is the encoded CertifiedBlock behind its length (uvarint), then each receipt behind its own.
const (
	recordHead = 24
	// maxBody bounds a body. A receipt has a code and a detail of a line.
	maxBody = MaxBlockBytes + 1<<10*ledger.MaxBlockTransactions
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn is a record that is not whole.
var errTorn = errors.New("record is not whole")

// appendRecord encodes a block with what became of its transactions.
func appendRecord(b []byte, height, synced uint64, block *ledgerv1.CertifiedBlock, receipts [][]byte) ([]byte, error) {
	encoded, err := proto.Marshal(block)
	if err != nil {
		return nil, fmt.Errorf("encode block %d: %w", height, err)
	}
	at := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = appendCounted(b, encoded)
	for _, r := range receipts {
		b = appendCounted(b, r)
	}
	if n := len(b) - at - recordHead; n > maxBody {
		return nil, fmt.Errorf("block %d: record of %d bytes, limit %d", height, n, maxBody)
	}
	closeRecord(b[at:], height, synced)
	return b, nil
}

// closeRecord writes the head of a record whose body is there.
func closeRecord(r []byte, height, synced uint64) {
	binary.BigEndian.PutUint32(r, uint32(len(r)-recordHead))
	binary.BigEndian.PutUint64(r[8:], height)
	binary.BigEndian.PutUint64(r[16:], synced)
	binary.BigEndian.PutUint32(r[4:], crc32.Checksum(r[8:], castagnoli))
}

func appendCounted(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// record is a whole record. Its body is a part of what it was cut from.
type record struct {
	height, synced uint64
	size           int // with its head
	body           []byte
}

// cutRecord reads the record at the front. errTorn: there is no whole one.
func cutRecord(b []byte) (record, error) {
	if len(b) < recordHead {
		return record{}, errTorn
	}
	length := int64(binary.BigEndian.Uint32(b))
	if length > maxBody || length > int64(len(b)-recordHead) {
		return record{}, errTorn
	}
	end := recordHead + int(length)
	if crc32.Checksum(b[8:end], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return record{}, errTorn
	}
	return record{
		height: binary.BigEndian.Uint64(b[8:]), synced: binary.BigEndian.Uint64(b[16:]), size: end, body: b[recordHead:end],
	}, nil
}

// decode reads the block and its receipts.
func (r record) decode() (*ledgerv1.CertifiedBlock, []*ledgerv1.Receipt, error) {
	encoded, rest, ok := cutCounted(r.body)
	block := new(ledgerv1.CertifiedBlock)
	if !ok || proto.Unmarshal(encoded, block) != nil || block.Block == nil {
		return nil, nil, fmt.Errorf("%w: block %d cannot be read", ErrDamaged, r.height)
	}
	receipts := make([]*ledgerv1.Receipt, 0, len(block.Block.Transactions))
	for len(rest) > 0 {
		encoded, rest, ok = cutCounted(rest)
		receipt := new(ledgerv1.Receipt)
		if !ok || proto.Unmarshal(encoded, receipt) != nil {
			return nil, nil, fmt.Errorf("%w: receipts of block %d cannot be read", ErrDamaged, r.height)
		}
		receipts = append(receipts, receipt)
	}
	if len(receipts) != len(block.Block.Transactions) {
		return nil, nil, fmt.Errorf("%w: block %d has %d transactions and %d receipts", ErrDamaged, r.height, len(block.Block.Transactions), len(receipts))
	}
	return block, receipts, nil
}

func cutCounted(b []byte) (p, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}
