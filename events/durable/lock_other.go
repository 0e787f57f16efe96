//go:build !unix

package durable

import "os"

// Lock only marks the folder: this system has no lock that ends with its process.
func Lock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}
