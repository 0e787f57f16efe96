package consensus

import "github.com/hyperledger-labs/SmartBFT/smartbftprotos"

func savedProposal(seq uint64) *smartbftprotos.SavedMessage {
	return &smartbftprotos.SavedMessage{Content: &smartbftprotos.SavedMessage_ProposedRecord{
		ProposedRecord: &smartbftprotos.ProposedRecord{PrePrepare: &smartbftprotos.PrePrepare{Seq: seq}},
	}}
}

func savedCommit() *smartbftprotos.SavedMessage {
	return &smartbftprotos.SavedMessage{Content: &smartbftprotos.SavedMessage_Commit{Commit: commitOf(1, 0, 4)}}
}

func savedViewChange() *smartbftprotos.SavedMessage {
	return &smartbftprotos.SavedMessage{Content: &smartbftprotos.SavedMessage_ViewChange{ViewChange: &smartbftprotos.ViewChange{NextView: 3}}}
}
