package esdbserver

import (
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

// FuzzParseMetadata: what bounds a stream comes from outside.
func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"$maxCount":3,"$maxAge":60,"$tb":9}`))
	f.Add([]byte(`{"$tb":9223372036854775807}`))
	f.Add([]byte(`{"$maxAge":9223372036854775807,"$maxCount":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, age, before := parseMetadata(b)
		if age < 0 || before == softDeleted {
			t.Errorf("%q: %v, %d", b, age, before)
		}
		softDeletes([]events.Draft{{Type: typeMetadata, Data: b}})
	})
}

// FuzzBasic: so do credentials.
func FuzzBasic(f *testing.F) {
	f.Add("Basic YWRtaW46Y2hhbmdlaXQ=")
	f.Add("basic Og==")
	f.Add("Bearer x")
	f.Fuzz(func(t *testing.T, header string) {
		if _, password, ok := basic(header); ok && len(password) > MaxPassword {
			t.Errorf("a password of %d bytes", len(password))
		}
	})
}
