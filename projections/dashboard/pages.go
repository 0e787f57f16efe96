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
		{pages: d.ledgerPages()},
		{pages: d.accountPages()},
		{pages: d.blockPages()},
		{pages: d.transactionPages()},
		{pages: d.meshPages()},
		{pages: d.diagnosticsPages()},
	}
}

// entry is a line of the navigation.
type entry struct {
	Name  string // a page's nav
	Title string
	Href  string
	staff bool
	only  source // what must be there
}

// source is something that not every orchestrator has.
type source uint8

const (
	ofAll source = iota
	ofLedger
	ofMesh
)

// navigation groups the entries. What a viewer may not see is left out.
var navigation = []struct {
	Title   string
	Entries []entry
}{
	{"", []entry{{"overview", "Overview", linkOverview(), false, ofAll}}},
	{"Work", []entry{
		{"pipelines", "Pipelines", linkPipelines(), false, ofAll},
		{"jobs", "Jobs", linkJobs(), false, ofAll},
		{"deadletters", "Dead letters", linkDeadLetters(), false, ofAll},
	}},
	{"Fleet", []entry{{"workers", "Workers", linkWorkers(), true, ofAll}}},
	{"Network", []entry{
		{"ledger", "Ledger", linkLedger(), false, ofLedger},
		{"blocks", "Blocks", linkBlocks(), false, ofLedger},
		{"transactions", "Transactions", linkTransactions(), false, ofLedger},
		{"accounts", "Accounts", linkAccounts(), false, ofLedger},
		{"mesh", "Mesh", linkMesh(), true, ofMesh},
	}},
	{"Record", []entry{{"events", "Events", linkEvents(), true, ofAll}}},
	{"System", []entry{
		{"projections", "Projections", linkProjections(), true, ofAll},
		{"diagnostics", "Diagnostics", linkDiagnostics(), true, ofAll},
	}},
}
