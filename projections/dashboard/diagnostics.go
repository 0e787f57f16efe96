package dashboard

import (
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

func (d *Dashboard) diagnosticsPages() []page {
	return []page{{
		name: "diagnostics", route: "/diagnostics", title: "Diagnostics", nav: "diagnostics", needs: staff, every: 2 * time.Second, view: d.diagnostics,
	}}
}

type diagnosticsView struct {
	Sections []section
}

// section is a Section, made safe and bounded.
type section struct {
	ID, Title, Note, Text string
	Origins               bool // some value has one
	Rows                  []SectionRow
	Table                 *table
}

// Wide reports whether the section needs the whole width.
func (s section) Wide() bool { return s.Table != nil || s.Text != "" || s.Origins }

// The bounds of what is shown of a Section.
const (
	maxSections    = 64
	maxSectionRows = 512
	maxSectionText = 16 << 10
)

func (d *Dashboard) diagnostics(ctx context.Context, q *ask) (any, error) {
	sections := []Section{d.processSection(q.Now), memorySection(), d.dashboardSection()}
	if d.deps.Diagnostics != nil {
		more, err := d.deps.Diagnostics(ctx)
		if err != nil {
			return nil, err
		}
		sections = append(sections, more...)
	}
	v := &diagnosticsView{}
	for i, s := range sections[:min(len(sections), maxSections)] {
		v.Sections = append(v.Sections, sectionOf(i, s))
	}
	return v, nil
}

func sectionOf(i int, s Section) section {
	out := section{ID: "section-" + strconv.Itoa(i), Title: clip(plain(s.Title), 80), Note: clip(plain(s.Note), 400)}
	for _, r := range s.Rows[:min(len(s.Rows), maxSectionRows)] {
		r.Name, r.Value, r.Origin = clip(plain(r.Name), 120), clip(plain(r.Value), 2048), clip(plain(r.Origin), 80)
		if r.Value == "" {
			r.Value = "–"
		}
		out.Origins = out.Origins || r.Origin != ""
		out.Rows = append(out.Rows, r)
	}
	if !out.Origins { // settings keep the names that they are set by
		for i := range out.Rows {
			out.Rows[i].Name = named(out.Rows[i].Name)
		}
	}
	if len(s.Columns) > 0 {
		t := &table{Caption: out.Title, Compact: fewAndShort(s.Columns), Columns: columns(s.Columns...), Empty: empty{Title: "Nothing"}}
		for _, line := range s.Table[:min(len(s.Table), maxSectionRows)] {
			var cells []cell
			for _, c := range line {
				cells = append(cells, text(c))
			}
			t.add("", cells...)
		}
		out.Table = t
	}
	var lines []string
	for line := range strings.Lines(s.Text) {
		lines = append(lines, strings.ReplaceAll(plain(strings.TrimRight(line, "\r\n")), "\u2409", "  "))
	}
	out.Text = clip(strings.Join(lines, "\n"), maxSectionText)
	return out
}

// named turns the name of a counter into words: events_appended becomes Events appended.
func named(s string) string { return capital(strings.ReplaceAll(s, "_", " ")) }

// fewAndShort reports whether a table with these titles has room on a narrow screen.
func fewAndShort(titles []string) bool {
	sum := 0
	for _, t := range titles {
		sum += len(t)
	}
	return len(titles) <= 5 && sum <= 40
}

func (d *Dashboard) processSection(now time.Time) Section {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	s := Section{Title: "Process", Rows: []SectionRow{
		{Name: "Version", Value: d.deps.Version},
		{Name: "Node", Value: d.deps.Node},
		{Name: "Host", Value: host},
		{Name: "Process id", Value: strconv.Itoa(os.Getpid())},
		{Name: "Up for", Value: lasting(now.Sub(d.begin).Truncate(time.Second))},
		{Name: "Go", Value: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH},
		{Name: "Processors", Value: strconv.Itoa(runtime.GOMAXPROCS(0)) + " of " + strconv.Itoa(runtime.NumCPU())},
	}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return s
	}
	s.Rows = append(s.Rows, SectionRow{Name: "Module", Value: info.Main.Path + " " + info.Main.Version})
	for _, b := range info.Settings {
		switch b.Key {
		case "vcs.revision":
			s.Rows = append(s.Rows, SectionRow{Name: "Revision", Value: b.Value})
		case "vcs.time":
			s.Rows = append(s.Rows, SectionRow{Name: "Revision of", Value: b.Value})
		case "vcs.modified":
			s.Rows = append(s.Rows, SectionRow{Name: "Modified", Value: b.Value})
		}
	}
	return s
}

// memoryMetrics are read from the runtime, with their names for people. They stop nothing.
var memoryMetrics = []struct {
	key, name string
	bytes     bool
}{
	{"/sched/goroutines:goroutines", "Goroutines", false},
	{"/memory/classes/total:bytes", "Memory mapped", true},
	{"/memory/classes/heap/objects:bytes", "Heap in objects", true},
	{"/memory/classes/heap/released:bytes", "Heap given back", true},
	{"/memory/classes/heap/stacks:bytes", "Stacks", true},
	{"/gc/heap/goal:bytes", "Heap at the next collection", true},
	{"/gc/cycles/total:gc-cycles", "Collections", false},
}

func memorySection() Section {
	samples := make([]metrics.Sample, len(memoryMetrics))
	for i, m := range memoryMetrics {
		samples[i].Name = m.key
	}
	metrics.Read(samples)
	s := Section{Title: "Memory"}
	for i, m := range memoryMetrics {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			continue
		}
		value := thousands(samples[i].Value.Uint64())
		if m.bytes {
			value = sizeOf(samples[i].Value.Uint64())
		}
		s.Rows = append(s.Rows, SectionRow{Name: m.name, Value: value})
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		s.Rows = append(s.Rows, SectionRow{Name: "Memory limit", Value: sizeOf(uint64(limit))})
	}
	return s
}

func (d *Dashboard) dashboardSection() Section {
	streams, rooms := d.live.count()
	return Section{Title: "Dashboard", Rows: []SectionRow{
		{Name: "Live pages", Value: thousands(streams) + " of at most " + thousands(d.limits.Streams)},
		{Name: "Renderings shared by them", Value: thousands(rooms)},
		{Name: "Logins", Value: thousands(d.sessions.count()) + " of at most " + thousands(d.limits.Sessions)},
		{Name: "Requests at work", Value: thousands(len(d.atWork)) + " of at most " + thousands(d.limits.Requests)},
	}}
}
