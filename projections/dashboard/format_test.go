package dashboard

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFiguresInWords(t *testing.T) {
	for got, want := range map[string]string{
		thousands(0): "0", thousands(1234567): "1\u202f234\u202f567", thousands(-1234): "−1\u202f234", thousands(int64(math.MinInt64)): "−9\u202f223\u202f372\u202f036\u202f854\u202f775\u202f808",
		thousands(uint64(math.MaxUint64)): "18\u202f446\u202f744\u202f073\u202f709\u202f551\u202f615",
		sizeOf(0):                         "0 B", sizeOf(1023): "1\u202f023 B", sizeOf(1536): "1.50 KiB", sizeOf(10 << 20): "10 MiB", sizeOf(math.MaxUint64): "16 EiB",
		rateOf(0): "0", rateOf(math.NaN()): "0", rateOf(0.25): "0.25", rateOf(66.44): "66.4", rateOf(12345.6): "12\u202f346",
		gflops(61_000): "61 GFLOPS", gflops(250): "0.25 GFLOPS",
		lasting(0): "0 s", lasting(850 * time.Microsecond): "850 µs", lasting(12 * time.Millisecond): "12 ms", lasting(3200 * time.Millisecond): "3.2 s",
		lasting(250 * time.Second): "4 min 10 s", lasting(3 * time.Hour): "3 h", lasting(52 * time.Hour): "2 d 4 h", lasting(-time.Second): "−1.0 s",
		words("ACK_TIMEOUT"): "ack timeout", capital("élan"): "Élan", capital(""): "", capital("\u0301x"): "\u0301x", enumWords("ROLE_UNSPECIFIED", "ROLE_"): "", enumWords("ROLE_BIG_BOSS", "ROLE_"): "big boss",
		shortID("01k9x2"): "01k9x2", shortID("01k9x2aaaaaaaaaaaaaaaaabcd"): "01k9x2aa…abcd",
		plain("a\x1b[31mred"): "a␛[31mred", plain("evil\u202egpj.exe"): "evil[U+202E]gpj.exe", plain("a\x00b\x7f"): "a␀b␡", plain("a\xffb"): "a\uFFFDb",
		clip("abcdef", 4): "abc…", clip("ab", 4): "ab", clip("ééééé", 4): "ééé…",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	now := time.Now()
	for d, want := range map[time.Duration]string{0: "now", 5 * time.Second: "5 s ago", 3 * time.Minute: "3 min ago", 30 * time.Hour: "30 h ago", 72 * time.Hour: "3 d ago", -2 * time.Hour: "in 2 h"} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestPlainTextIsSafeToLookAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom(nil, unicode.Cc, unicode.Cf)), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		got := plain(s)
		if !utf8.ValidString(got) || plain(got) != got {
			t.Fatalf("plain(%q) = %q, which is not plain", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("plain(%q) lets %U through", s, r)
			}
		}
		n := rapid.IntRange(1, 40).Draw(t, "most")
		if c := clip(s, n); len(s) > n && utf8.RuneCountInString(c) > n {
			t.Fatalf("clip(%q, %d) = %q", s, n, c)
		}
	})
}

func TestNiceTop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(0, 1e9).Draw(t, "v")
		top := niceTop(v)
		if top < v || v > 1 && top > 2*v {
			t.Fatalf("niceTop(%v) = %v", v, top)
		}
	})
}

var token = regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)

// colours reads the tokens of one theme out of the style sheet.
func colours(css string) map[string]string {
	out := map[string]string{}
	for _, m := range token.FindAllStringSubmatch(css, -1) {
		out[m[1]] = m[2]
	}
	return out
}

func luminance(t *testing.T, hex string) float64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "#"), 16, 32)
	if err != nil || len(hex) != 7 {
		t.Fatalf("colour %q: %v", hex, err)
	}
	part := func(v uint64) float64 {
		c := float64(v&255) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(n>>16) + 0.7152*part(n>>8) + 0.0722*part(n)
}

// TestContrast holds every pair of colours that text uses to WCAG 2.2 AA, 4.5 to 1, in both themes, and the dark theme
// to being the same by choice and by the system's wish.
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, ok := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark theme")
	}
	wished, chosen, ok := strings.Cut(rest, `:root[data-theme="dark"]`)
	if !ok {
		t.Fatal("no dark theme by choice")
	}
	chosen, _, _ = strings.Cut(chosen, "}")
	for name, theme := range map[string]map[string]string{"light": colours(light), "dark by wish": colours(wished), "dark by choice": colours(chosen)} {
		for _, pair := range [][2]string{
			{"text", "bg"},
			{"text", "panel"},
			{"text", "sunk"},
			{"muted", "bg"},
			{"muted", "panel"},
			{"muted", "sunk"},
			{"accent", "bg"},
			{"accent", "panel"},
			{"accent", "accent-soft"},
			{"on-accent", "accent"},
			{"verified", "verified-soft"},
			{"mismatch", "mismatch-soft"},
			{"dead", "dead-soft"},
			{"dead", "bg"},
			{"panel", "dead"},
			{"waiting", "waiting-soft"},
			{"running", "running-soft"},
		} {
			a, b := luminance(t, theme[pair[0]]), luminance(t, theme[pair[1]])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
				t.Errorf("%s: %s on %s is %.2f to 1", name, pair[0], pair[1], ratio)
			}
		}
		for _, part := range []string{"line-strong", "chart-verified"} {
			a, b := luminance(t, theme[part]), luminance(t, theme["panel"])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 3 {
				t.Errorf("%s: %s on a panel is %.2f to 1", name, part, ratio)
			}
		}
	}
	if a, b := colours(wished), colours(chosen); len(a) != len(b) {
		t.Errorf("dark by wish has %d colours, by choice %d", len(a), len(b))
	} else {
		for k, v := range a {
			if b[k] != v {
				t.Errorf("dark --%s is %s by wish, %s by choice", k, v, b[k])
			}
		}
	}
}
