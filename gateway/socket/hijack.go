package socket

import (
	"bufio"
	"net"
	"net/http"
)

// hijack hands the WebSocket library a duct instead of the server's connection.
type hijack struct {
	http.ResponseWriter
	conn *Conn
	opt  Options
}

// Hijack implements http.Hijacker.
func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn.duct = newDuct(raw, h.opt)
	if rw.Reader.Buffered() == 0 { // else the library refuses
		h.conn.in = new(bufio.Reader)
		h.conn.borrow()
		rw.Reader = h.conn.in
	}
	return h.conn.duct, rw, nil
}
