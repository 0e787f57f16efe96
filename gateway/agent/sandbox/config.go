package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const (
	// DefaultMaxOutput is the output limit of a task that names none.
	DefaultMaxOutput = 16 << 20
	// MaxFuel is the largest fuel limit of a task: what fits the signed counter inside a module.
	MaxFuel = 1<<62 - 1

	mebibyte = 1 << 20
	// engineReserve is what the child needs beside the memory of a module: compiled code, frames, Go's heap, and
	// what the threads of a program linked with libc reserve without ever touching it, some 72 MiB each.
	engineReserve = 1024 * mebibyte
)

// Config describes a sandbox. The zero value means the defaults.
type Config struct {
	// Command starts the child: a program whose main calls Child. Default: this executable, "sandbox-child".
	Command []string
	// MemoryLimit is the address space in bytes the child may add to what its idle process holds.
	// Default 2 GiB; at least MaxModuleMemory + 1 GiB.
	MemoryLimit uint64
	// MaxModuleMemory is the largest linear memory of a module, in bytes. Default 512 MiB, at most 4 GiB.
	MaxModuleMemory uint64
	// MaxModuleBytes is the size of the largest module. Default 4 MiB.
	MaxModuleBytes int
	// MaxPayload is the size of the largest input or output. Default 64 MiB, at most 1 GiB.
	MaxPayload uint64
	// MaxModules is how many compiled modules the child keeps. Default 16.
	MaxModules int
	// StartTimeout bounds the start of a child. Default 10 s.
	StartTimeout time.Duration
	// CompileTimeout bounds one compilation. Default 10 s.
	CompileTimeout time.Duration
	// RunTimeout bounds a task that has no timeout of its own. Default 60 s.
	RunTimeout time.Duration
	// Nice is added to the child's scheduling priority, 0 to 19. Default 10; negative means 0.
	Nice int
	// CacheDir keeps compiled code across children. What it holds is executed as native code, so only this user
	// may write there. Default: no cache.
	CacheDir string
}

// Validate reports the first value that is out of range.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Command) == 0 {
		self, err := selfPath()
		if err != nil {
			return c, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		c.Command = []string{self, "sandbox-child"}
	}
	setDefault(&c.MaxModuleMemory, 512*mebibyte)
	setDefault(&c.MemoryLimit, max(2048*mebibyte, c.MaxModuleMemory+engineReserve))
	setDefault(&c.MaxModuleBytes, 4*mebibyte)
	setDefault(&c.MaxPayload, 64*mebibyte)
	setDefault(&c.MaxModules, 16)
	setDefault(&c.StartTimeout, 10*time.Second)
	setDefault(&c.CompileTimeout, 10*time.Second)
	setDefault(&c.RunTimeout, time.Minute)
	setDefault(&c.Nice, 10)
	c.Nice = max(c.Nice, 0)
	switch {
	case c.MaxModuleMemory > 4096*mebibyte:
		return c, fmt.Errorf("%w: max module memory %d above 4 GiB", ErrConfig, c.MaxModuleMemory)
	case c.MemoryLimit < c.MaxModuleMemory+engineReserve:
		return c, fmt.Errorf("%w: memory limit %d below max module memory + %d", ErrConfig, c.MemoryLimit, uint64(engineReserve))
	case c.MaxPayload > 1024*mebibyte:
		return c, fmt.Errorf("%w: max payload %d above 1 GiB", ErrConfig, c.MaxPayload)
	case c.MaxModuleBytes < 0 || c.MaxModuleBytes > 64*mebibyte:
		return c, fmt.Errorf("%w: max module bytes %d", ErrConfig, c.MaxModuleBytes)
	case c.MaxModules < 0 || c.MaxModules > 1024:
		return c, fmt.Errorf("%w: max modules %d", ErrConfig, c.MaxModules)
	case c.StartTimeout < 0 || c.CompileTimeout < 0 || c.RunTimeout < 0:
		return c, fmt.Errorf("%w: negative timeout", ErrConfig)
	case c.Nice > 19:
		return c, fmt.Errorf("%w: nice %d above 19", ErrConfig, c.Nice)
	case c.CacheDir != "" && !filepath.IsAbs(c.CacheDir):
		return c, fmt.Errorf("%w: cache folder %q is not absolute", ErrConfig, c.CacheDir)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// selfPath names this executable, even after its file was replaced.
func selfPath() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// childConfig is what the child has to know; the first frame carries it.
type childConfig struct {
	memoryLimit    uint64
	maxPages       uint32
	maxModuleBytes uint32
	maxPayload     uint64
	compileSeconds uint32
	nice           uint32
	cacheDir       string
}

const childConfigSize = 32

func (c Config) encode() []byte {
	b := make([]byte, 0, childConfigSize+len(c.CacheDir))
	b = binary.LittleEndian.AppendUint64(b, c.MemoryLimit)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.MaxModuleMemory/65536))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.MaxModuleBytes))
	b = binary.LittleEndian.AppendUint64(b, c.MaxPayload)
	b = binary.LittleEndian.AppendUint32(b, wholeSeconds(c.CompileTimeout))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.Nice))
	return append(b, c.CacheDir...)
}

func decodeChildConfig(b []byte) (childConfig, error) {
	if len(b) < childConfigSize || len(b) > childConfigSize+4096 {
		return childConfig{}, fmt.Errorf("%w: configuration of %d bytes", ErrProtocol, len(b))
	}
	return childConfig{
		memoryLimit:    binary.LittleEndian.Uint64(b),
		maxPages:       min(binary.LittleEndian.Uint32(b[8:]), 65536),
		maxModuleBytes: binary.LittleEndian.Uint32(b[12:]),
		maxPayload:     binary.LittleEndian.Uint64(b[16:]),
		compileSeconds: binary.LittleEndian.Uint32(b[24:]),
		nice:           binary.LittleEndian.Uint32(b[28:]),
		cacheDir:       string(b[childConfigSize:]),
	}, nil
}

func wholeSeconds(d time.Duration) uint32 {
	return uint32(min((d+time.Second-1)/time.Second, 1<<30))
}
