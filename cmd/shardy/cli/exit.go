package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// The exit codes; README and help name them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnavailable = 5
	exitTimeout     = 6
)

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func failed(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

func isUnknownCommand(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag")
}

var exitCodes = map[connect.Code]int{
	connect.CodeNotFound:           exitNotFound,
	connect.CodeInvalidArgument:    exitRefused,
	connect.CodeAlreadyExists:      exitRefused,
	connect.CodePermissionDenied:   exitRefused,
	connect.CodeUnauthenticated:    exitRefused,
	connect.CodeFailedPrecondition: exitRefused,
	connect.CodeResourceExhausted:  exitRefused,
	connect.CodeUnavailable:        exitUnavailable,
	connect.CodeDeadlineExceeded:   exitTimeout,
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitTimeout
	}
	if code, ok := exitCodes[connect.CodeOf(err)]; ok {
		return code
	}
	if errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitFailed
}

// failure is an error as --json prints it.
type failure struct {
	Error  string `json:"error"`
	Exit   int    `json:"exit"`
	Code   string `json:"code,omitempty"`   // of the API, for example not_found
	Reason string `json:"reason,omitempty"` // of the API or the ledger, for example JOB_DECIDED
}

// report prints an error and returns the exit code.
func (a *app) report(err error) int {
	f := failure{Error: err.Error(), Exit: exitCode(err)}
	switch {
	case f.Exit == exitTimeout && a.timeout > 0:
		f.Error = fmt.Sprintf("gave up after %s", a.timeout)
	case errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled:
		f.Error = "interrupted"
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		f.Code, f.Reason = e.Code().String(), reasonOf(e)
	}
	if e, ok := errors.AsType[*receiptError](err); ok {
		f.Reason = e.reason()
	}
	if !a.json {
		fmt.Fprintln(a.err, "shardy:", f.Error)
		if f.Exit == exitUsage {
			fmt.Fprintln(a.err, "shardy: see --help")
		}
		return f.Exit
	}
	line, jerr := json.Marshal(f)
	if jerr != nil {
		line = []byte(`{"error":"unprintable","exit":1}`)
	}
	fmt.Fprintln(a.err, string(line))
	return f.Exit
}

func reasonOf(e *connect.Error) string {
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				return info.Reason
			}
		}
	}
	return ""
}

// refusedJob is the refusal of one job of a batch as an error of its own.
func refusedJob(j *operatorv1.SubmittedJob) error {
	return connect.NewError(connect.Code(j.Code), errors.New(j.Detail))
}

// Usage makes an error one of usage: exit code 2.
func Usage(err error) error { return &exitError{exitUsage, err} }
