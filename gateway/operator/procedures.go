package operator

import op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"

// roles is a set of roles.
type roles uint8

const (
	byAdmin roles = 1 << iota
	byOperator
	byClient
	byViewer
	byAnyone // without a token, too

	staff    = byAdmin | byOperator
	workers  = staff | byClient // who brings work
	everyone = staff | byClient | byViewer
	readers  = staff | byViewer // who sees what belongs to no tenant
	public   = everyone | byAnyone
)

var roleBits = map[Role]roles{Admin: byAdmin, Operator: byOperator, Client: byClient, Viewer: byViewer}

// procedures says who may call what. A procedure that is missing here is refused to everyone, and a test fails.
var procedures = map[string]roles{
	op.JobServiceSubmitJobsProcedure:     workers,
	op.JobServiceGetJobProcedure:         everyone,
	op.JobServiceListJobsProcedure:       everyone,
	op.JobServiceWatchJobsProcedure:      everyone,
	op.JobServiceCancelJobProcedure:      workers,
	op.JobServiceExplainJobProcedure:     everyone,
	op.JobServiceDownloadResultProcedure: workers,

	op.PipelineServiceSubmitPipelineProcedure: workers,
	op.PipelineServiceGetPipelineProcedure:    everyone,
	op.PipelineServiceListPipelinesProcedure:  everyone,
	op.PipelineServiceWatchPipelineProcedure:  everyone,
	op.PipelineServiceCancelPipelineProcedure: workers,
	op.PipelineServiceDownloadOutputProcedure: workers,

	op.ModuleServicePutBlobProcedure:     workers,
	op.ModuleServiceAdmitModuleProcedure: workers,
	op.ModuleServiceListModulesProcedure: everyone,

	op.WorkerServiceListWorkersProcedure:     readers,
	op.WorkerServiceGetWorkerProcedure:       readers,
	op.WorkerServiceDrainWorkerProcedure:     staff,
	op.WorkerServiceBanWorkerProcedure:       staff,
	op.WorkerServiceReinstateWorkerProcedure: staff,

	op.DeadLetterServiceListDeadLettersProcedure:    everyone,
	op.DeadLetterServiceDescribeDeadLetterProcedure: everyone,
	op.DeadLetterServiceDownloadPayloadProcedure:    workers,
	op.DeadLetterServiceRequeueDeadLettersProcedure: workers,
	op.DeadLetterServiceDiscardDeadLettersProcedure: workers,
	op.DeadLetterServiceEditDeadLetterProcedure:     workers,

	op.EventServiceReadEventsProcedure: everyone, // clients: streams of their own work

	op.AuditServiceExplainVerdictProcedure: everyone,
	op.AuditServiceGetBundleProcedure:      workers,

	op.SystemServiceGetStatusProcedure:    everyone,
	op.SystemServiceGetPolicyProcedure:    everyone,
	op.SystemServiceChangePolicyProcedure: byAdmin,

	op.MeshServiceGetMeshProcedure: readers,

	// The ledger is public: what is read proves itself, what is written is signed by the account that it is about.
	op.LedgerServiceGetLedgerProcedure:            public,
	op.LedgerServiceGetGenesisProcedure:           public,
	op.LedgerServiceGetProofProcedure:             public,
	op.LedgerServiceListAccountsProcedure:         public,
	op.LedgerServiceGetBlockProcedure:             public,
	op.LedgerServiceGetBlocksProcedure:            public,
	op.LedgerServiceListBlocksProcedure:           public,
	op.LedgerServiceGetTransactionProcedure:       public,
	op.LedgerServiceListTransactionsProcedure:     public,
	op.LedgerServiceSubmitTransactionProcedure:    public,
	op.LedgerServiceListValidatorChangesProcedure: public,
}
