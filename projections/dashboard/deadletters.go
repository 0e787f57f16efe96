package dashboard

func linkDeadLetter(id string) string { return linkDeadLetters() + "/" + id }
