// SPDX-License-Identifier: MPL-2.0

package simulator

// Choice is a word that a user can write, and what it means. Help texts and tests of the
// documentation are made from these lists.
type Choice struct{ Name, Help string }

// AnswerChoices returns the bad answers: those that do not apply the operation unless
// Fault.Apply is set, and those that apply it and spoil its answer.
func AnswerChoices() (unapplied, applied []Choice) {
	for _, k := range badAnswers {
		c := Choice{string(k.name), k.help}
		if k.applies {
			applied = append(applied, c)
		} else {
			unapplied = append(unapplied, c)
		}
	}
	return unapplied, applied
}

var causeHelp = map[Cause]string{
	SessionDead:      "the SessionID, key or token is not valid",
	LoginRefused:     "the login is refused",
	AccessDenied:     "the user may not do this",
	NotFound:         "there is no such user",
	InvalidParameter: "a value is not allowed",
	SystemError:      "an internal error of ECGrid",
}

// CauseChoices returns why ECGrid refuses calls.
func CauseChoices() (all []Choice) {
	for _, c := range FaultCauses {
		all = append(all, Choice{string(c), causeHelp[c]})
	}
	return all
}

// FaultFieldChoices returns the fields of a fault in its short form.
func FaultFieldChoices() (all []Choice) {
	for _, f := range faultFields {
		all = append(all, Choice{f.name, f.help})
	}
	return all
}

// AdminRouteChoices returns the admin endpoints as "METHOD /path".
func AdminRouteChoices() (all []Choice) {
	for _, r := range adminRoutes {
		all = append(all, Choice{r.pattern(), r.help})
	}
	return all
}

// OperationNames returns what Fault.Op can be.
func OperationNames() (all []string) {
	for _, op := range operations {
		all = append(all, op.name)
	}
	return append(all, opRefresh)
}
