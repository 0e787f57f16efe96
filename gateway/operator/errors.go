package operator

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/host"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/module"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/transparency"
)

// ErrorDomain is the domain of every ErrorInfo detail.
const ErrorDomain = "shardy.network"

// The refusals of this door.
var (
	errNoToken   = errors.New("a bearer token is needed")
	errBadToken  = errors.New("unknown bearer token")
	errRole      = errors.New("the token's role does not allow this")
	errTenant    = errors.New("the token is not of this tenant")
	errRate      = errors.New("too many requests for this token")
	errFull      = errors.New("too many requests at once")
	errStreams   = errors.New("too many open streams")
	errSlow      = errors.New("the watcher is too slow: read the state again and watch anew")
	errNotFound  = errors.New("no such thing")
	errUndecided = errors.New("the job is not verified")
	errUnended   = errors.New("the pipeline is not completed")
	errModule    = errors.New("the module is not admitted")
	errBlob      = errors.New("the content is not in the store")
	errClosing   = errors.New("the server is closing")
	errStageOver = errors.New("the stage of the pipeline is over")
	errChunk     = errors.New("the pipeline's chunk is in other hands")
	errRinger    = errors.New("a ringer's answer belongs to what it asks: it is not edited")
	errNoOutput  = errors.New("the slot returned no content")
	errNoMesh    = errors.New("this orchestrator runs without --mesh")
	errAddress   = errors.New("too many requests from this address")
	errLearning  = errors.New("blocks are still being read: ask again")
	errWaits     = errors.New("too many wait for a block")
	errHidden    = errors.New("results stay hidden while the job may be computed again")
)

// invalid is a request that says something impossible.
type invalid struct{ field, why string }

func (e *invalid) Error() string { return e.field + ": " + e.why }

func refuse(field, why string) error { return &invalid{field, why} }

// mapping is one row of the table from refusals to Connect codes. Reason goes into the ErrorInfo detail.
type mapping struct {
	err    error
	code   connect.Code
	reason string
}

// mappings is read from the top; the first match counts.
var mappings = []mapping{
	{errNoToken, connect.CodeUnauthenticated, "NO_TOKEN"},
	{errBadToken, connect.CodeUnauthenticated, "BAD_TOKEN"},
	{errRole, connect.CodePermissionDenied, "ROLE"},
	{errTenant, connect.CodePermissionDenied, "TENANT"},
	{errRate, connect.CodeResourceExhausted, "RATE"},
	{errFull, connect.CodeResourceExhausted, "BUSY"},
	{errStreams, connect.CodeResourceExhausted, "STREAMS"},
	{errAddress, connect.CodeResourceExhausted, "RATE"},
	{errWaits, connect.CodeResourceExhausted, "WAITS"},
	{errLearning, connect.CodeUnavailable, "LEARNING"},
	{errNoMesh, connect.CodeUnimplemented, "NO_MESH"},
	{errSlow, connect.CodeResourceExhausted, "SLOW_WATCHER"},
	{errNotFound, connect.CodeNotFound, "NOT_FOUND"},
	{errUndecided, connect.CodeFailedPrecondition, "UNDECIDED"},
	{errUnended, connect.CodeFailedPrecondition, "UNENDED"},
	{errModule, connect.CodeFailedPrecondition, "MODULE_UNKNOWN"},
	{errBlob, connect.CodeFailedPrecondition, "BLOB_UNKNOWN"},
	{errStageOver, connect.CodeFailedPrecondition, "PIPELINE_STAGE_OVER"},
	{errChunk, connect.CodeFailedPrecondition, "PIPELINE_CHUNK_TAKEN"},
	{errRinger, connect.CodeFailedPrecondition, "RINGER"},
	{errNoOutput, connect.CodeFailedPrecondition, "NO_OUTPUT"},
	{errHidden, connect.CodePermissionDenied, "RESULT_HIDDEN"},
	{errKey, connect.CodeInvalidArgument, "VERIFICATION_KEY"},
	{errClosing, connect.CodeUnavailable, "CLOSING"},
	{ErrPage, connect.CodeInvalidArgument, "PAGE_TOKEN"},
	{ErrLists, connect.CodeUnavailable, "LISTS_BUILDING"},

	{events.ErrBadID, connect.CodeInvalidArgument, "BAD_ID"},
	{events.ErrConflict, connect.CodeAborted, "CONFLICT"},
	{events.ErrNotFound, connect.CodeNotFound, "NOT_FOUND"},
	{events.ErrDeleted, connect.CodeNotFound, "DELETED"},
	{events.ErrTooLarge, connect.CodeInvalidArgument, "TOO_LARGE"},
	{events.ErrInvalid, connect.CodeInvalidArgument, "INVALID"},
	{events.ErrUnavailable, connect.CodeUnavailable, "LOG_UNAVAILABLE"},
	{events.ErrClosed, connect.CodeUnavailable, "CLOSING"},
	{events.ErrDenied, connect.CodeInternal, "LOG_DENIED"},
	{events.ErrUnsupported, connect.CodeUnimplemented, "UNSUPPORTED"},
	{events.ErrCorrupt, connect.CodeDataLoss, "CORRUPT"},
	{events.ErrMalformed, connect.CodeDataLoss, "MALFORMED"},
	{events.ErrUnknownType, connect.CodeDataLoss, "UNKNOWN_TYPE"},
	{actors.ErrUnknownFact, connect.CodeDataLoss, "UNKNOWN_FACT"},
	{actors.ErrUnknownCommand, connect.CodeInternal, "UNKNOWN_COMMAND"},
	{actors.ErrUndecidable, connect.CodeInternal, "UNDECIDABLE"},

	{audit.ErrTooLarge, connect.CodeResourceExhausted, "TOO_MANY_RECORDS"},
	{transparency.ErrBeyond, connect.CodeUnavailable, "NOT_SIGNED_YET"},
	{transparency.ErrNone, connect.CodeUnavailable, "NOT_SIGNED_YET"},
	{transparency.ErrHistory, connect.CodeDataLoss, "CORRUPT"},
	{transparency.ErrProof, connect.CodeDataLoss, "CORRUPT"},

	{blobs.ErrNotFound, connect.CodeNotFound, "NOT_FOUND"},
	{blobs.ErrTooLarge, connect.CodeInvalidArgument, "TOO_LARGE"},
	{blobs.ErrCorrupt, connect.CodeDataLoss, "CORRUPT"},

	{host.ErrBusy, connect.CodeResourceExhausted, "BUSY"},
	{host.ErrStopped, connect.CodeUnavailable, "CLOSING"},
	{host.ErrUnknownRoom, connect.CodeInternal, "UNKNOWN_ROOM"},

	{job.ErrNotFound, connect.CodeNotFound, "NOT_FOUND"},
	{job.ErrInvalid, connect.CodeInvalidArgument, "JOB_INVALID"},
	{job.ErrRequestConflict, connect.CodeAlreadyExists, "REQUEST_CONFLICT"},
	{job.ErrDecided, connect.CodeFailedPrecondition, "JOB_DECIDED"},
	{job.ErrDeadLettered, connect.CodeFailedPrecondition, "JOB_DEAD_LETTERED"},
	{job.ErrNotDeadLettered, connect.CodeFailedPrecondition, "JOB_NOT_DEAD_LETTERED"},
	{job.ErrAnotherRound, connect.CodeFailedPrecondition, "JOB_ANOTHER_ROUND"},
	{job.ErrTooManyRounds, connect.CodeFailedPrecondition, "JOB_TOO_MANY_ROUNDS"},
	{pipeline.ErrNotFound, connect.CodeNotFound, "NOT_FOUND"},
	{pipeline.ErrInvalid, connect.CodeInvalidArgument, "PIPELINE_INVALID"},
	{pipeline.ErrRequestConflict, connect.CodeAlreadyExists, "REQUEST_CONFLICT"},
	{pipeline.ErrEnded, connect.CodeFailedPrecondition, "PIPELINE_ENDED"},
	{policy.ErrInvalid, connect.CodeInvalidArgument, "POLICY_INVALID"},
	{module.ErrInvalid, connect.CodeInvalidArgument, "MODULE_INVALID"},
	{worker.ErrInvalid, connect.CodeInvalidArgument, "WORKER_INVALID"},
	{worker.ErrNotRegistered, connect.CodeNotFound, "NOT_FOUND"},
	{worker.ErrBanned, connect.CodeFailedPrecondition, "WORKER_BANNED"},

	{ErrNotOnLedger, connect.CodeNotFound, "NOT_FOUND"},
	{ErrLedgerPruned, connect.CodeNotFound, "PRUNED"},
	{ErrLedgerFull, connect.CodeResourceExhausted, "LEDGER_FULL"},
	{ErrLedgerDown, connect.CodeUnavailable, "LEDGER_DOWN"},
	{ledger.ErrMalformed, connect.CodeInvalidArgument, "TRANSACTION_MALFORMED"},
	{ledger.ErrTooLarge, connect.CodeInvalidArgument, "TRANSACTION_TOO_LARGE"},
	{ledger.ErrSignature, connect.CodeInvalidArgument, "TRANSACTION_SIGNATURE"},
	{ledger.ErrChain, connect.CodeInvalidArgument, "TRANSACTION_CHAIN"},
	{ledger.ErrEvidence, connect.CodeInvalidArgument, "TRANSACTION_EVIDENCE"},

	{context.Canceled, connect.CodeCanceled, "CANCELLED"},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded, "DEADLINE"},
}

// classify finds the code of a refusal. Whatever the table does not know is an internal error.
func classify(err error) (connect.Code, string) {
	for i := range mappings {
		if errors.Is(err, mappings[i].err) {
			return mappings[i].code, mappings[i].reason
		}
	}
	if _, ok := errors.AsType[*invalid](err); ok {
		return connect.CodeInvalidArgument, "INVALID"
	}
	if r, ok := errors.AsType[*ModuleRefusal](err); ok {
		return connect.CodeInvalidArgument, "MODULE_REFUSED_" + screaming(r.Code)
	}
	if r, ok := errors.AsType[*LedgerRefusal](err); ok {
		return connect.CodeFailedPrecondition, "TRANSACTION_" + strings.TrimPrefix(r.Code.String(), "RECEIPT_CODE_")
	}
	return connect.CodeInternal, "INTERNAL"
}

// screaming turns a code into the form that reasons have: A-Z, 0-9 and underscores.
func screaming(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z':
			b[i] = c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}

// toConnect turns a refusal into what the client sees: code, text, and an ErrorInfo with the typed reason. The text of
// an internal error stays here.
func toConnect(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	code, reason := classify(err)
	info := &errdetails.ErrorInfo{Reason: reason, Domain: ErrorDomain}
	if bad, ok := errors.AsType[*invalid](err); ok {
		info.Metadata = map[string]string{"field": bad.field}
	}
	if code == connect.CodeInternal || code == connect.CodeDataLoss {
		slog.Error("operator request failed", "reason", reason, "error", err)
		err = errors.New("internal error: the server's log has the cause")
	}
	fast, _ := errors.AsType[*tooFast](err)
	out := connect.NewError(code, err)
	if d, derr := connect.NewErrorDetail(info); derr == nil {
		out.AddDetail(d)
	}
	if fast == nil {
		return out
	}
	if d, derr := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(fast.wait)}); derr == nil {
		out.AddDetail(d)
	}
	return out
}
