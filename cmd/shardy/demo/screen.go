package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/shardy-network/orchestrator/cmd/shardy/process"
)

// screen tells people how far the demo is. On a terminal the bars are drawn in place, else a line every tenth.
type screen struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex
	order []string
	bars  map[string]bar
	drawn int // lines of bars on the terminal, above the cursor
}

type bar struct{ done, of, said int }

func newScreen(out io.Writer, terminal bool) *screen {
	return &screen{out: out, terminal: terminal, bars: map[string]bar{}}
}

func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.out, format+"\n", args...)
	s.draw()
}

func (s *screen) progress(title string, done, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.bars[title]
	if !known {
		s.order = append(s.order, title)
	}
	if known && done == b.done {
		return
	}
	b.done, b.of = done, of
	if !s.terminal && of > 0 && (done == of || done*10/of > b.said) {
		b.said = done * 10 / of
		fmt.Fprintln(s.out, line(title, b))
	}
	s.bars[title] = b
	if s.terminal {
		s.erase()
		s.draw()
	}
}

func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *screen) draw() {
	if !s.terminal {
		return
	}
	for _, title := range s.order {
		fmt.Fprintln(s.out, line(title, s.bars[title]))
	}
	s.drawn = len(s.order)
}

func line(title string, b bar) string {
	const width = 40
	full := 0
	if b.of > 0 {
		full = b.done * width / b.of
	}
	return fmt.Sprintf("%-15s [%s%s] %d/%d verified", title, strings.Repeat("#", full), strings.Repeat(".", width-full), b.done, b.of)
}

// trouble shows the end of a process's log.
func (s *screen) trouble(g *process.Group, name string) {
	s.say("the last lines of %s:", name)
	for _, l := range g.LastLines(name, 15) {
		s.say("  %s", l)
	}
}

// report prints the summary: for people, or as one line of JSON.
func (d *show) report() error {
	if d.cfg.JSON {
		line, err := json.Marshal(d.sum)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(d.cfg.Out, "%s\n", line)
		return err
	}
	s := d.sum
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d jobs, %d verified by consensus, %d dead-lettered, in %.1f s.\n", s.Jobs, s.Verified, s.DeadLettered, s.Seconds)
	if wrong := s.WrongResults; wrong == 0 {
		b.WriteString("Every output equals the reference that was computed apart from the network.\n")
	} else {
		fmt.Fprintf(&b, "%d outputs DIFFER from the reference.\n", wrong)
	}
	fmt.Fprintf(&b, "Neural network: %.2f %% of the images recognised.\nPicture: %s\n\n", 100*s.Accuracy, s.Picture)
	if n := len(d.names(liar)); n > 0 {
		fmt.Fprintf(&b, "What %s did: signed %d wrong results. Each differed from the other replica's checksum (%d mismatches), so more\n"+
			"workers were asked until one answer led by two; %d wrong results were contradicted, %d honest ones.\n",
			strings.Join(d.names(liar), ", "), s.LiarsContradicted, s.Mismatches, s.LiarsContradicted, s.HonestContradicted)
	}
	if s.Referee > 0 {
		fmt.Fprintf(&b, "The referee decided %d of them.\n", s.Referee)
	}
	fmt.Fprintf(&b, "%d tasks were lost on the way (dropped sockets, %s killed in mid-task, %d ack timeouts) and went to another worker.\n",
		s.Reassigned, s.Killed, s.AckTimeouts)
	fmt.Fprintf(&b, "The log holds %d events; %d recorded commands were decided again from it: %d divergences.\n\n", s.Events, s.Replayed, s.Divergences)
	b.WriteString(d.next())
	_, err := io.WriteString(d.cfg.Out, b.String())
	return err
}
