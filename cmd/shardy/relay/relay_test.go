package relay_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/relay"
)

// echo answers every byte, and forwards to a relay in front of it.
func echo(t *testing.T) *relay.Relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	r, err := relay.Start(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dial(t *testing.T, r *relay.Relay) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("heard %q, %v, want %q", got, err, text)
	}
}

func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %d bytes, %v, want silence", n, err)
	}
}

func held(t *testing.T, r *relay.Relay, want int64) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); r.Held() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("holds %d bytes, want %d", r.Held(), want)
		}
	}
}

func TestItForwardsUntilItIsCut(t *testing.T) {
	r := echo(t)
	c := dial(t, r)
	say(t, c, "echo")
	hear(t, c, "echo")
	if r.Oldest(time.Hour) != nil {
		t.Error("a young connection was taken for an old one")
	}
	r.Oldest(0).Cut()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection outlived its cut: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFrozenNetworkIsSilentAndLosesNothing(t *testing.T) {
	r := echo(t)
	defer r.Close()
	c := dial(t, r)
	say(t, c, "before")
	hear(t, c, "before")
	r.Freeze()
	r.Freeze()
	say(t, c, "during")
	held(t, r, 6)
	late := dial(t, r)
	say(t, late, "late")
	silent(t, c)
	silent(t, late)
	r.Thaw()
	r.Thaw()
	hear(t, c, "during")
	hear(t, late, "late")
	held(t, r, 0)
}

func TestAFrozenNetworkHidesThatThePeerHasGone(t *testing.T) {
	r := echo(t)
	defer r.Close()
	c := dial(t, r)
	say(t, c, "x")
	hear(t, c, "x")
	r.Freeze()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	silent(t, c)
	r.Thaw()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end that the freeze held back", err)
	}
}

func TestAFrozenRelayCloses(t *testing.T) {
	r := echo(t)
	c := dial(t, r)
	say(t, c, "x")
	hear(t, c, "x")
	r.Freeze()
	say(t, c, "y")
	held(t, r, 1)
	waiting := dial(t, r)
	say(t, waiting, "z")
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range []net.Conn{c, waiting} {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection outlived its relay: %v", err)
		}
	}
}
