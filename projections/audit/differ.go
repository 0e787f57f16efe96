package audit

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/events"
)

// differ names the first field, in the order of the schema, in which two messages of one type differ, with both
// values; it answers "" for equal messages.
func differ(recorded, decided proto.Message) string {
	if proto.Equal(recorded, decided) {
		return ""
	}
	if d := differIn(events.TypeOf(recorded), recorded.ProtoReflect(), decided.ProtoReflect()); d != "" {
		return d
	}
	return events.TypeOf(recorded) + " holds fields that the schema does not know"
}

func differIn(path string, a, b protoreflect.Message) string {
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		at := path + "." + string(f.Name())
		if d := differField(at, f, a, b); d != "" {
			return d
		}
	}
	return ""
}

func differField(at string, f protoreflect.FieldDescriptor, a, b protoreflect.Message) string {
	switch {
	case f.IsList():
		return differList(at, f, a.Get(f).List(), b.Get(f).List())
	case f.HasPresence() && a.Has(f) != b.Has(f):
		return fmt.Sprintf("%s: recorded %s, decided %s", at, presence(a, f), presence(b, f))
	case f.Message() != nil && !f.IsMap():
		return differIn(at, a.Get(f).Message(), b.Get(f).Message())
	case !a.Get(f).Equal(b.Get(f)):
		return fmt.Sprintf("%s: recorded %s, decided %s", at, show(f, a.Get(f)), show(f, b.Get(f)))
	}
	return ""
}

func differList(at string, f protoreflect.FieldDescriptor, a, b protoreflect.List) string {
	for i := range min(a.Len(), b.Len()) {
		here := fmt.Sprintf("%s[%d]", at, i)
		if f.Message() != nil {
			if d := differIn(here, a.Get(i).Message(), b.Get(i).Message()); d != "" {
				return d
			}
			continue
		}
		if !a.Get(i).Equal(b.Get(i)) {
			return fmt.Sprintf("%s: recorded %s, decided %s", here, show(f, a.Get(i)), show(f, b.Get(i)))
		}
	}
	if a.Len() != b.Len() {
		return fmt.Sprintf("%s: recorded %d elements, decided %d", at, a.Len(), b.Len())
	}
	return ""
}

func presence(m protoreflect.Message, f protoreflect.FieldDescriptor) string {
	if m.Has(f) {
		return "present"
	}
	return "absent"
}

// show prints a scalar: bytes as hex, names of enumerations, long values cut.
func show(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	const most = 80
	var s string
	switch f.Kind() {
	case protoreflect.BytesKind:
		s = fmt.Sprintf("%x", v.Bytes())
	case protoreflect.StringKind:
		s = fmt.Sprintf("%q", v.String())
	case protoreflect.EnumKind:
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			s = string(e.Name())
		} else {
			s = fmt.Sprint(v.Enum())
		}
	default:
		s = v.String()
	}
	if len(s) > most {
		s = s[:most] + "..."
	}
	if s == "" {
		return "empty"
	}
	return s
}
