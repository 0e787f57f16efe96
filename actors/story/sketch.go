package story

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// emptyIsNil compares an empty slice with none as equal: an encoded fact cannot tell them apart.
var emptyIsNil = cmp.FilterValues(func(x, y any) bool {
	a, b := reflect.ValueOf(x), reflect.ValueOf(y)
	return a.IsValid() && b.IsValid() && a.Type() == b.Type() && a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0
}, cmp.Comparer(func(_, _ any) bool { return true }))

func protoValue(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}

// Sketch is a message on one line, for transcripts: fields in the order of the schema, bytes as the first four in hex,
// enums without their prefix.
func Sketch(m proto.Message) string {
	var b strings.Builder
	b.WriteString(string(m.ProtoReflect().Descriptor().Name()))
	sketchFields(&b, m.ProtoReflect(), " ")
	return b.String()
}

// SketchAll sketches facts, joined by semicolons.
func SketchAll(facts []events.Fact) string {
	lines := make([]string, len(facts))
	for i, f := range facts {
		lines[i] = Sketch(f)
	}
	return strings.Join(lines, "; ")
}

func sketchFields(b *strings.Builder, m protoreflect.Message, sep string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		fmt.Fprintf(b, "%s%s=", sep, f.Name())
		sep = " "
		if !f.IsList() {
			sketchValue(b, f, m.Get(f))
			continue
		}
		list := m.Get(f).List()
		b.WriteByte('[')
		for j := range list.Len() {
			if j > 0 {
				b.WriteByte(' ')
			}
			sketchValue(b, f, list.Get(j))
		}
		b.WriteByte(']')
	}
}

func sketchValue(b *strings.Builder, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		b.WriteByte('{')
		sketchFields(b, v.Message(), "")
		b.WriteByte('}')
	case protoreflect.BytesKind:
		b.WriteString(shortHex(v.Bytes()))
	case protoreflect.StringKind:
		fmt.Fprintf(b, "%q", v.String())
	case protoreflect.EnumKind:
		b.WriteString(enumName(f.Enum(), v.Enum()))
	default:
		fmt.Fprint(b, v.Interface())
	}
}

// enumName drops the prefix that every value of the enum shares with its zero value.
func enumName(d protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := d.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprint(n)
	}
	prefix := strings.TrimSuffix(string(d.Values().Get(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}

// asked is the message inside a command.
func asked(c *eventv1.Command) proto.Message {
	m := c.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	if f == nil {
		return c
	}
	return m.Get(f).Message().Interface()
}

func shortHex(p []byte) string {
	if len(p) > 4 {
		p = p[:4]
	}
	return hex.EncodeToString(p)
}

// SketchEffect is an effect on one line, for transcripts. Zero fields and specs are left out.
func SketchEffect(e actors.Effect) string {
	v := reflect.ValueOf(e)
	var b strings.Builder
	b.WriteString(v.Type().Name())
	sketchStruct(&b, v, " ")
	return b.String()
}

func sketchStruct(b *strings.Builder, v reflect.Value, sep string) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() || name == "Spec" || name == "Policy" {
			continue
		}
		fmt.Fprintf(b, "%s%s=", sep, strings.ToLower(name))
		sep = " "
		sketchGo(b, v.Field(i))
	}
}

func sketchGo(b *strings.Builder, v reflect.Value) {
	if m, ok := v.Interface().(proto.Message); ok {
		if c, ok := m.(*eventv1.Command); ok {
			m = asked(c)
		}
		b.WriteString("(" + Sketch(m) + ")")
		return
	}
	switch x := v.Interface().(type) {
	case []byte:
		b.WriteString(shortHex(x))
	case actors.Address:
		b.WriteString(x.Stream())
	case string:
		fmt.Fprintf(b, "%q", x)
	default:
		sketchComposite(b, v)
	}
}

func sketchComposite(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		b.WriteByte('{')
		sketchStruct(b, v, "")
		b.WriteByte('}')
	case reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(' ')
			}
			sketchGo(b, v.Index(i))
		}
		b.WriteByte(']')
	default:
		fmt.Fprint(b, v.Interface())
	}
}
