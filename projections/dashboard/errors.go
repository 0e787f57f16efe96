package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/readmodel"
)

// ErrNotFound says that an action's object does not exist.
var ErrNotFound = errors.New("no such thing")

// The refusals of this door.
var (
	errNotFound    = ErrNotFound
	errForbidden   = errors.New("the role does not allow this")
	errNoSession   = errors.New("not logged in")
	errForeignForm = errors.New("the form was sent by another site")
	errReadOnly    = errors.New("this dashboard is for reading only")
	errBusy        = errors.New("too many requests at once")
	errStreams     = errors.New("too many live pages at once")
	errClosing     = errors.New("the server is closing")
)

// badRequest is a request that says something impossible.
type badRequest string

func (e badRequest) Error() string { return string(e) }

// trouble is an error as a page shows it.
type trouble struct {
	Status int
	Title  string
	Text   string
	Hint   string // what to do
	Again  bool   // worth trying again soon
	Ref    string // finds the line in the server's log
}

// troubles is read from the top; the first match counts.
var troubles = []struct {
	err error
	trouble
}{
	{errNoSession, trouble{Status: http.StatusUnauthorized, Title: "Not logged in", Text: "The session has ended.", Hint: "Log in again."}},
	{errForbidden, trouble{Status: http.StatusForbidden, Title: "Not allowed", Text: "Your role does not allow this.", Hint: "Ask for a token with the right role."}},
	{errReadOnly, trouble{Status: http.StatusForbidden, Title: "Reading only", Text: "This dashboard is for reading only."}},
	{errForeignForm, trouble{Status: http.StatusForbidden, Title: "Not from here", Text: "This form was sent by another site, so nothing was done.", Hint: "Open the page here and send the form again."}},
	{errBusy, trouble{Status: http.StatusServiceUnavailable, Title: "Busy", Text: "Too many requests are at work at once.", Again: true}},
	{errStreams, trouble{Status: http.StatusServiceUnavailable, Title: "Busy", Text: "Too many live pages are open at once.", Again: true}},
	{errNoMesh, trouble{Status: http.StatusNotFound, Title: "No mesh here", Text: "This orchestrator runs without --mesh: it shares no ledger with others.", Hint: "Start it with --mesh to join one."}},
	{errClosing, trouble{Status: http.StatusServiceUnavailable, Title: "Closing", Text: "The orchestrator is closing.", Again: true}},
	{readmodel.ErrPage, trouble{Status: http.StatusBadRequest, Title: "No such page", Text: "The address names a page that no list has given out.", Hint: "Go back to the list's first page."}},
	{readmodel.ErrQuery, trouble{Status: http.StatusBadRequest, Title: "Too much at once", Text: "The filter asks for too much at once.", Hint: "Take some of its values away."}},
	{readmodel.ErrRebuilding, trouble{Status: http.StatusServiceUnavailable, Title: "Being rebuilt", Text: "The read model is being rebuilt from the log.", Hint: "The page is there when the rebuild has caught up.", Again: true}},
	{readmodel.ErrClosed, trouble{Status: http.StatusServiceUnavailable, Title: "Closing", Text: "The orchestrator is closing.", Again: true}},
	{ErrNotFound, trouble{Status: http.StatusNotFound, Title: "Not found", Text: "There is nothing here, or it is not yours to see.", Hint: "Things that were just made appear when the read model has caught up."}},
	{readmodel.ErrNotFound, trouble{Status: http.StatusNotFound, Title: "Not found", Text: "There is nothing here, or it is not yours to see.", Hint: "Things that were just made appear when the read model has caught up."}},
	{events.ErrNotFound, trouble{Status: http.StatusNotFound, Title: "Not found", Text: "There is no such stream.", Hint: "Stream names are room and id: job-01J..., worker-9f2c..."}},
	{events.ErrBadID, trouble{Status: http.StatusNotFound, Title: "Not found", Text: "This is not an id."}},
	{events.ErrDeleted, trouble{Status: http.StatusNotFound, Title: "Deleted", Text: "This stream was deleted."}},
	{projections.ErrNoProjection, trouble{Status: http.StatusNotFound, Title: "Not found", Text: "No projection has this name."}},
	{events.ErrUnavailable, trouble{Status: http.StatusServiceUnavailable, Title: "The log is away", Text: "The event log cannot be reached at the moment.", Hint: "Nothing is lost: work goes on when it is back.", Again: true}},
	{events.ErrClosed, trouble{Status: http.StatusServiceUnavailable, Title: "Closing", Text: "The orchestrator is closing.", Again: true}},
	{context.DeadlineExceeded, trouble{Status: http.StatusServiceUnavailable, Title: "Too slow", Text: "The page took too long to build.", Hint: "Narrow the list with a filter.", Again: true}},
}

// troubleOf finds what a page says about an error. What the table does not know is the server's own failure: its text
// goes to the log.
func (d *Dashboard) troubleOf(r *http.Request, err error) trouble {
	if bad, ok := errors.AsType[badRequest](err); ok {
		return trouble{Status: http.StatusBadRequest, Title: "Bad request", Text: sentence(string(bad))}
	}
	if no, ok := errors.AsType[*Refusal](err); ok {
		return trouble{Status: http.StatusConflict, Title: "Refused", Text: no.Text}
	}
	for _, t := range troubles {
		if errors.Is(err, t.err) {
			return t.trouble
		}
	}
	ref := strings.ToLower(rand.Text()[:8])
	d.log.Error("dashboard request failed", "method", r.Method, "path", clip(r.URL.Path, 256), "ref", ref, "error", err)
	return trouble{
		Status: http.StatusInternalServerError, Title: "Something failed", Ref: ref,
		Text: "The page could not be built. The server's log has the cause.", Again: true,
	}
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return capital(s) + "."
}

// fail answers with a page about the error. Nobody reads the answer of a request that was given up.
func (d *Dashboard) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	t := d.troubleOf(r, err)
	if t.Again {
		w.Header().Set("Retry-After", "5")
	}
	if strings.HasPrefix(r.URL.Path, "/live/") {
		http.Error(w, t.Text, t.Status)
		return
	}
	d.renderBare(w, r, t.Status, "error", t.Title, t)
}
