package dashboard

// rebuilding reports whether the rows are not complete yet.
func (d *Dashboard) rebuilding() bool { return d.deps.Model.Rebuilding() }
