package gateway_test

import (
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/gateway"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// pipes is a listener without a network: its connections are net.Pipes, so that time in a bubble can stand still.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// addressed gives a pipe a peer's address.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- addressed{there}
	return here
}

// Hours of pings pass in no time: who answers stays, who does not is closed after two and a half intervals.
func TestHoursOfPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &treadmill{done: make(chan struct{}), gate: make(chan struct{})}
		_, key, _ := ed25519.GenerateKey(nil)
		door, err := gateway.New(gateway.Config{Key: key, GroupKey: make([]byte, 16), PingInterval: 20 * time.Second}, gateway.Deps{
			Orchestrator: m, Blobs: &fakeBlobs{}, Challenges: &fakeChallenges{}, Admission: func() *eventv1.AdmissionPolicy { return nil }, Log: quiet(),
		})
		if err != nil {
			t.Fatal(err)
		}
		m.door = door
		listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: door}
		served := make(chan struct{})
		go func() {
			_ = server.Serve(listener)
			close(served)
		}()
		join := func() net.Conn {
			c := listener.dial()
			_, worker, _ := ed25519.GenerateKey(nil)
			if err := bareHandshake(c, worker); err != nil {
				t.Fatal(err)
			}
			return c
		}
		lively := join()
		go answerPings(lively)
		synctest.Wait()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n := door.Stats().Sessions; n != 1 {
			t.Fatalf("%d sessions after three hours of answered pings", n)
		}
		silent := join()
		go func() { _, _ = io.Copy(io.Discard, silent) }() // reads, answers nothing
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if n := door.Stats().Sessions; n != 2 {
			t.Fatalf("%d sessions after 45 s of silence", n)
		}
		time.Sleep(26 * time.Second) // two and a half intervals, and one round of the sweep
		synctest.Wait()
		if s := door.Stats(); s.Sessions != 1 || s.Closed["TIMEOUT"] != 1 {
			t.Fatalf("after 71 s of silence: %+v", s)
		}
		close(m.gate)
		_ = lively.Close()
		_ = silent.Close()
		_ = door.Close()
		_ = server.Close()
		<-served
	})
}

// answerPings reads frames and answers every ping.
func answerPings(c net.Conn) {
	head := make([]byte, 2)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		body := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		if head[0]&0xf != 9 {
			continue
		}
		pong := maskedFrame(body)
		pong[0] = 0x8a
		if _, err := c.Write(pong); errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}
