package settlement

import (
	"syscall"
	"time"
)

// threadTime is the processor time that the calling thread has taken.
func threadTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		return 0 // the kernel is older than this program can be
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
