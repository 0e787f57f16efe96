package dashboard

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// leaf is a field of a message as a page shows it: a value, or more fields.
type leaf struct {
	Name   string
	Text   string // of a value
	Kind   string // of a value: text, number, bytes, enum, time, bool; of others: list, message
	Href   string // where the value leads
	Leaves []leaf
}

// The bounds of a tree. What is left out is said.
const (
	treeDepth  = 12
	treeWidth  = 64  // elements of a list
	treeLeaves = 800 // of one tree
	treeText   = 512 // bytes of a text
	treeBytes  = 64  // bytes in hex
)

// tree shows the fields of a message that are set, in the order of the schema.
func tree(m proto.Message) []leaf {
	if m == nil {
		return nil
	}
	left := treeLeaves
	return messageLeaves(m.ProtoReflect(), treeDepth, &left)
}

func messageLeaves(m protoreflect.Message, depth int, left *int) []leaf {
	var leaves []leaf
	var set []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set = append(set, f)
		return true
	})
	slices.SortFunc(set, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, f := range set {
		if *left <= 0 {
			return append(leaves, leaf{Name: "…", Text: "more fields are not shown", Kind: "note"})
		}
		leaves = append(leaves, fieldLeaf(f, m.Get(f), depth, left))
	}
	if n := len(m.GetUnknown()); n > 0 {
		leaves = append(leaves, leaf{Name: "…", Text: fmt.Sprintf("%s that this version does not know", sizeOf(uint64(n))), Kind: "note"})
	}
	return leaves
}

func fieldLeaf(f protoreflect.FieldDescriptor, v protoreflect.Value, depth int, left *int) leaf {
	name := string(f.Name())
	if !f.IsList() {
		return valueLeaf(name, f, v, depth, left)
	}
	list := v.List()
	if plainList(f) {
		return numbersLeaf(name, f, list, left)
	}
	out := leaf{Name: name, Kind: "list", Text: strconv.Itoa(list.Len())}
	for i := range list.Len() {
		if i == treeWidth || *left <= 0 {
			out.Leaves = append(out.Leaves, leaf{Name: "…", Text: fmt.Sprintf("%d more", list.Len()-i), Kind: "note"})
			break
		}
		out.Leaves = append(out.Leaves, valueLeaf(strconv.Itoa(i), f, list.Get(i), depth, left))
	}
	return out
}

// plainList reports whether the elements of a list are short enough to stand in one line.
func plainList(f protoreflect.FieldDescriptor) bool {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind, protoreflect.BytesKind, protoreflect.StringKind:
		return false
	}
	return true
}

func numbersLeaf(name string, f protoreflect.FieldDescriptor, list protoreflect.List, left *int) leaf {
	var texts []string
	out := leaf{Name: name}
	for i := range list.Len() {
		if i == treeWidth {
			texts = append(texts, fmt.Sprintf("and %d more", list.Len()-i))
			break
		}
		v := valueLeaf("", f, list.Get(i), 0, left)
		out.Kind = v.Kind
		texts = append(texts, v.Text)
	}
	out.Text = strings.Join(texts, ", ")
	return out
}

func valueLeaf(name string, f protoreflect.FieldDescriptor, v protoreflect.Value, depth int, left *int) leaf {
	*left--
	out := leaf{Name: name}
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		out.Kind = "message"
		if depth <= 0 {
			out.Text = "too deep to show"
			return out
		}
		out.Leaves = messageLeaves(v.Message(), depth-1, left)
	case protoreflect.EnumKind:
		out.Kind, out.Text = "enum", strconv.Itoa(int(v.Enum()))
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			out.Text = string(d.Name())
		}
	case protoreflect.BytesKind:
		out.Kind, out.Text, out.Href = "bytes", bytesText(v.Bytes()), bytesLink(f, v.Bytes())
	case protoreflect.StringKind:
		out.Kind, out.Text, out.Href = "text", clipText(v.String(), treeText), textLink(f, v.String())
	case protoreflect.BoolKind:
		out.Kind, out.Text = "bool", strconv.FormatBool(v.Bool())
	default:
		out.Kind, out.Text = "number", fmt.Sprint(v.Interface())
		if strings.HasSuffix(string(f.Name()), "_us") && f.Kind() == protoreflect.Int64Kind {
			out.Kind, out.Text = "time", out.Text+" · "+time.UnixMicro(v.Int()).UTC().Format("2006-01-02 15:04:05.000000")
		}
	}
	return out
}

func bytesText(b []byte) string {
	if len(b) <= treeBytes {
		return hex.EncodeToString(b)
	}
	return fmt.Sprintf("%x… (%s)", b[:treeBytes], sizeOf(uint64(len(b))))
}

// clipText cuts a text at a rune's border, and says so.
func clipText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}

// bytesLink leads from a worker's key to the worker.
func bytesLink(f protoreflect.FieldDescriptor, b []byte) string {
	if len(b) != 32 || f.Name() != "worker" && f.FullName() != "shardy.event.v1.WorkerRegistered.key" {
		return ""
	}
	return linkWorker(b)
}

// textLink leads from an id to what it names.
func textLink(f protoreflect.FieldDescriptor, s string) string {
	switch f.Name() {
	case "pipeline":
		return sayPipeline(s).Href
	case "replaces", "replaced_by":
		return sayJob(s).Href
	}
	return ""
}
