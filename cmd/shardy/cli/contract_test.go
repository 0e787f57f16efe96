package cli

import (
	"encoding/json"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func everyCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, do)
	}
}

// TestEveryCommandIsDocumented: each has an example that it would take, and a place in the contract.
func TestEveryCommandIsDocumented(t *testing.T) {
	contract, err := os.ReadFile("../JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	root, _ := newRoot(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" }, nil)
	seen := 0
	everyCommand(root, func(c *cobra.Command) {
		if c.HasSubCommands() {
			return
		}
		seen++
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no description or no example", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			fields := strings.Fields(regexp.MustCompile(`[<>].*|'[^']*'`).ReplaceAllString(line, "x"))
			if len(fields) == 0 || fields[0] != "shardy" {
				t.Errorf("%s: example %q is none", c.CommandPath(), line)
				continue
			}
			found, rest, err := root.Find(fields[1:])
			if err != nil || found != c {
				t.Errorf("%s: example %q is another command's", c.CommandPath(), line)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
		if !strings.Contains(string(contract), "`"+strings.TrimPrefix(c.CommandPath(), "shardy ")+"`") {
			t.Errorf("JSON.md does not speak of %s", c.CommandPath())
		}
	})
	if seen < 40 {
		t.Errorf("only %d commands: the walk is broken", seen)
	}
}

// TestPlainForm is the contract's rules, one by one.
func TestPlainForm(t *testing.T) {
	m := &operatorv1.Job{
		Id: "j", State: operatorv1.JobState_JOB_STATE_DEAD_LETTERED, SubmittedUs: 1 << 60, Wave: 1,
		Spec:       &eventv1.JobSpec{Module: []byte{0xab, 0xcd}, Kind: 99},
		DeadLetter: &eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, Agreeing: []uint32{1, 2}},
	}
	got, err := json.Marshal(plainMessage(m.ProtoReflect()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"state":"dead_lettered"`, `"submitted_us":1152921504606846976`, `"module":"abcd"`, `"kind":"99"`,
		`"agreeing":[1,2]`, `"reason":"no_quorum"`, `"slots":[]`, `"decided_us":0`, `"tenant":""`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	for _, not := range []string{`"verdict"`, `"policy"`} {
		if strings.Contains(string(got), not) {
			t.Errorf("%s is in %s", not, got)
		}
	}
	got, err = json.Marshal(setFields((&eventv1.Command{AtUs: 5, Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{}}}).ProtoReflect()))
	if err != nil || string(got) != `{"ack_task":{},"at_us":5}` {
		t.Errorf("a command is %s, %v", got, err)
	}
}

// TestTerminalsAreSafe: what strangers say cannot steer the terminal.
func TestTerminalsAreSafe(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[2Jgone": "?[2Jgone", "a\nb\tc": "a\nb\tc", "\u009b31m": "?31m", "Grüße, 世界": "Grüße, 世界", "bell\a": "bell?",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestCuttingTheInput(t *testing.T) {
	for _, c := range []struct {
		input string
		size  uint64
		want  string
	}{
		{"abcdef", 2, "ab|cd|ef"}, {"abcde", 2, "ab|cd|e"}, {"abc", 0, "abc"}, {"abc", 100, "abc"}, {"a", 1, "a"},
	} {
		chunks, err := cutInput([]byte(c.input), c.size)
		var parts []string
		for _, p := range chunks {
			parts = append(parts, string(p))
		}
		if got := strings.Join(parts, "|"); err != nil || got != c.want {
			t.Errorf("%q by %d: %q, %v", c.input, c.size, got, err)
		}
	}
	for _, size := range []uint64{0, 1, maxInput + 1} {
		if _, err := cutInput(nil, size); exitCode(err) != exitUsage {
			t.Errorf("nothing by %d: %v", size, err)
		}
	}
	if _, err := cutInput(make([]byte, 200_000), 1); exitCode(err) != exitUsage {
		t.Errorf("too many chunks: %v", err)
	}
}
