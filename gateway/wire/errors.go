package wire

import (
	"errors"
	"fmt"
	"strings"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Error is a breach of the protocol, or another reason to end a session.
type Error struct {
	Code   workerv1.ErrorCode
	Detail string
}

// Errorf makes an Error.
func Errorf(code workerv1.ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	return strings.ToLower(strings.TrimPrefix(e.Code.String(), "ERROR_CODE_")) + ": " + e.Detail
}

// Is reports equality of codes, so that errors.Is(err, &Error{Code: c}) asks for a kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf is the code of an error of this package; ok is false for any other error.
func CodeOf(err error) (code workerv1.ErrorCode, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return workerv1.ErrorCode_ERROR_CODE_UNSPECIFIED, false
	}
	return e.Code, true
}

// CloseCode is the WebSocket close code that goes with an error code.
//
//	MALFORMED           1003  unsupported data
//	TOO_LARGE           1009  message too big
//	UNAVAILABLE         1013  try again later
//	DRAINING            1001  going away
//	every other code    4000 + code
//	UNSPECIFIED         1000  normal end
func CloseCode(code workerv1.ErrorCode) int {
	switch code {
	case workerv1.ErrorCode_ERROR_CODE_UNSPECIFIED:
		return 1000
	case workerv1.ErrorCode_ERROR_CODE_MALFORMED:
		return 1003
	case workerv1.ErrorCode_ERROR_CODE_TOO_LARGE:
		return 1009
	case workerv1.ErrorCode_ERROR_CODE_UNAVAILABLE:
		return 1013
	case workerv1.ErrorCode_ERROR_CODE_DRAINING:
		return 1001
	}
	return 4000 + int(code)
}

// RejectedCode is the WebSocket close code that follows a Rejected message.
const RejectedCode = 4100
