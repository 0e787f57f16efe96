package process

import "syscall"

// dieWithParent makes the kernel end the process when the one that started it dies.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
