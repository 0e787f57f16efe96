package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

const recordedTag = "shardy/recorded/v1\x00"

// Limits of receipts for recorded results.
const (
	MaxRecorded      = 256 // results of one receipt
	MaxRecordedBytes = 128 << 10
	maxRecordedJob   = 256
)

// The refusals of receipts.
var (
	ErrReceipt   = errors.New("malformed receipt")
	ErrForged    = errors.New("receipt is not signed by the orchestrator")
	ErrNotOurs   = errors.New("receipt of another worker")
	errDuplicate = fmt.Errorf("%w: a token is there twice", ErrReceipt)
)

// Recorded is one result that an orchestrator has in its log.
type Recorded struct {
	Job      string
	Slot     uint32
	Token    uint64
	Checksum [32]byte
	Attested bool // it came with a valid attestation
}

// The numbers of fields in ReceiptsBody and RecordedResult: what a door writes thousands of times a second is written
// without the library's reflection; the bytes are the same.
const (
	fieldWorker, fieldAtUs, fieldResults                          = 1, 2, 3
	fieldJob, fieldSlot, fieldToken, fieldChecksum, fieldAttested = 1, 2, 3, 4, 5
)

// AppendRecorded appends a result to the results of a ReceiptsBody, of which SignRecorded makes the receipt.
func AppendRecorded(results []byte, r Recorded) []byte {
	size := 1 + protowire.SizeBytes(sha256.Size)
	if r.Job != "" {
		size += 1 + protowire.SizeBytes(len(r.Job))
	}
	if r.Slot != 0 {
		size += 1 + protowire.SizeVarint(uint64(r.Slot))
	}
	if r.Token != 0 {
		size += 1 + protowire.SizeVarint(r.Token)
	}
	if r.Attested {
		size += 2
	}
	b := protowire.AppendTag(results, fieldResults, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if r.Job != "" {
		b = protowire.AppendTag(b, fieldJob, protowire.BytesType)
		b = protowire.AppendString(b, r.Job)
	}
	if r.Slot != 0 {
		b = protowire.AppendTag(b, fieldSlot, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(r.Slot))
	}
	if r.Token != 0 {
		b = protowire.AppendTag(b, fieldToken, protowire.VarintType)
		b = protowire.AppendVarint(b, r.Token)
	}
	b = protowire.AppendTag(b, fieldChecksum, protowire.BytesType)
	b = protowire.AppendBytes(b, r.Checksum[:])
	if r.Attested {
		b = protowire.AppendTag(b, fieldAttested, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// SignRecorded makes the receipt of results that AppendRecorded has encoded. It keeps nothing of them.
func SignRecorded(key ed25519.PrivateKey, worker []byte, atUs int64, results []byte) *workerv1.Receipts {
	text := make([]byte, 0, len(recordedTag)+2*(2+ed25519.PublicKeySize)+len(results))
	text = append(text, recordedTag...)
	text = protowire.AppendTag(text, fieldWorker, protowire.BytesType)
	text = protowire.AppendBytes(text, worker)
	if atUs != 0 {
		text = protowire.AppendTag(text, fieldAtUs, protowire.VarintType)
		text = protowire.AppendVarint(text, uint64(atUs))
	}
	text = append(text, results...)
	return &workerv1.Receipts{Body: text[len(recordedTag):], Signature: ed25519.Sign(key, text)}
}

// RecordedText is what an orchestrator signs of an encoded ReceiptsBody.
func RecordedText(body []byte) []byte {
	return append(append(make([]byte, 0, len(recordedTag)+len(body)), recordedTag...), body...)
}

// VerifyRecorded returns what a receipt says, if it is the orchestrator's and for the worker. A worker of nil means any.
func VerifyRecorded(orchestrator, worker []byte, r *workerv1.Receipts) (*workerv1.ReceiptsBody, error) {
	if len(r.GetBody()) == 0 || len(r.Body) > MaxRecordedBytes || len(r.Signature) != ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: body of %d bytes, signature of %d", ErrReceipt, len(r.GetBody()), len(r.GetSignature()))
	}
	if len(orchestrator) != ed25519.PublicKeySize || !ed25519.Verify(orchestrator, RecordedText(r.Body), r.Signature) {
		return nil, ErrForged
	}
	body := new(workerv1.ReceiptsBody)
	if err := proto.Unmarshal(r.Body, body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if err := checkRecorded(body); err != nil {
		return nil, err
	}
	if worker != nil && string(body.Worker) != string(worker) {
		return nil, fmt.Errorf("%w: %.8x", ErrNotOurs, body.Worker)
	}
	return body, nil
}

func checkRecorded(body *workerv1.ReceiptsBody) error {
	if len(body.Worker) != ed25519.PublicKeySize || body.AtUs <= 0 {
		return fmt.Errorf("%w: worker of %d bytes at %d", ErrReceipt, len(body.Worker), body.AtUs)
	}
	if len(body.Results) == 0 || len(body.Results) > MaxRecorded {
		return fmt.Errorf("%w: %d results, want 1 to %d", ErrReceipt, len(body.Results), MaxRecorded)
	}
	type attempt struct {
		job   string
		slot  uint32
		token uint64
	}
	seen := make(map[attempt]bool, len(body.Results))
	for _, r := range body.Results {
		if r.GetJob() == "" || len(r.Job) > maxRecordedJob || len(r.Checksum) != sha256.Size {
			return fmt.Errorf("%w: job of %d bytes, checksum of %d", ErrReceipt, len(r.GetJob()), len(r.GetChecksum()))
		}
		at := attempt{r.Job, r.Slot, r.Token}
		if seen[at] {
			return errDuplicate
		}
		seen[at] = true
	}
	return nil
}
