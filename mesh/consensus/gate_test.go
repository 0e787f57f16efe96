package consensus

import (
	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
)

func viewChange(view uint64) *message {
	return &message{Content: &smartbftprotos.Message_ViewChange{ViewChange: &smartbftprotos.ViewChange{NextView: view}}}
}
