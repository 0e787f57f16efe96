package dashboard

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// flash is one message that the next page shows: what became of an action.
type flash struct {
	Kind string // "done" or "refused"
	Text string
}

// The kinds of messages.
const (
	flashDone    = "done"
	flashRefused = "refused"
)

const flashAge = time.Minute

// setFlash puts a message into a cookie that only this process could have signed.
func (d *Dashboard) setFlash(w http.ResponseWriter, r *http.Request, f flash) {
	f.Text = clip(plain(f.Text), 400)
	text, err := json.Marshal(f)
	if err != nil {
		return
	}
	signed := append(d.signFlash(text), text...)
	d.setCookie(w, r, flashCookie, base64.RawURLEncoding.EncodeToString(signed), flashAge, false)
}

func (d *Dashboard) signFlash(text []byte) []byte {
	m := hmac.New(sha256.New, d.flashKey[:])
	m.Write(text)
	return m.Sum(nil)
}

// takeFlash returns the message for this page, if there is one, and takes it away.
func (d *Dashboard) takeFlash(w http.ResponseWriter, r *http.Request) *flash {
	c, err := r.Cookie(flashCookie)
	if err != nil {
		return nil
	}
	d.setCookie(w, r, flashCookie, "", 0, false)
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) < sha256.Size || !hmac.Equal(raw[:sha256.Size], d.signFlash(raw[sha256.Size:])) {
		return nil
	}
	var f flash
	if json.Unmarshal(raw[sha256.Size:], &f) != nil {
		return nil
	}
	return &f
}
