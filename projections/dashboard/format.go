package dashboard

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/projections/readmodel"
)

// plain makes text of strangers safe to look at: control characters, and characters that turn the direction of writing
// or cannot be seen, become visible. Escaping for HTML is left to the template.
func plain(s string) string {
	clean := true
	for _, r := range s {
		if hidden(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == utf8.RuneError:
			b.WriteRune('\uFFFD')
		case r < 0x20:
			b.WriteRune(0x2400 + r) // control pictures
		case r == 0x7f:
			b.WriteRune('\u2421')
		case hidden(r):
			fmt.Fprintf(&b, "[U+%04X]", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	return r < 0x20 || r == 0x7f || r == utf8.RuneError || r != ' ' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) ||
		unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Co, r))
}

// clip cuts text to so many characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n == most-1 {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// words turns an identifier into words: ACK_TIMEOUT and ack_timeout become "ack timeout".
func words(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", " ")) }

// capital writes the first letter large.
func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

// enumWords names a value of a protobuf enum without the prefix that all its values share. It is "" for unspecified.
func enumWords(name, prefix string) string {
	name = strings.TrimPrefix(name, prefix)
	if name == "UNSPECIFIED" {
		return ""
	}
	return words(name)
}

// shortID shows the beginning and the end of a long id.
func shortID(id string) string {
	id = plain(id)
	if len(id) <= 14 {
		return id
	}
	if utf8.ValidString(id) && utf8.RuneCountInString(id) == len(id) {
		return id[:8] + "…" + id[len(id)-4:]
	}
	return clip(id, 14)
}

// shortKey shows a key or a hash.
func shortKey(b []byte) string {
	if len(b) == 0 {
		return "–"
	}
	return shortID(hex.EncodeToString(b))
}

// thousands writes a number with thin separators, for example 12 345.
func thousands[T int | int32 | int64 | uint | uint32 | uint64](n T) string {
	s := strconv.FormatUint(uint64(max(n, -n)), 10)
	if n > 0 || n == 0 {
		s = strconv.FormatUint(uint64(n), 10)
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	if n < 0 {
		return "−" + b.String()
	}
	return b.String()
}

// counted writes a count of the read model. One under filters may end at the model's limit.
func counted(n int64, filtered bool) string {
	if filtered && n >= readmodel.CountLimit {
		return thousands(n) + "+"
	}
	return thousands(n)
}

// anyCount is thousands for templates.
func anyCount(n any) (string, error) {
	switch n := n.(type) {
	case int:
		return thousands(n), nil
	case int32:
		return thousands(n), nil
	case int64:
		return thousands(n), nil
	case uint:
		return thousands(n), nil
	case uint32:
		return thousands(n), nil
	case uint64:
		return thousands(n), nil
	}
	return "", fmt.Errorf("count: %T is no number", n)
}

// sizeOf writes bytes in binary units, three digits: 1.50 MiB.
func sizeOf(n uint64) string {
	if n < 1024 {
		return thousands(n) + " B"
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := -1
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return threeDigits(f) + " " + units[i]
}

func threeDigits(f float64) string {
	switch {
	case f == math.Trunc(f) && f < 1000, f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// rateOf writes a number a second.
func rateOf(f float64) string {
	switch {
	case f <= 0 || math.IsNaN(f) || math.IsInf(f, 0):
		return "0"
	case f >= 1000:
		return thousands(int64(math.Round(f)))
	}
	return threeDigits(f)
}

// gflops writes milli-GFLOPS.
func gflops(milli uint64) string { return threeDigits(float64(milli)/1000) + " GFLOPS" }

// lasting writes a duration for people: 850 µs, 12 ms, 3.2 s, 4 min 10 s, 3 h 5 min, 2 d 4 h.
func lasting(d time.Duration) string {
	if d < 0 {
		return "−" + lasting(-max(d, -math.MaxInt64))
	}
	switch {
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return strconv.FormatInt(int64(d.Seconds()), 10) + " s"
	case d < time.Hour:
		return pair(int64(d/time.Minute), "min", int64(d%time.Minute/time.Second), "s")
	case d < 24*time.Hour:
		return pair(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "min")
	}
	return pair(int64(d/(24*time.Hour)), "d", int64(d%(24*time.Hour)/time.Hour), "h")
}

func pair(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unitA)
	}
	return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
}

// ago writes how long a time lies back: "now", "5 s ago", "3 min ago", "in 2 h". app.js writes the same words.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < 0 && d > -time.Second, d >= 0 && d < time.Second:
		return "now"
	case d < 0:
		return "in " + roughly(-d)
	}
	return roughly(d) + " ago"
}

func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}

// exact writes a time in full.
func exact(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }
