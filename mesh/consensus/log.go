package consensus

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
)

// viewBegins is what the library logs right after a view has begun to listen. It is the only sign of it; a test holds
// that it still comes.
const viewBegins = "Starting view with number %d, sequence %d, and decisions %d"

// libraryLog is the library's logger. What the library would panic for ends the goroutine (its locks and wait groups are
// released by defers) and its instance.
type libraryLog struct {
	log   *slog.Logger
	begun func(view uint64)
	fail  func(error)
}

func (l *libraryLog) Debugf(string, ...any) {}

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
