// Package dashboard serves the operator's screens: pages rendered on the server from the read model, which stay live
// by server-sent events, read without JavaScript, and fetch nothing from a foreign host.
//
// It promises that every value of a page is escaped and bounded, that nobody sees what their role and tenants do not
// allow, and that a page costs at most two renderings a second however fast events flow and however many look at it.
// It decides nothing and writes nothing but through [Actions]; what a page shows may lag behind the log, and says so.
//
// # Adding a page
//
// A subject is one Go file and its templates:
//
//	func (d *Dashboard) thingPages() []page {
//		return []page{{
//			name:  "thing",          // templates/thing.html
//			route: "/things/{id}",   // of GET; {id} is in ask.Path
//			title: "Thing",          // a view with a method PageTitle() string replaces it
//			nav:   "things",         // the entry of the navigation that is lit
//			needs: everyone,         // or staff: viewers, operators and admins, not clients
//			live:  true,             // re-rendered when the read model moves; chain: when the ledger does; every: also after a time
//			view:  d.thing,          // func(context.Context, *ask) (any, error)
//		}}
//	}
//
// and a line in subjects (pages.go). The template file defines the blocks "above" (optional: what stays as it was
// loaded, such as filters and forms), "live" (re-rendered and morphed in place) and "below" (optional, static). Their
// dot is a [frame]: .View is what the view function returned, .Viewer who looks. In a live block .Viewer has no name,
// because viewers with equal rights share its rendering, and there must be no form with typed text. The view function
// answers only from the ask: two asks with the same URL and rights must give the same view. It returns a refusal as an
// error (errors.go maps them to pages); a thing of another tenant is errNotFound.
//
// Build tables as [table] values (cells.go has the cells) and draw them with {{template "table" .View.Things}}; the
// partials badge, when, pager, empty, form, chart and facts are in templates/partials.html. Links come from links.go.
// Templates hold no style attribute and no script: the content security policy refuses both.
//
// A form posts to an action: thingActions() []action with route, role and do, also listed in subjects. Anything else
// (a picture, a download) is a raw: thingRaws() []raw.
package dashboard
