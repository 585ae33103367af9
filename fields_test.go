// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// The cron parser panics on some time zones and ignores others, so all are refused.
func TestScheduleNamesNoTimeZone(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	for _, schedule := range []string{"TZ=UTC", "TZ=UTC 0 3 * * *", "CRON_TZ=UTC 0 3 * * *", "tz=utc 0 3 * * *", "TZ= 0 3 * * *", "TZ="} {
		for _, path := range []string{"config", "roles/team", "roles/new"} {
			data := fields{"rotation_schedule": schedule}
			if path == "roles/new" {
				data["user_id"] = 5001
			}
			for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation} {
				m.refused(http.StatusBadRequest, op, path, data)
			}
		}
	}
	m.expect("config", fields{"rotation_schedule": "", "next_root_rotation": nil})
	m.expect("roles/team", fields{"rotation_schedule": "", "next_rotation": nil})
}
