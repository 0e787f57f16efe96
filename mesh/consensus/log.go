package consensus

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
)

// What the library logs right after a view has begun to listen, when it has handed a block over, and when it goes on from it.
// It gives no other sign of these; a test holds that they still come.
const (
	viewBegins = "Starting view with number %d, sequence %d, and decisions %d"
	delivered  = "Node %d delivered proposal"
	decided    = "view(%d) + (decisionsInView(%d) / decisionsPerLeader(%d)), N(%d), blacklist(%v)"
)

// libraryLog is the library's logger. What the library would panic for ends the goroutine (its locks and wait groups are
// released by defers) and its instance.
type libraryLog struct {
	log     *slog.Logger
	begun   func(view uint64)
	decides func(bool)
	fail    func(error)
}

func (l *libraryLog) Debugf(template string, _ ...any) {
	switch template {
	case delivered:
		l.decides(true)
	case decided:
		l.decides(false)
	}
}

func (l *libraryLog) Infof(template string, args ...any) {
	if template == viewBegins && len(args) > 0 {
		if view, ok := args[0].(uint64); ok {
			l.begun(view)
		}
	}
	l.write(slog.LevelDebug, template, args)
}

func (l *libraryLog) Warnf(template string, args ...any) { l.write(slog.LevelDebug, template, args) }

func (l *libraryLog) Errorf(template string, args ...any) { l.write(slog.LevelWarn, template, args) }

func (l *libraryLog) Panicf(template string, args ...any) {
	l.fail(fmt.Errorf("%w: %s", ErrLibrary, fmt.Sprintf(template, args...)))
	runtime.Goexit()
}

func (l *libraryLog) write(level slog.Level, template string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "smartbft", "said", fmt.Sprintf(template, args...))
	}
}
