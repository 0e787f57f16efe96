//go:build !linux

package socket

// Lobby watches connections that rest. On this system it cannot: they keep their goroutines.
type Lobby struct{}

// NewLobby returns a lobby. Close ends it.
func NewLobby() *Lobby { return &Lobby{} }

// Close ends the lobby.
func (*Lobby) Close() {}

func (*Lobby) watch(*duct) bool { return false }
func (*Lobby) forget(*duct)     {}
