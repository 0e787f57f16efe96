package kurrent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestURIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, ok := range map[string]bool{
		"esdb://host":                true,
		"esdb://host:2113?tls=false": true,
		"kurrentdb://host:2113?tls=true&tlsVerifyCert=false": true,
		"kurrentdb+discover://host?nodePreference=follower":  true,
		"KURRENTDB://host":           true,
		"esdb://a:1,b:2,c?tls=false": true,
		"esdb://user:p%40ss@host":    true,
		"esdb://host?keepAliveInterval=-1&defaultDeadline=700&connectionName=x": true,

		"":                                   false,
		"host":                               false,
		"http://host":                        false,
		"esdb://":                            false,
		"esdb://host/path":                   false,
		"esdb://host:port":                   false,
		"esdb://user:secret#@host":           false,
		"esdb://:secret@host":                false,
		"esdb://host?tsl=false":              false,
		"esdb://host?tls=maybe":              false,
		"esdb://host?tls=true&tls=false":     false,
		"esdb://host?keepAliveInterval=9999": false,
		"esdb://host?gossipTimeout=0":        false,
		"esdb://host?defaultDeadline=soon":   false,
		"esdb://host?tlsCaFile=/nowhere":     false,
		"esdb://host?tlsCaFile=" + file:      false,
		"esdb://host?userCertFile=" + file:   false,
		"esdb://host?%zz":                    false,
	} {
		cfg, err := parseURI(uri)
		if ok != (err == nil) || !ok && !errors.Is(err, ErrURI) {
			t.Errorf("%s: %v", uri, err)
		}
		if err == nil && cfg.Logger != nil {
			t.Errorf("%s: the library logs", uri)
		}
	}
	cfg, err := parseURI("kurrentdb://host?defaultDeadline=700")
	if err != nil || *cfg.DefaultDeadline != 700*time.Millisecond {
		t.Errorf("%v, %v", cfg, err)
	}
}

// TestPasswordsStayOutOfErrors tries passwords that break the string at any place.
func TestPasswordsStayOutOfErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringMatching(`[A-Z:@/?#,%\[\]& ]{0,5}SECRET[A-Z:@/?#,%\[\]&= ]{0,5}`).Draw(t, "password")
		_, err := parseURI("esdb://user:" + password + "@host:2113?tls=false")
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Fatalf("error %q", err)
		}
	})
}
