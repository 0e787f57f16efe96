package cli

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// printJSON prints one document on one line.
func (a *app) printJSON(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, string(line))
	return err
}

// printMessage prints a message as the contract has it.
func (a *app) printMessage(m proto.Message) error { return a.printJSON(plainMessage(m.ProtoReflect())) }

// plainMessage turns a message into what JSON.md promises: names as in the schema, every scalar, bytes in hex, 64-bit
// numbers as numbers, enum values in lower case without their type's name; messages that are not set are left out.
func plainMessage(m protoreflect.Message) map[string]any { return plain(m, true) }

// setFields is plainMessage without the fields that are not set: facts are long enough.
func setFields(m protoreflect.Message) map[string]any { return plain(m, false) }

func plain(m protoreflect.Message, all bool) map[string]any {
	out := map[string]any{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := string(f.Name())
		switch {
		case !m.Has(f) && (!all || f.ContainingOneof() != nil):
		case f.IsList():
			list := m.Get(f).List()
			items := make([]any, list.Len())
			for j := range items {
				items[j] = plainValue(f, list.Get(j), all)
			}
			out[name] = items
		case f.Kind() == protoreflect.MessageKind && !m.Has(f):
		default:
			out[name] = plainValue(f, m.Get(f), all)
		}
	}
	return out
}

func plainValue(f protoreflect.FieldDescriptor, v protoreflect.Value, all bool) any {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return plain(v.Message(), all)
	case protoreflect.BytesKind:
		return hex.EncodeToString(v.Bytes())
	case protoreflect.EnumKind:
		return enumName(f.Enum(), v.Enum())
	default:
		return v.Interface()
	}
}

// enumName is JOB_STATE_OPEN as open.
func enumName(d protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := d.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprint(n)
	}
	first := string(d.Values().Get(0).Name())
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), strings.TrimSuffix(first, "UNSPECIFIED")))
}

// name is an enum value for people.
func name(e protoreflect.Enum) string { return enumName(e.Descriptor(), e.Number()) }

// parseEnum is the inverse of enumName; empty text is the zero value.
func parseEnum[E interface {
	protoreflect.Enum
	~int32
}](flag, text string) (E, error) {
	var zero E
	if text == "" {
		return zero, nil
	}
	values := zero.Descriptor().Values()
	var known []string
	for i := range values.Len() {
		n := values.Get(i).Number()
		s := enumName(zero.Descriptor(), n)
		if s == text {
			return E(n), nil
		}
		if n != 0 {
			known = append(known, s)
		}
	}
	return zero, usage("--%s %q: want one of %s", flag, text, strings.Join(known, ", "))
}

// table prints aligned columns under a heading.
func (a *app) table(heading string, rows func(row func(cells ...any))) error {
	w := tabwriter.NewWriter(a.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			text := printable(strings.Join(strings.Fields(fmt.Sprint(c)), " "))
			if text == "" {
				text = "-"
			}
			fmt.Fprint(w, text)
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// facts prints names and values, one a line.
func (a *app) facts(pairs ...any) error {
	w := tabwriter.NewWriter(a.out, 2, 8, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if text := fmt.Sprint(pairs[i+1]); text != "" {
			fmt.Fprintf(w, "%v:\t%s\n", pairs[i], printable(text))
		}
	}
	return w.Flush()
}

// printable keeps terminal escapes of strangers from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func when(us int64) string {
	if us == 0 {
		return ""
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000Z")
}

func hexID(b []byte) string { return hex.EncodeToString(b) }

func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, i := float64(n)/unit, 0
	for size >= unit && i < 4 {
		size /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGTP"[i])
}

// say prints news for people: never data.
func (a *app) say(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// confirm asks before something that cannot be undone. Without a terminal to ask on, only --yes lets it happen.
func (a *app) confirm(format string, args ...any) error {
	if a.yes {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !isTerminal(a.in) || !isTerminal(a.err) {
		return usage("%s? say --yes", question)
	}
	fmt.Fprintf(a.err, "%s? [y/N] ", question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && line == "" {
		return failed(exitFailed, "not confirmed")
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return failed(exitFailed, "not confirmed")
	}
	return nil
}

// readInput reads a file, or stdin for "-", up to a limit.
func (a *app) readInput(name string, limit int64) ([]byte, error) {
	var r io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = usage("%s is above %s", name, bytesText(uint64(limit)))
	}
	return data, err
}

// output is a file that appears whole or not at all, or stdout for "-".
type output struct {
	io.Writer
	file *os.File
	name string
}

func (a *app) openOutput(name string) (*output, error) {
	if name == "-" || name == "" {
		return &output{Writer: a.out}, nil
	}
	f, err := os.CreateTemp(dirOf(name), ".shardy-*")
	if err != nil {
		return nil, err
	}
	return &output{Writer: f, file: f, name: name}, nil
}

// writeOutput writes a file whole.
func (a *app) writeOutput(name string, data []byte) error {
	out, err := a.openOutput(name)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return out.finish(err)
}

// finish puts the file in its place, or takes it away when err says that it is not whole.
func (o *output) finish(err error) error {
	if o.file == nil {
		return err
	}
	if cerr := o.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(o.file.Name(), 0o644)
	}
	if err == nil {
		return os.Rename(o.file.Name(), o.name)
	}
	os.Remove(o.file.Name()) // what is left of a failure
	return err
}

func dirOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i+1]
	}
	return "."
}
