//go:build !unix

package socket

import "errors"

const canTryRead = false

func tryRead(uintptr, []byte) (int, bool, error) { return 0, false, errors.ErrUnsupported }
