package checkpoint

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func testKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func TestCheckpoint(t *testing.T) {
	key := testKey(1)
	c := Head{Origin: Origin(public(key)), Size: 12, Root: tlog.Hash{1, 2, 3}}
	if c.Origin != "shardy/8a88e3dd7409f195" {
		t.Errorf("origin %q", c.Origin)
	}
	signed, err := Sign(c, key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sign(c, key)
	if err != nil || !bytes.Equal(signed, again) {
		t.Errorf("signed twice, not the same: %v", err)
	}
	got, err := Open(signed, public(key))
	if err != nil || got != c {
		t.Fatalf("opened %v, %v", got, err)
	}
	if read, err := Read(signed); err != nil || read != c {
		t.Fatalf("read %v, %v", read, err)
	}
	// Any tool for signed notes reads it.
	vkey, err := VerifierKey(public(key))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(signed, note.VerifierList(v)); err != nil || n.Text != c.Text() {
		t.Errorf("as a note: %v", err)
	}
	if _, err := Open(signed, public(testKey(2))); !errors.Is(err, ErrSignature) {
		t.Errorf("other key: %v", err)
	}
	for i := range signed {
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		if _, err := Open(bad, public(key)); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if _, err := Open(append(signed, bytes.Repeat([]byte("x"), MaxBytes)...), public(key)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	if _, err := Sign(Head{Origin: "has space"}, key); err == nil {
		t.Error("signed under an origin that no note can carry")
	}
	if _, err := Sign(c, key[:10]); err == nil {
		t.Error("signed with half a key")
	}
}

func TestParse(t *testing.T) {
	root := tlog.Hash{}.String()
	good := "o\n5\n" + root + "\n"
	if c, err := Parse(good + "extension\n"); err != nil || c.Size != 5 {
		t.Errorf("extension: %v, %v", c, err)
	}
	for _, bad := range []string{
		"", "\n", "o\n5\n", "o\n5\n" + root, "\n5\n" + root + "\n", "o\n05\n" + root + "\n", "o\n-1\n" + root + "\n", "o\n+1\n" + root + "\n",
		"o\n9999999999999999999\n" + root + "\n", "o\n5\n" + root[:40] + "\n", "o\n5\n" + strings.TrimRight(root, "=") + "\n", good + "\n",
		good + strings.Repeat("x", MaxBytes) + "\n",
	} {
		if c, err := Parse(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.60q: %v, %v", bad, c, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := testKey(1)
	signed, err := Sign(Head{Origin: "o", Size: 3}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte("o\n5\n" + tlog.Hash{}.String() + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Open(b, public(key)); err == nil && c != (Head{Origin: "o", Size: 3}) {
			t.Errorf("never signed, opened: %v", c)
		}
		if opened, err := Open(b, public(key)); err == nil {
			if read, err := Read(b); err != nil || read != opened {
				t.Errorf("opened %v, read %v, %v", opened, read, err)
			}
		}
		if c, err := Parse(string(b)); err == nil && !strings.HasPrefix(string(b), c.Text()) {
			t.Errorf("second form of %v", c)
		}
	})
}
