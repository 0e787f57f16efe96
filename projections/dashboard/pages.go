package dashboard

// subject is what one file adds to the dashboard.
type subject struct {
	pages   []page
	actions []action
	raws    []raw
}

// subjects lists everything that is served. A new subject is a line here.
func (d *Dashboard) subjects() []subject {
	return []subject{
		{pages: d.overviewPages()},
		{pages: d.pipelinesPages()},
		{pages: d.pipelinePages(), actions: d.pipelineActions(), raws: d.pipelineRaws()},
		{pages: d.jobsPages()},
		{pages: d.deadLetterPages(), actions: d.deadLetterActions()},
		{pages: d.jobPages(), actions: d.jobActions(), raws: d.jobRaws()},
		{pages: d.workersPages()},
		{pages: d.workerPages(), actions: d.workerActions()},
		{pages: d.projectionPages(), actions: d.projectionActions()},
		{pages: d.eventPages()},
		{pages: d.diagnosticsPages()},
	}
}

// entry is a line of the navigation.
type entry struct {
	Name  string // a page's nav
	Title string
	Href  string
	staff bool
}

// navigation groups the entries. What a viewer may not see is left out.
var navigation = []struct {
	Title   string
	Entries []entry
}{
	{"", []entry{{"overview", "Overview", linkOverview(), false}}},
	{"Work", []entry{
		{"pipelines", "Pipelines", linkPipelines(), false},
		{"jobs", "Jobs", linkJobs(), false},
		{"deadletters", "Dead letters", linkDeadLetters(), false},
	}},
	{"Fleet", []entry{{"workers", "Workers", linkWorkers(), true}}},
	{"Record", []entry{{"events", "Events", linkEvents(), true}}},
	{"System", []entry{
		{"projections", "Projections", linkProjections(), true},
		{"diagnostics", "Diagnostics", linkDiagnostics(), true},
	}},
}
