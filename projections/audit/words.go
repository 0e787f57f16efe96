package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func stripText(r eventv1.StripReason) string {
	texts := map[eventv1.StripReason]string{
		eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT:       "it did not acknowledge in time",
		eventv1.StripReason_STRIP_REASON_EXECUTION_TIMEOUT: "it did not return in time",
		eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED:    "its connection dropped",
		eventv1.StripReason_STRIP_REASON_WORKER_FAILED:     "it said that it could not run the task",
		eventv1.StripReason_STRIP_REASON_PROTOCOL:          "it broke the wire protocol",
		eventv1.StripReason_STRIP_REASON_BANNED:            "it was banned",
		eventv1.StripReason_STRIP_REASON_DRAINED:           "it was drained",
		eventv1.StripReason_STRIP_REASON_NOT_RESUMED:       "it did not come back after a restart of the orchestrator",
		eventv1.StripReason_STRIP_REASON_UNDELIVERED:       "it was gone before the delivery began",
	}
	if text, ok := texts[r]; ok {
		return text
	}
	return phrase(r)
}

func result(r *auditv1.Result) string {
	return fmt.Sprintf("%s (%s, %d fuel)", value(r.GetChecksum()), phrase(r.GetStatus()), r.GetFuel())
}

// value is a checksum for people.
func value(sum []byte) string {
	if len(sum) == 0 {
		return "a value that is withheld"
	}
	return "value " + short(sum)
}

func worker(key []byte, group string) string {
	if group == "" {
		return "worker " + short(key)
	}
	return fmt.Sprintf("worker %s of group %q", short(key), group)
}

// short is enough of a hash or key to tell it from others.
func short(b []byte) string {
	if len(b) == 0 {
		return "(none)"
	}
	return fmt.Sprintf("%x", b[:min(8, len(b))])
}

func name(s string) string {
	if s == "" {
		return "somebody"
	}
	return s
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// slotList names slots: "slot 3", "slots 0 and 1", "slots 0, 1 and 2".
func slotList(slots []uint32) string {
	if len(slots) == 0 {
		return "no slots"
	}
	slots = slices.Sorted(slices.Values(slots))
	names := make([]string, len(slots))
	for i, s := range slots {
		names[i] = fmt.Sprint(s)
	}
	if len(names) == 1 {
		return "slot " + names[0]
	}
	last := len(names) - 1
	return "slots " + strings.Join(names[:last], ", ") + " and " + names[last]
}

func stamp(us int64) string { return time.UnixMicro(us).UTC().Format("2006-01-02 15:04:05.000 UTC") }

// span is a time that passed.
func span(us int64) string {
	d := time.Duration(us) * time.Microsecond
	switch {
	case d < 0:
		return d.String()
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(us)/1000)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// phrase is an enum value for people: JOB_PHASE_DEAD_LETTERED as "dead lettered".
func phrase(e protoreflect.Enum) string {
	d := e.Descriptor()
	v := d.Values().ByNumber(e.Number())
	if v == nil {
		return fmt.Sprintf("unknown (%d)", e.Number())
	}
	prefix := strings.TrimSuffix(string(d.Values().Get(0).Name()), "UNSPECIFIED")
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix)), "_", " ")
}
